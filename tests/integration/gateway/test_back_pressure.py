"""A database that refuses everybody, and piles that replay: the broker holds, memory stays, everything drains."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.integration.gateway.crowd import Crowd

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import GatewayProcess, HandPile, Street

    ConnectPile = Callable[..., HandPile]
    SpawnGateway = Callable[..., GatewayProcess]
    Until = Callable[..., None]

STREET = [f"YQ-0{number}" for number in range(1, 5)] + [f"WT-0{number}" for number in range(1, 5)]
PACE_PER_S = 20
"""As fast as the protocol lets a pile send its backlog."""
SAID_MEANWHILE = 800
"""Frames that the broker has to take while the database is away: some five seconds of the whole street."""
MORE_MEMORY_BYTES = 40_000_000
DRAINED_WITHIN_S = 60.0


def replay(piles: "list[HandPile]") -> Crowd:
    """Piles that send frames of yesterday at the protocol's pace."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    return Crowd(piles, pause_s=1 / PACE_PER_S, begins_at=yesterday, step=timedelta(seconds=30))


@contextmanager
def refusing(dsn: str) -> Generator[None]:
    """The database ends every connection and takes no new one while this lasts."""
    name = sql.Identifier(str(conninfo_to_dict(dsn)["dbname"]))
    with psycopg.connect(make_conninfo(dsn, dbname="postgres"), autocommit=True) as conn:
        conn.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        try:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                (conninfo_to_dict(dsn)["dbname"],),
            )
            yield
        finally:
            conn.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))


def states(laid_out: "Street") -> set[str]:
    """The states the street's piles are in."""
    return {str(laid_out.pile(pile_id).state) for pile_id in STREET}


def test_while_the_database_refuses_everybody_the_broker_holds_what_piles_say_and_memory_stays(
    connect_pile: "ConnectPile",
    spawn_gateway: "SpawnGateway",
    laid_out: "Street",
    until: "Until",
    dsn: str,
) -> None:
    gateway = psutil.Process(spawn_gateway().process.pid)
    with replay([connect_pile(pile_id) for pile_id in STREET]) as replaying:
        until(lambda: laid_out.count("meter_frame") > len(STREET) * PACE_PER_S)
        before_bytes = gateway.memory_info().rss
        with refusing(dsn):
            said = replaying.said
            until(lambda: replaying.said >= said + SAID_MEANWHILE, within_s=DRAINED_WITHIN_S)
            more_bytes = gateway.memory_info().rss - before_bytes
        total = replaying.end()
    until(lambda: laid_out.count("meter_frame") == total, within_s=DRAINED_WITHIN_S)
    sys.stdout.write(f"{total} frames; {more_bytes / 1e6:.1f} MB more for those without a database\n")
    assert more_bytes < MORE_MEMORY_BYTES
    assert laid_out.count("meter_sample") == total
    assert laid_out.refusals() == {}
    assert not {"quarantined"} & states(laid_out)
