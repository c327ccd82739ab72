"""One lane's trouble, or one moment's, is not that of the other lanes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg_pool import ConnectionPool
from structlog.testing import capture_logs

from database import leases
from database.pool import Connection, open_pool
from gateway.broker_address import TlsFiles
from gateway.lanes import Lanes
from gateway.link import Link, LinkLimits
from pileway import home

if TYPE_CHECKING:
    from tests.conftest import DatabaseServer

LIMIT_S = 10.0
OWNER = "gateway-1"
LANES = (0, 1, 2)
NO_FILES = TlsFiles(broker_ca=Path("/none/ca"), certificate=Path("/none/cert"), key=Path("/none/key"))


class Seconds:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def only_one(dsn: str) -> Iterator[ConnectionPool[Connection]]:
    """A pool of one connection."""
    with open_pool(dsn, min_size=1, max_size=1, timeout_s=5.0) as pool:
        yield pool


@pytest.fixture
def keeper(only_one: ConnectionPool[Connection], seconds: Seconds) -> Iterator[Callable[..., Lanes]]:
    """Makes the keeper of three lanes whose links find no broker; those of `faulty` have no files to use."""
    port = home.free_port()
    with ExitStack() as stack:

        def make(*, faulty: frozenset[int] = frozenset(), lease_s: float = 600.0) -> Lanes:
            def link(lane: int) -> Link:
                return Link(
                    client_id=f"gw-{lane}",
                    broker_url=f"{'mqtts' if lane in faulty else 'mqtt'}://127.0.0.1:{port}",
                    tls=NO_FILES,
                    topic_filters=("v1/7/+/up/+",),
                    limits=LinkLimits(),
                    clock=lambda: datetime.now(UTC),
                    deliver=lambda _frames: (),
                    resumed=lambda _link, _generation: None,
                )

            lanes = Lanes(
                pool=only_one,
                owner=OWNER,
                lanes=LANES,
                lane_count=4,
                make_link=link,
                changed=lambda: None,
                lease_s=lease_s,
                seconds=seconds,
            )
            stack.callback(lanes.close)
            return lanes

        yield make


def end_connections(dsn: str) -> None:
    """End every connection to this database but the one that does so."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            """
            SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
            """
        )


def test_a_link_that_cannot_start_gives_its_lane_back_and_the_others_go_on(
    keeper: Callable[..., Lanes], dsn: str
) -> None:
    lanes = keeper(faulty=frozenset({0}))
    for _ in range(2):
        lanes.keep()
        assert sorted(lanes.links) == [1, 2]
    with psycopg.connect(dsn) as conn:
        assert leases.held(conn, LANES) == [1, 2]


def test_a_broken_connection_is_replaced_within_the_round(keeper: Callable[..., Lanes], dsn: str) -> None:
    lanes = keeper()
    lanes.keep()
    before = lanes.links
    end_connections(dsn)
    with psycopg.connect(dsn, autocommit=True) as other:
        assert leases.take(other, 0, "gateway-2", 600) is None
        lanes.keep()
        assert lanes.links == before
        row = other.execute("SELECT count(*) FROM lane_lease WHERE orphaned_at IS NULL").fetchone()
    assert row == (3,)


def test_an_unreachable_database_is_waited_for_once_a_round(
    keeper: Callable[..., Lanes], only_one: ConnectionPool[Connection]
) -> None:
    lanes = keeper(lease_s=0.3)
    with only_one.connection(), capture_logs() as logs:
        lanes.keep()
    assert [entry["event"] for entry in logs] == ["lease_not_renewed"]
    lanes.keep()
    assert sorted(lanes.links) == list(LANES)


def test_no_connection_is_waited_for_beyond_the_first_lapse(
    keeper: Callable[..., Lanes],
    only_one: ConnectionPool[Connection],
    seconds: Seconds,
    database_server: "DatabaseServer",
    dsn: str,
) -> None:
    lanes = keeper()
    lanes.keep()
    seconds.now_s += 599.9
    database_server.allow_connections(dsn, allowed=False)
    with ExitStack() as stack:
        # What waits for a connection of a closed pool waits no longer.
        stack.callback(only_one.close)
        asking = Thread(target=lanes.keep, daemon=True)
        asking.start()
        asking.join(LIMIT_S)
        assert not asking.is_alive()


def test_lapsed_lanes_are_dropped_together_before_anything_is_waited_for(
    keeper: Callable[..., Lanes], only_one: ConnectionPool[Connection], seconds: Seconds, dsn: str
) -> None:
    lanes = keeper()
    lanes.keep()
    only_one.close()
    end_connections(dsn)
    seconds.now_s += 600.0
    with capture_logs() as logs:
        lanes.keep()
    told = [(entry["event"], entry.get("why")) for entry in logs if "lane" in entry]
    assert told == [("lane_dropped", "lapsed")] * 3 + [("lease_not_renewed", None)]
    assert lanes.links == {}
