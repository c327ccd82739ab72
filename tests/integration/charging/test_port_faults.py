"""A fault that only a port's state tells of becomes an alarm once it has lasted."""

from datetime import timedelta

from charging import alarm_records, safety_rules, ways_to_start
from charging.alarm_kinds import AlarmAction, AlarmKind, AlarmLevel
from charging.alarm_records import AlarmSource
from charging.ports import PortState
from charging.safety_rules import SafetyRules
from charging.session_states import StartFailure
from tests.integration.charging.alarm_stand import held, party_notices, report, say_port, tell
from tests.integration.charging.stand import PILE, Stand


def wait(stand: Stand, seconds: int) -> None:
    stand.now += timedelta(seconds=seconds)
    stand.sweep()


def test_a_fault_of_a_minute_opens_nothing(stand: Stand) -> None:
    for seq in range(2, 12, 2):
        say_port(stand, PortState.FAULT, fault="bad_contact", seq=seq)
        wait(stand, 60)
        say_port(stand, PortState.IDLE, seq=seq + 1)
        wait(stand, 5)
    assert stand.count("alarm") == 0
    assert party_notices(stand) == []


def test_a_fault_that_lasts_becomes_a_warning_and_ends_with_the_fault(stand: Stand) -> None:
    say_port(stand, PortState.FAULT, fault="meter_fault", seq=2)
    wait(stand, 91)
    [alarm] = alarm_records.page(stand.conn, limit=9)
    assert (alarm.kind, alarm.level, alarm.source, alarm.port_no) == (
        AlarmKind.METER_FAULT,
        AlarmLevel.WARN,
        AlarmSource.PORT_STATE,
        1,
    )
    assert held(stand) == []
    wait(stand, 60)
    assert len(party_notices(stand)) == 1
    say_port(stand, PortState.IDLE, seq=3)
    wait(stand, 1)
    [alarm] = alarm_records.page(stand.conn, limit=9)
    assert alarm.cleared_at == stand.now


def test_the_wait_is_the_site_s(stand: Stand) -> None:
    safety_rules.put(stand.conn, site_id="yuquan", rules=SafetyRules(fault_lasts_s=120), now=stand.now)
    say_port(stand, PortState.FAULT, fault="bad_contact", seq=2)
    wait(stand, 119)
    assert stand.count("alarm") == 0
    wait(stand, 1)
    assert stand.count("alarm") == 1


def test_smoke_told_by_a_port_s_state_alone_is_acted_on_within_seconds(stand: Stand) -> None:
    say_port(stand, PortState.FAULT, fault="smoke", seq=2, port_no=4)
    wait(stand, 5)
    assert [lock.port_no for lock in held(stand)] == [None]
    assert ways_to_start.obstacle(stand.conn, pile_id=PILE, port_no=1) is StartFailure.PILE_LOCKED


def test_a_fault_behind_the_pile_s_own_alarm_is_no_second_one(stand: Stand) -> None:
    tell(stand, report(stand, AlarmKind.SMOKE, port_no=2, action=AlarmAction.PILE_STOPPED))
    for port_no in range(1, 11):
        say_port(stand, PortState.FAULT, fault="smoke", seq=1 + port_no, port_no=port_no)
    wait(stand, 300)
    assert stand.count("alarm") == 1
    assert len(held(stand)) == 1
