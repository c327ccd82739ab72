"""Piles and ports: registration, presence and states under messages that come twice and in any order."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from charging import events, piles, ports, sites
from charging.errors import PileExists, PileIdInvalid, SiteUnknown
from charging.events import EventKind
from charging.piles import BootReport, PileState, Telemetry
from charging.ports import PortReport, PortState
from database.pool import Connection

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def register(conn: Connection, pile_id: str = "P1", *, port_count: int = 10) -> None:
    sites.add(conn, site_id="yuquan", name="玉泉新村", address="北京", now=NOW)
    piles.register(
        conn,
        pile_id=pile_id,
        site_id="yuquan",
        model="PW-10",
        port_count=port_count,
        power_limit_w=6000,
        now=NOW,
    )


def report(port_no: int, state: PortState, *, seq: int, power_dw: int = 0) -> PortReport:
    return PortReport(
        pile_id="P1",
        port_no=port_no,
        state=state,
        fault=None,
        plugged=state is not PortState.IDLE,
        power_dw=power_dw,
        boot=1,
        seq=seq,
    )


def boot_report(*, boot: int, seq: int, connection: int = 1, port_count: int = 10) -> BootReport:
    return BootReport(
        pile_id="P1",
        boot=boot,
        seq=seq,
        connection=connection,
        firmware="1.0",
        hardware="a",
        port_count=port_count,
        signal_dbm=-71,
        reason="power",
        unsent=0,
    )


def test_a_registered_pile_has_its_ports_and_a_stable_shard(conn: Connection) -> None:
    register(conn, port_count=12)
    pile = piles.get(conn, "P1")
    assert (pile.state, pile.online, pile.shard) == (PileState.MANUFACTURED, False, piles.shard_of("P1"))
    assert [port.port_no for port in ports.of_pile(conn, "P1")] == list(range(1, 13))


@pytest.mark.parametrize("pile_id", ["", "+", "a/b", "P 1", "é", "x" * 65])
def test_a_pile_id_that_could_be_read_as_a_topic_is_refused(conn: Connection, pile_id: str) -> None:
    with pytest.raises(PileIdInvalid, match="A-Z a-z 0-9"):
        register(conn, pile_id)


def test_registering_twice_or_at_an_unknown_site_is_refused(conn: Connection) -> None:
    register(conn)
    with pytest.raises(PileExists, match="P1"):
        register(conn)
    with pytest.raises(SiteUnknown, match="nowhere"):
        piles.register(
            conn, pile_id="P2", site_id="nowhere", model="m", port_count=2, power_limit_w=1000, now=NOW
        )


def test_port_states_in_any_order_leave_the_newest(conn: Connection) -> None:
    register(conn)
    told = [
        report(1, PortState.PLUGGED, seq=1),
        report(1, PortState.CHARGING, seq=2, power_dw=1800),
        report(1, PortState.FULL_PLUGGED, seq=3),
    ]
    for order in permutations(told):
        with conn.transaction(force_rollback=True):
            for one in order:
                ports.reported(conn, [one], now=NOW)
                ports.reported(conn, [one], now=NOW)
            assert ports.get(conn, pile_id="P1", port_no=1).state is PortState.FULL_PLUGGED


def test_a_provisioned_pile_becomes_active_with_its_first_boot(conn: Connection) -> None:
    register(conn)
    conn.execute("UPDATE pile SET state = 'provisioned'")
    pile = piles.booted(conn, boot_report(boot=1, seq=1), now=NOW)
    assert (pile.state, pile.firmware) == (PileState.ACTIVE, "1.0")


def test_a_boot_with_another_number_of_ports_is_told(conn: Connection) -> None:
    register(conn)
    piles.booted(conn, boot_report(boot=1, seq=1, port_count=12), now=NOW)
    kinds = [event.kind for event in events.newest(conn, "P1", limit=10)]
    assert EventKind.PORT_COUNT_DIFFERS in kinds


def hear_boot(conn: Connection) -> None:
    piles.seen(conn, {"P1": (1, 1)}, now=NOW)
    piles.booted(conn, boot_report(boot=1, seq=1, connection=1), now=NOW)


def hear_new_connection(conn: Connection) -> None:
    piles.seen(conn, {"P1": (1, 7)}, now=NOW)
    heartbeat(conn, connection=2)


def hear_old_will(conn: Connection) -> None:
    piles.gone(conn, pile_id="P1", boot=1, connection=1, now=NOW)


def heartbeat(conn: Connection, *, connection: int) -> None:
    piles.heartbeat(
        conn,
        Telemetry(
            pile_id="P1",
            boot=1,
            connection=connection,
            sampled_at=NOW,
            signal_dbm=-70,
            board_temperature_dc=305,
            mains_dv=2204,
            power_dw=0,
            energy_wh=12,
            leakage_ma=0,
            unsent=0,
        ),
        now=NOW,
    )


@pytest.mark.parametrize("order", list(permutations([hear_boot, hear_new_connection, hear_old_will])))
def test_a_late_will_of_an_old_connection_never_leaves_a_live_pile_offline(
    conn: Connection, order: tuple[Callable[[Connection], None], ...]
) -> None:
    register(conn)
    for hear in order:
        hear(conn)
    will_came_last_of_its_connection = order.index(hear_old_will) > order.index(hear_new_connection)
    assert piles.get(conn, "P1").online or not will_came_last_of_its_connection
    piles.seen(conn, {"P1": (1, 8)}, now=NOW)
    assert piles.get(conn, "P1").online


def test_the_will_of_the_newest_connection_marks_the_pile_offline(conn: Connection) -> None:
    register(conn)
    hear_boot(conn)
    assert piles.gone(conn, pile_id="P1", boot=1, connection=1, now=NOW)
    assert not piles.get(conn, "P1").online


def test_three_missed_heartbeats_and_the_grace_mark_a_pile_offline(conn: Connection) -> None:
    register(conn)
    hear_boot(conn)
    grace = timedelta(seconds=15)
    assert piles.mark_silent(conn, grace=grace, now=NOW + timedelta(seconds=195)) is None
    assert piles.mark_silent(conn, grace=grace, now=NOW + timedelta(seconds=196)) == "P1"
    assert not piles.get(conn, "P1").online


def test_a_repeated_heartbeat_is_kept_once(conn: Connection) -> None:
    register(conn)
    heartbeat(conn, connection=1)
    heartbeat(conn, connection=1)
    row = conn.execute("SELECT count(*) FROM pile_telemetry").fetchone()
    assert row == (1,)
