"""What gateway, API and worker show of themselves is true, complete enough for the files in deploy/, and no secret."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from charging.session_states import SessionState
from pileway import home
from pileway.settings import Settings
from pileway.telemetry.server import PORT_AFTER_FIRST, port_of
from tests import deploy_files
from tests.acceptance.stage import Stage, open_stage
from tests.waiting import wait_until

LIMIT_S = 30.0

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def stage(work_folder: Path) -> Iterator[Stage]:
    """The platform with its ports for metrics."""
    with open_stage(home=home.prepare(work_folder / "shown"), metrics_port=_free_ports()) as stage:
        yield stage


def test_a_charge_moves_the_counters_of_every_process(stage: Stage) -> None:
    before = {process: scrape(stage, process) for process in PORT_AFTER_FIRST}
    session_id = stage.charge(1)
    stage.wait_for(session_id, SessionState.CLOSED)
    after = {process: scrape(stage, process) for process in PORT_AFTER_FIRST}

    def grew(process: str, name: str, **labels: str) -> bool:
        return value(after[process], name, **labels) > value(before[process], name, **labels)

    assert grew("gateway", "pileway_frames_total", result="stored")
    assert grew("gateway", "pileway_sample_lag_seconds_count")
    assert grew("gateway", "pileway_batch_step_seconds_count", step="commit")
    assert grew("gateway", "pileway_command_answers_total", kind="start")
    assert grew("gateway", "pileway_link_acks_total", lane="0")
    assert value(after["gateway"], "pileway_command_answer_seconds_sum", kind="start") < LIMIT_S
    assert grew("api", "pileway_http_requests_total", route="/api/rider/sessions", status="201")
    assert grew("worker", "pileway_jobs_total", task="instruct_refund", outcome="succeeded")
    assert value(after["worker"], "pileway_business_known") == 1
    assert value(after["worker"], "pileway_piles", state="active", online="yes") == 1
    assert value(after["worker"], "pileway_ledger_trial_balance_fen") == 0


def test_a_ready_platform_says_so_and_why(stage: Stage) -> None:
    for process in PORT_AFTER_FIRST:
        for path in ("ready", "health"):
            answer = ask(stage, process, path)
            assert answer.status_code == httpx.codes.OK, answer.text
            assert answer.json()["process"] == process
    assert ask(stage, "gateway", "ready").json()["checks"] == {
        "database": "ok",
        "migrations": "ok",
        "lane 0": "ok",
    }
    assert set(ask(stage, "gateway", "health").json()["checks"]) == {
        "reader",
        "writer",
        "outbox",
        "warden",
        "keeper",
    }
    assert set(ask(stage, "api", "health").json()["checks"]) == {"public", "device"}
    assert ask(stage, "worker", "ready").json()["checks"]["job queue"] == "ok"
    assert ask(stage, "api", "secrets").status_code == httpx.codes.NOT_FOUND


def test_every_metric_that_rules_and_dashboard_name_is_shown(stage: Stage) -> None:
    shown = {name for process in PORT_AFTER_FIRST for name in sample_names(metrics_text(stage, process))}
    expressions = [rule["expr"] for rule in deploy_files.alerts()]
    for expression in (*expressions, *deploy_files.dashboard_expressions()):
        assert deploy_files.metrics_in(expression) <= shown, expression


def test_nothing_secret_is_shown(stage: Stage) -> None:
    secrets = _secrets(stage.platform.settings)
    assert len(secrets) > 5
    for process in PORT_AFTER_FIRST:
        shown = (
            metrics_text(stage, process)
            + ask(stage, process, "ready").text
            + ask(stage, process, "health").text
        )
        assert [secret for secret in secrets if secret in shown] == []
        # No session's id, which is the key to it, and no address that might hold one.
        assert re.findall(r"[0-9a-f]{8}-[0-9a-f]{4}-|postgresql://|mqtts://", shown) == []


def test_a_database_that_hangs_is_told_and_so_is_its_return(stage: Stage) -> None:
    pid = stage.pid("database")
    assert pid is not None
    database = psutil.Process(pid)
    frozen = [database, *database.children(recursive=True)]
    for part in frozen:
        part.suspend()
    try:
        for process, answer in everywhere(stage, "ready", status=httpx.codes.SERVICE_UNAVAILABLE):
            assert answer.json()["checks"]["database"] != "ok", process
        for process, answer in everywhere(stage, "health", status=httpx.codes.OK):
            assert answer.json()["ok"], f"{process}: a restart would not help"
    finally:
        for part in frozen:
            part.resume()
    everywhere(stage, "ready", status=httpx.codes.OK)


def everywhere(stage: Stage, path: str, *, status: int) -> list[tuple[str, httpx.Response]]:
    """What each process answers, once that has this status; asked at the same time."""

    def answer(process: str) -> tuple[str, httpx.Response]:
        def asked() -> httpx.Response | None:
            response = ask(stage, process, path)
            return response if response.status_code == status else None

        return process, wait_until(asked, limit_s=LIMIT_S, what=f"{process} to answer {status}")

    with ThreadPoolExecutor(len(PORT_AFTER_FIRST)) as askers:
        return list(askers.map(answer, PORT_AFTER_FIRST))


def ask(stage: Stage, process: str, path: str) -> httpx.Response:
    """What a process answers."""
    settings = stage.platform.settings
    url = f"http://{settings.metrics_host}:{port_of(settings, process)}/{path}"
    return httpx.get(url, timeout=LIMIT_S, trust_env=False)


def metrics_text(stage: Stage, process: str) -> str:
    answer = ask(stage, process, "metrics")
    assert answer.status_code == httpx.codes.OK
    return answer.text


def scrape(stage: Stage, process: str) -> Series:
    """Every sample of a process, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics_text(stage, process))
        for sample in family.samples
    }


def value(series: Series, name: str, **labels: str) -> float:
    """The sum of the samples of this name with these labels among theirs."""
    wanted = set(labels.items())
    return sum(value for (found, theirs), value in series.items() if found == name and wanted <= theirs)


def sample_names(text: str) -> set[str]:
    """The names a query may use of what is shown, also of families that have no samples yet."""
    names: set[str] = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        names |= {f"{name}_{part}" for part in ("bucket", "count", "sum")} if kind == "histogram" else {name}
    return names


def _free_ports() -> int:
    for port in range(21_464, 31_464, 3):
        if all(home.port_is_free(port + after) for after in PORT_AFTER_FIRST.values()):
            return port
    pytest.fail("there are no free ports")


def _secrets(settings: Settings) -> list[str]:
    """The values of settings that are secret, and the passwords within."""
    environment = settings.environment()
    named = [
        text
        for name, text in environment.items()
        if re.search("TOKEN|KEY$|_KEY_ENC|DATABASE_URL|API_V3", name)
    ]
    words: Any = urlsplit(environment["PILEWAY_DATABASE_URL"]).password
    kept = [
        path.read_text(errors="ignore").strip()
        for path in (settings.home / "secrets").iterdir()
        if path.is_file()
    ]
    return [text for text in [*named, str(words), *kept] if len(text) >= 12]
