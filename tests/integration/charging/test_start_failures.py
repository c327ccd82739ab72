"""Starts that keep failing take a socket out of service, and say so; a good charge or a person forgives."""

from dataclasses import replace
from datetime import timedelta

import pytest

from charging import clearing, ports, start_failures, starts, ways_to_start
from charging.commands import CommandKind
from charging.locks import LockCause
from charging.notices import NoticeKind
from charging.ports import PortState
from charging.session_states import StartFailure
from charging.sessions import ChargingSession
from tests.integration.charging.alarm_stand import (
    OPERATOR,
    PROPERTY,
    bodies,
    held,
    party_notices,
    rider_notices,
    say_port,
)
from tests.integration.charging.stand import PILE, WAITS, Stand


def refuse(stand: Stand, cause: str) -> ChargingSession:
    session = stand.paid()
    [command] = [one for one in stand.due() if one.session_id == session.session_id]
    starts.refused(
        stand.conn,
        pile_id=PILE,
        session_id=session.session_id,
        command_id=command.command_id,
        cause=cause,
        now=stand.now,
    )
    return session


def test_three_failed_starts_in_a_row_take_the_socket_out_of_service(stand: Stand) -> None:
    for cause in ("relay_dead", "port_fault", "relay_dead"):
        assert held(stand) == []
        last = refuse(stand, cause)
    assert [(lock.port_no, lock.cause) for lock in held(stand)] == [(1, LockCause.FAILED_STARTS)]
    assert bodies(stand, CommandKind.PORT_SET) == [{"port": 1, "enabled": False}]
    for party_id in (OPERATOR, PROPERTY):
        [notice] = party_notices(stand, party_id)
        assert (notice.kind, notice.facts["failures"]) == (NoticeKind.PORT_DISABLED, 3)
    [told] = rider_notices(stand, last.session_id)
    assert "已停用" in told.words_zh
    obstacle = ways_to_start.obstacle(stand.conn, pile_id=PILE, port_no=1)
    assert obstacle is StartFailure.STARTS_KEPT_FAILING
    listed = ways_to_start.of_pile(stand.conn, PILE, codes_sold=False, now=stand.now)
    assert [port_no for port_no, way in listed.items() if way.obstacle is not None] == [1]


def test_a_silent_pile_counts_only_where_it_was_told(stand: Stand) -> None:
    for told in (True, False):
        stand.paid()
        if told:
            stand.due()
        stand.now += WAITS.start
        stand.sweep()
    assert stand.count("start_failure") == 1


@pytest.mark.parametrize("cause", ["not_plugged", "port_busy", "pile_over_power", "expired"])
def test_what_is_nobody_s_fault_does_not_count(stand: Stand, cause: str) -> None:
    for _ in range(4):
        refuse(stand, cause)
    assert held(stand) == []


def test_one_good_charge_begins_the_count_anew(stand: Stand) -> None:
    for _ in range(2):
        refuse(stand, "relay_dead")
    stand.settle(stand.settlement(stand.charging()))
    refuse(stand, "relay_dead")
    assert held(stand) == []


def test_failures_long_ago_are_forgotten(stand: Stand) -> None:
    for _ in range(3):
        refuse(stand, "relay_dead")
        stand.now += timedelta(hours=13)
        stand.conn.execute("UPDATE pile SET last_seen_at = %s", (stand.now,))
    assert held(stand) == []


@pytest.mark.parametrize(("plugged", "counts"), [(True, 1), (False, 0)])
def test_no_load_counts_where_something_is_plugged_in(stand: Stand, plugged: bool, counts: int) -> None:
    session = stand.charging()
    say_port(stand, PortState.PLUGGED if plugged else PortState.IDLE, seq=9, plugged=plugged)
    nothing = replace(stand.settlement(session, slots=[(60, 0)]), stop_reason="no_load")
    stand.settle(nothing)
    score = start_failures.score(stand.conn, pile_id=PILE, port_no=1, since=stand.now - timedelta(days=1))
    assert score == counts


def test_a_person_puts_the_socket_back_and_the_count_begins_anew(stand: Stand) -> None:
    for _ in range(3):
        refuse(stand, "relay_welded")
    [lock] = held(stand)
    clearing.lift(stand.conn, lock_id=lock.lock_id, by="a", reason="b", override=False, now=stand.now)
    assert {"port": 1, "enabled": True} in bodies(stand, CommandKind.PORT_SET)
    assert ways_to_start.obstacle(stand.conn, pile_id=PILE, port_no=1) is None
    refuse(stand, "relay_welded")
    assert held(stand) == []


@pytest.mark.parametrize(("cause", "port_no"), [("not_cleared", 1), ("smoke", None)])
def test_a_pile_that_says_it_is_latched_is_locked_until_a_person_clears_it(
    stand: Stand, cause: str, port_no: int | None
) -> None:
    refuse(stand, cause)
    assert [(lock.port_no, lock.cause) for lock in held(stand)] == [(port_no, LockCause.LATCHED)]
    assert ports.get(stand.conn, pile_id=PILE, port_no=1).state is PortState.IDLE
