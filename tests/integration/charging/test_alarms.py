"""What an alarm changes: locks, charges ended, money back, evidence, and who is told."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from uuid import uuid4

import pytest
from psycopg.errors import RestrictViolation

from billing import ledger_audit
from charging import alarm_evidence, alarm_records, alarms, piles, safety_rules, sessions, ways_to_start
from charging.alarm_kinds import AlarmAction, AlarmKind, AlarmLevel, Severity
from charging.alarms import Known
from charging.commands import CommandKind
from charging.errors import PortUnavailable
from charging.notices import NoticeKind
from charging.safety_response import STOP_LASTS
from charging.safety_rules import SafetyRules
from charging.session_states import SessionState, StartFailure
from tests.integration.charging.alarm_stand import (
    OPERATOR,
    PROPERTY,
    bodies,
    held,
    over,
    party_notices,
    refunded_fen,
    report,
    rider_notices,
    tell,
)
from tests.integration.charging.stand import PILE, Stand

WARN, TRIP = AlarmLevel.WARN, AlarmLevel.TRIP


def test_smoke_stops_every_charge_of_the_pile_and_locks_it(stand: Stand) -> None:
    charges = [stand.charging(port_no=port_no) for port_no in (1, 2, 5)]
    tell(stand, report(stand, AlarmKind.SMOKE, port_no=2))
    assert {sessions.get(stand.conn, charge.session_id).state for charge in charges} == {
        SessionState.STOPPING
    }
    stops = [command for command in stand.due() if command.kind is CommandKind.STOP]
    assert sorted(stop.body["port_no"] for stop in stops) == [1, 2, 5]
    assert {stop.body["reason"] for stop in stops} == {"smoke"}
    assert {stop.expires_at for stop in stops} == {stand.now + STOP_LASTS}
    assert [(lock.port_no, lock.kind) for lock in held(stand)] == [(None, "smoke")]
    with pytest.raises(PortUnavailable, match="pile_locked"):
        stand.order(port_no=7)


def test_a_charge_paid_for_and_not_begun_is_given_back_at_once(stand: Stand) -> None:
    paid, unpaid = stand.paid(port_no=3), stand.order(port_no=4)
    tell(stand, report(stand, AlarmKind.FIRE, port_no=None))
    session = sessions.get(stand.conn, paid.session_id)
    assert (session.state, session.failure) == (SessionState.FAILED, StartFailure.PILE_LOCKED)
    assert refunded_fen(stand, paid.session_id) == paid.prepaid_fen
    [notice] = rider_notices(stand, paid.session_id)
    assert "全部金额正在退回" in notice.words_zh
    stand.pay(unpaid.session_id)
    assert refunded_fen(stand, unpaid.session_id) == unpaid.prepaid_fen
    assert ledger_audit.audit(stand.conn).clean


def test_a_trip_of_a_port_locks_that_port_only(stand: Stand) -> None:
    tripped, other = stand.charging(port_no=1), stand.charging(port_no=2)
    tell(stand, report(stand, AlarmKind.LEAKAGE, port_no=1, action=AlarmAction.PORT_STOPPED, value=42))
    assert [lock.port_no for lock in held(stand)] == [1]
    assert bodies(stand, CommandKind.STOP) == []  # the pile has ended it and will tell how
    assert sessions.get(stand.conn, other.session_id).state is SessionState.CHARGING
    assert ways_to_start.obstacle(stand.conn, pile_id=PILE, port_no=1) is StartFailure.PORT_LOCKED
    assert ways_to_start.obstacle(stand.conn, pile_id=PILE, port_no=3) is None
    [notice] = rider_notices(stand, tripped.session_id)
    assert notice.severity is Severity.DANGER
    assert rider_notices(stand, other.session_id) == []


def test_a_trip_on_which_the_pile_did_nothing_is_acted_on_by_the_platform(stand: Stand) -> None:
    stand.charging(port_no=1)
    tell(stand, report(stand, AlarmKind.OVER_CURRENT, port_no=1, action=AlarmAction.NONE))
    assert [body["port_no"] for body in bodies(stand, CommandKind.STOP)] == [1]


def test_a_warning_informs_and_changes_nothing(stand: Stand) -> None:
    charge = stand.charging(port_no=1)
    tell(stand, report(stand, AlarmKind.SMOKE, WARN, port_no=1))
    assert held(stand) == []
    assert sessions.get(stand.conn, charge.session_id).state is SessionState.CHARGING
    assert ways_to_start.obstacle(stand.conn, pile_id=PILE, port_no=2) is None
    [told] = party_notices(stand)
    assert (told.kind, told.severity) == (NoticeKind.ALARM, Severity.WARNING)
    [rider] = rider_notices(stand, charge.session_id)
    assert "did not interrupt the charge" in rider.words_en
    assert "充电未因此中断" in rider.words_zh


def test_a_trip_that_is_over_by_itself_refuses_starts_only_while_it_lasts(stand: Stand) -> None:
    told = report(stand, AlarmKind.UNDER_VOLTAGE, port_no=None)
    tell(stand, told)
    assert held(stand) == []
    assert ways_to_start.obstacle(stand.conn, pile_id=PILE, port_no=1) is StartFailure.ALARM_LASTS
    tell(stand, over(stand, told))
    assert ways_to_start.obstacle(stand.conn, pile_id=PILE, port_no=1) is None


def test_the_pile_s_word_that_it_is_over_lifts_no_lock(stand: Stand) -> None:
    told = report(stand, AlarmKind.SMOKE)
    tell(stand, told)
    stand.now += timedelta(days=30)
    tell(stand, over(stand, told))
    stand.sweep()
    assert len(held(stand)) == 1
    assert ways_to_start.obstacle(stand.conn, pile_id=PILE, port_no=1) is StartFailure.PILE_LOCKED


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_tellings_of_one_alarm_in_any_order_leave_the_same_row(stand: Stand, order: tuple[int, ...]) -> None:
    warned = report(stand, AlarmKind.PORT_OVER_TEMP, WARN, value=700)
    tripped = replace(warned, said=replace(warned.said, level=TRIP, value=950))
    cleared = replace(tripped, said=replace(tripped.said, cleared_at=stand.now + timedelta(seconds=30)))
    tellings = [warned, tripped, cleared]
    known = None
    for index in (*order, *order):
        known = tell(stand, tellings[index])
    assert known == Known(TRIP, cleared=True)
    alarm = alarm_records.get(stand.conn, pile_id=PILE, alarm_id=warned.alarm_id)
    assert alarm.said == cleared.said
    assert [lock.port_no for lock in held(stand)] == [1]
    assert stand.count("alarm") == stand.count("alarm_episode") == stand.count("start_lock") == 1


def test_what_the_pile_is_told_is_what_is_stored(stand: Stand) -> None:
    told = report(stand, AlarmKind.PORT_OVER_TEMP)
    assert tell(stand, over(stand, told)) == Known(TRIP, cleared=True)
    late_warning = replace(told, said=replace(told.said, level=WARN))
    assert tell(stand, late_warning) == Known(TRIP, cleared=True)


def test_evidence_is_kept_as_it_was_and_cannot_be_changed(stand: Stand) -> None:
    charge = stand.charging(port_no=2)
    told = report(stand, AlarmKind.SMOKE, port_no=2)
    tell(stand, told)
    [kept] = alarm_evidence.of_alarm(stand.conn, pile_id=PILE, alarm_id=told.alarm_id)
    assert kept.snapshot["said"] == {"kind": "smoke", "level": "trip", "value": 1}
    assert len(kept.snapshot["ports"]) == 10
    [session] = kept.snapshot["sessions"]
    # Kept before the charge was ended.
    assert (session["session_id"], session["state"]) == (str(charge.session_id), "charging")
    with pytest.raises(RestrictViolation):
        stand.conn.execute("UPDATE alarm_evidence SET kept_at = now()")


def test_operator_and_property_are_told_once_each(stand: Stand) -> None:
    told = report(stand, AlarmKind.SMOKE)
    for _ in range(3):
        tell(stand, told)
    for party_id in (OPERATOR, PROPERTY):
        [notice] = party_notices(stand, party_id)
        assert (notice.severity, notice.pile_id) == (Severity.DANGER, PILE)
        assert "烟雾" in notice.words_zh
        assert "Smoke" in notice.words_en
    assert stand.conn.execute("SELECT count(DISTINCT party_id) FROM notice").fetchone() == (2,)


def test_a_flickering_alarm_is_one_episode_that_is_told_once_it_has_lasted(stand: Stand) -> None:
    for _ in range(8):
        told = report(stand, AlarmKind.CARD_READER_FAULT, WARN, port_no=None)
        tell(stand, told)
        stand.now += timedelta(seconds=10)
        tell(stand, over(stand, told))
        stand.sweep()
        stand.now += timedelta(seconds=10)
    [told_of] = party_notices(stand)
    assert told_of.kind is NoticeKind.ALARM
    assert stand.conn.execute("SELECT count(*), max(flaps) FROM alarm_episode").fetchone() == (1, 7)
    stand.now += timedelta(minutes=3)
    stand.sweep()
    assert [notice.kind for notice in party_notices(stand)] == [NoticeKind.ALARM, NoticeKind.ALARM_OVER]


def test_a_short_blip_bothers_nobody(stand: Stand) -> None:
    told = report(stand, AlarmKind.HALL_SENSOR_FAULT, WARN)
    tell(stand, told)
    stand.now += timedelta(seconds=90)
    tell(stand, over(stand, told))
    stand.now += timedelta(minutes=10)
    stand.sweep()
    assert party_notices(stand) == []
    assert stand.conn.execute("SELECT over_at IS NULL FROM alarm_episode").fetchone() == (False,)


def test_a_warning_that_lasts_two_minutes_is_told(stand: Stand) -> None:
    tell(stand, report(stand, AlarmKind.METER_FAULT, WARN))
    stand.sweep()
    assert party_notices(stand) == []
    stand.now += timedelta(minutes=2)
    stand.sweep()
    assert [notice.severity for notice in party_notices(stand)] == [Severity.INFO]


def test_a_rider_is_not_bothered_with_what_needs_service_elsewhere_in_the_pile(stand: Stand) -> None:
    charge = stand.charging(port_no=1)
    tell(stand, report(stand, AlarmKind.CLOCK_FAULT, WARN, port_no=None))
    tell(stand, report(stand, AlarmKind.METER_FAULT, WARN, port_no=2))
    stand.now += timedelta(minutes=2)
    stand.sweep()
    assert len(party_notices(stand)) == 2
    assert rider_notices(stand, charge.session_id) == []


def test_a_warning_that_becomes_a_trip_is_told_again(stand: Stand) -> None:
    warned = report(stand, AlarmKind.LEAKAGE, WARN, value=20)
    tell(stand, warned)
    tell(stand, replace(warned, said=replace(warned.said, level=TRIP, value=40)))
    assert [notice.severity for notice in party_notices(stand)] == [Severity.WARNING, Severity.DANGER]
    assert "40 mA" in party_notices(stand)[1].words_zh


def test_fire_locks_the_whole_site_where_the_operator_wants_it(stand: Stand) -> None:
    site_id = sessions.get(stand.conn, stand.order().session_id).site_id
    safety_rules.put(stand.conn, site_id=site_id, rules=SafetyRules(fire_locks_site=True), now=stand.now)
    tell(stand, report(stand, AlarmKind.FIRE))
    rows = stand.conn.execute(
        "SELECT pile_id FROM pile WHERE site_id = %s AND pile_id <> %s", (site_id, PILE)
    ).fetchall()
    assert rows
    assert all([lock.cause for lock in held(stand, pile_id)] == ["site_alarm"] for (pile_id,) in rows)


def test_a_charge_that_goes_on_under_a_lock_is_told_to_stop_again(stand: Stand) -> None:
    stand.charging(port_no=1)
    tell(stand, report(stand, AlarmKind.SMOKE))
    assert len(bodies(stand, CommandKind.STOP)) == 1
    stand.now += STOP_LASTS + timedelta(seconds=1)
    piles.seen(stand.conn, {PILE: (1, 2)}, now=stand.now)
    stand.sweep()
    assert len(bodies(stand, CommandKind.STOP)) == 1
    assert stand.conn.execute(
        "SELECT state FROM command WHERE kind = 'stop' ORDER BY created_at"
    ).fetchall() == [
        ("expired",),
        ("sent",),
    ]


def test_an_id_used_for_a_second_alarm_still_protects(stand: Stand) -> None:
    hot = report(stand, AlarmKind.PORT_OVER_TEMP, WARN)
    tell(stand, hot)
    assert tell(stand, replace(hot, kind=AlarmKind.SMOKE, said=replace(hot.said, level=TRIP))).level is TRIP
    assert [lock.kind for lock in held(stand)] == ["smoke"]


def test_a_flood_of_alarms_is_counted_and_still_acted_on(stand: Stand) -> None:
    for _ in range(alarms.MOST_OPEN):
        tell(stand, report(stand, AlarmKind.CLOCK_FAULT, WARN, port_no=None))
    known = tell(stand, report(stand, AlarmKind.SMOKE, alarm_id=uuid4()))
    assert known == Known(TRIP, cleared=False)
    assert stand.count("alarm") == alarms.MOST_OPEN
    assert alarms.overflowed(stand.conn, PILE) == 1
    assert [lock.kind for lock in held(stand)] == ["smoke"]
    assert len(party_notices(stand)) == 1
