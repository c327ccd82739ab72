"""The small server tells health and readiness apart, keeps to its limits, and survives a port that is taken."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter
from psycopg_pool import ConnectionPool
from structlog.testing import capture_logs

from charging.waits import Waits
from database.pool import Connection
from pileway import home
from pileway.settings import Settings
from pileway.telemetry.api_telemetry import ApiTelemetry
from pileway.telemetry.business import BusinessCollector
from pileway.telemetry.kept_look import KeptLook
from pileway.telemetry.readiness import DatabaseCheck
from pileway.telemetry.server import Checks, OpsServer, turning
from tests.conftest import DatabaseServer
from tests.waiting import wait_until

LIMIT_S = 20.0


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Starts a server and gives its address."""
    with ExitStack() as stack:

        def start(
            *, health: Callable[[], Checks] = dict[str, Any], ready: Callable[[], Checks] = dict[str, Any]
        ) -> str:
            registry = CollectorRegistry()
            Counter("apples", "Counted apples.", registry=registry).inc()
            settings = Settings(metrics_port=home.free_port())
            server = OpsServer(settings, "gateway", registry=registry, health=health, ready=ready)
            stack.enter_context(server)
            return f"http://127.0.0.1:{server.port}"

        yield start


def get(url: str) -> httpx.Response:
    return httpx.get(url, timeout=LIMIT_S, trust_env=False)


def test_a_reason_makes_the_answer_503_and_is_told(serve: Callable[..., str]) -> None:
    url = serve(health=lambda: {"writer": None}, ready=lambda: {"database": "is away", "migrations": None})
    ready, health = get(f"{url}/ready"), get(f"{url}/health")
    assert (ready.status_code, health.status_code) == (503, 200)
    assert ready.json() == {
        "process": "gateway",
        "ok": False,
        "checks": {"database": "is away", "migrations": "ok"},
    }


def test_metrics_come_in_the_text_prometheus_reads(serve: Callable[..., str]) -> None:
    answer = get(f"{serve()}/metrics?now=1")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "apples_total 1.0" in answer.text
    assert "python" not in answer.headers["server"].lower()


def test_clients_that_say_nothing_do_not_keep_others_out_for_long(serve: Callable[..., str]) -> None:
    url = serve()
    port = int(url.rsplit(":", 1)[1])
    with ExitStack() as stack:
        for _ in range(7):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        assert get(f"{url}/health").status_code == 200


def test_a_port_that_is_taken_stops_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(metrics_port=taken.getsockname()[1])
        with OpsServer(
            settings, "gateway", registry=CollectorRegistry(), health=dict[str, Any], ready=dict[str, Any]
        ) as server:
            assert server.port == 0


def test_a_loop_that_stands_still_is_named() -> None:
    checks = turning({"writer": float("-inf"), "outbox": float("inf")})
    assert checks["outbox"] is None
    assert "has not turned" in (checks["writer"] or "")


def test_a_loop_that_waits_for_a_database_away_is_not_to_be_restarted() -> None:
    stuck = {"writer": float("-inf")}
    assert turning(stuck, database=lambda: {"database": "did not answer"}) == {"writer": None}
    assert turning(stuck, database=lambda: {"database": None, "lane 0": "nobody holds its lease"})["writer"]


def test_a_check_that_fails_is_answered_and_logged(serve: Callable[..., str]) -> None:
    def health() -> Checks:
        raise RuntimeError("a fault of ours")

    url = serve(health=health)
    with capture_logs() as lines:
        answer = get(f"{url}/health")
    assert (answer.status_code, answer.json()) == (500, {"error": "RuntimeError"})
    [line] = [line for line in lines if line["event"] == "metrics_request_failed"]
    assert (line["log_level"], line["path"], line["error"]) == ("warning", "/health", "RuntimeError")
    assert get(f"{url}/ready").status_code == 200


def test_the_api_is_ready_while_it_serves(pool: ConnectionPool[Connection]) -> None:
    telemetry = ApiTelemetry(live_watchers=lambda: 0, tracing=None)
    with telemetry.server(Settings(metrics_port=home.free_port()), pool) as server:

        def ready() -> bool:
            return get(f"http://127.0.0.1:{server.port}/ready").status_code == 200

        assert not ready(), "it does not listen yet"
        telemetry.serving.set()
        assert ready()
        telemetry.serving.clear()
        assert not ready(), "it drains"


def test_a_look_that_hangs_holds_up_nobody_and_counts_when_it_ends() -> None:
    release, looks = threading.Event(), list[int]()

    def take() -> str:
        looks.append(1)
        release.wait(LIMIT_S)
        return "seen"

    look = KeptLook(take, fresh_s=60, wait_s=0.05)
    assert look.newest() is None
    assert look.newest() is None
    assert len(looks) == 1, "one at a time"
    release.set()
    wait_until(lambda: look.newest() == "seen", what="the look to end")
    assert len(looks) == 1, "what it found serves for a while"


def test_a_database_that_refuses_is_told_and_so_is_its_return(
    database_server: DatabaseServer, dsn: str, pool: ConnectionPool[Connection]
) -> None:
    well: Checks = {"database": None, "migrations": None}
    check = DatabaseCheck(pool)
    assert check() == well
    database_server.allow_connections(dsn, allowed=False)
    wait_until(lambda: check().get("database"), what="the refusal to be told")
    database_server.allow_connections(dsn, allowed=True)
    wait_until(lambda: check() == well, what="the database to be back")


def test_a_database_without_a_migration_is_not_ready(pool: ConnectionPool[Connection]) -> None:
    with pool.connection() as conn:
        [(newest,)] = conn.execute(
            """
            DELETE FROM schema_migration
             WHERE name = (SELECT max(name) FROM schema_migration WHERE name NOT LIKE '%/%') RETURNING name
            """
        ).fetchall()
    found = DatabaseCheck(pool, question=_of_no_table)()
    assert f"not applied: {newest}" in (found["migrations"] or ""), "and nothing is asked that it may bring"


def test_a_question_that_fails_is_told_from_one_that_is_slow(pool: ConnectionPool[Connection]) -> None:
    assert DatabaseCheck(pool, question=_of_no_table)() == {"database": "failed: UndefinedTable"}

    def at_fault(conn: Connection) -> Checks:
        raise LookupError(conn)

    assert DatabaseCheck(pool, question=at_fault)() == {"database": "could not be asked: LookupError"}


def _of_no_table(conn: Connection) -> Checks:
    conn.execute("SELECT word FROM a_table_nobody_made")
    return {}


def test_figures_that_cannot_be_read_are_absent_and_not_zero(
    database_server: DatabaseServer, dsn: str, pool: ConnectionPool[Connection]
) -> None:
    def shown(name: str) -> float | None:
        registry = CollectorRegistry()
        registry.register(BusinessCollector(pool, clock=lambda: datetime.now(UTC), waits=Waits(), speed=1.0))
        return registry.get_sample_value(name)

    assert shown("pileway_ledger_trial_balance_fen") == 0
    database_server.allow_connections(dsn, allowed=False)
    assert shown("pileway_ledger_trial_balance_fen") is None
    database_server.allow_connections(dsn, allowed=True)
    wait_until(lambda: shown("pileway_business_known") == 1, what="the figures to be back")
