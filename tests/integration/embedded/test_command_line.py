"""The command line answers wrong arguments and expected failures with one clear line and never a trace."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

import pytest
from psycopg.conninfo import conninfo_to_dict

from pileway import home

LIMIT_S = 60


def _run(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PILEWAY_")}
    return subprocess.run(
        [sys.executable, "-m", "pileway", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=bare | (environment or {}),
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "nonsense"),
        (["demo", "--nonsense"], "--nonsense"),
        (["demo", "nonsense"], "nonsense"),
        (["demo", "--speed", "0"], "--speed"),
        (["demo", "--speed", "fast"], "--speed"),
        (["demo", "--port", "70000"], "--port"),
        (["demo", "--json"], "--json needs --once"),
        (["sim"], "--fleet"),
    ],
)
def test_wrong_argument_is_one_line_and_exit_code_2(arguments: list[str], words: str) -> None:
    done = _run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_bad_setting_is_named_and_exit_code_2() -> None:
    done = _run("gateway", environment={"PILEWAY_CLOCK_SPEED": "fast"})
    assert done.returncode == 2
    assert done.stderr.startswith("pileway: PILEWAY_CLOCK_SPEED: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("process", ["gateway", "api", "worker", "payment-sim"])
def test_process_without_its_settings_says_what_it_needs(process: str) -> None:
    done = _run(process)
    assert done.returncode == 2
    assert "PILEWAY_" in done.stderr
    assert "is not set" in done.stderr
    assert "Traceback" not in done.stderr


def test_unreachable_database_is_one_line_without_the_password() -> None:
    url = f"postgresql://pileway:hunter2@127.0.0.1:{home.free_port()}/pileway"
    done = _run("migrate", environment={"PILEWAY_DATABASE_URL": url})
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
    assert "hunter2" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_database_without_tables_is_sent_to_migrate(empty_dsn: str) -> None:
    done = _run("audit", environment={"PILEWAY_DATABASE_URL": _url(empty_dsn)})
    assert done.returncode == 1
    assert "pileway migrate" in done.stderr


def test_migrate_tells_what_it_found_and_audit_that_the_ledger_balances(empty_dsn: str) -> None:
    environment = {"PILEWAY_DATABASE_URL": _url(empty_dsn)}
    migrated = _run("migrate", environment=environment)
    audited = _run("audit", environment=environment)
    assert "applied 0003_ledger" in migrated.stdout
    assert "TimescaleDB" in migrated.stdout
    assert "the ledger balances" in audited.stdout
    assert (migrated.returncode, audited.returncode) == (0, 0)


def test_second_process_on_one_home_is_refused(tmp_path: Path) -> None:
    root = home.prepare(tmp_path / "home")
    with home.lock(root):
        done = _run("migrate", "--home", str(root))
    assert done.returncode == 1
    assert f"pid {os.getpid()}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_and_version_work_without_any_setting() -> None:
    assert "migrate" in _run("--help").stdout
    assert _run("--version").stdout.startswith("pileway ")
    assert _run("demo", "--help").returncode == 0


def _url(dsn: str) -> str:
    return "postgresql:///?" + urlencode(conninfo_to_dict(dsn))
