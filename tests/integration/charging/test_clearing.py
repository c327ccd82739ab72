"""Only a person lifts a lock, and the pile hears of it."""

from datetime import timedelta
from uuid import UUID

import pytest

from charging import alarm_records, clearing, command_answers, locks, piles, ways_to_start
from charging.alarm_kinds import AlarmKind
from charging.alarm_records import Alarm
from charging.command_answers import Answer
from charging.commands import CommandKind
from charging.errors import AlarmStillRaised, AlarmUnknown, LockUnknown
from charging.events import EventKind
from charging.locks import LockCause
from charging.notices import NoticeKind
from charging.session_states import StartFailure
from tests.integration.charging.alarm_stand import bodies, held, over, party_notices, report, tell
from tests.integration.charging.stand import PILE, Stand


def clear(stand: Stand, alarm_id: UUID, *, override: bool = False) -> Alarm:
    return clearing.clear_alarm(
        stand.conn,
        pile_id=PILE,
        alarm_id=alarm_id,
        by="王师傅",
        reason="looked at it, replaced the socket",
        override=override,
        now=stand.now,
    )


def test_a_person_lifts_the_lock_once_the_danger_is_over(stand: Stand) -> None:
    told = report(stand, AlarmKind.SMOKE)
    tell(stand, told)
    tell(stand, over(stand, told))
    alarm = clear(stand, told.alarm_id)
    assert (alarm.closed_by, alarm.closed_at) == ("王师傅", stand.now)
    assert held(stand) == []
    assert bodies(stand, CommandKind.FAULT_CLEAR) == [{}]
    assert party_notices(stand)[-1].kind is NoticeKind.LOCK_LIFTED
    assert "王师傅" in party_notices(stand)[-1].words_zh
    row = stand.conn.execute("SELECT lifted_by, lift_reason, lifted_at, overrode FROM start_lock").fetchone()
    assert row == ("王师傅", "looked at it, replaced the socket", stand.now, False)


def test_an_alarm_that_is_still_raised_is_cleared_by_override_only(stand: Stand) -> None:
    told = report(stand, AlarmKind.LEAKAGE, port_no=3)
    tell(stand, told)
    with pytest.raises(AlarmStillRaised, match="still measures leakage"):
        clear(stand, told.alarm_id)
    assert len(held(stand)) == 1
    clear(stand, told.alarm_id, override=True)
    assert held(stand) == []
    assert bodies(stand, CommandKind.FAULT_CLEAR) == [{"port": 3}]
    assert stand.conn.execute("SELECT overrode FROM start_lock").fetchone() == (True,)


def test_clearing_twice_tells_the_pile_once_and_keeps_the_first_name(stand: Stand) -> None:
    told = report(stand, AlarmKind.LEAKAGE)
    tell(stand, told)
    clear(stand, told.alarm_id, override=True)
    clear(stand, told.alarm_id)
    assert len(bodies(stand, CommandKind.FAULT_CLEAR)) == 1


def test_an_old_telling_after_the_clearing_locks_nothing_again(stand: Stand) -> None:
    told = report(stand, AlarmKind.SMOKE)
    tell(stand, told)
    clear(stand, told.alarm_id, override=True)
    tell(stand, told)
    assert held(stand) == []
    tell(stand, report(stand, AlarmKind.SMOKE))
    assert len(held(stand)) == 1


def test_a_flickering_trip_is_one_lock_and_one_clearing(stand: Stand) -> None:
    told = report(stand, AlarmKind.LEAKAGE)
    for _ in range(4):
        told = report(stand, AlarmKind.LEAKAGE)
        tell(stand, told)
        stand.now += timedelta(seconds=20)
        tell(stand, over(stand, told))
        stand.now += timedelta(seconds=20)
    assert len(held(stand)) == 1
    clear(stand, told.alarm_id)
    assert held(stand) == []


def answered(stand: Stand, *, done: bool) -> None:
    """The pile answers the one `fault_clear` it was told: it has released its latch, or still measures the danger."""
    [command] = [one for one in stand.due() if one.kind is CommandKind.FAULT_CLEAR]
    answer = Answer(
        command.command_id,
        PILE,
        done=done,
        result="done" if done else "refused",
        cause=None if done else "fault_persists",
        received_at=stand.now,
        of_service=True,
    )
    command_answers.take(stand.conn, [answer])


@pytest.mark.parametrize("port_no", [2, None])
def test_nothing_is_sold_until_the_pile_has_released_its_latch(stand: Stand, port_no: int | None) -> None:
    told = report(stand, AlarmKind.PORT_OVER_TEMP if port_no else AlarmKind.SMOKE, port_no=port_no)
    tell(stand, told)
    tell(stand, over(stand, told))
    stand.now += timedelta(minutes=1)
    clear(stand, told.alarm_id)
    locked = StartFailure.PORT_LOCKED if port_no else StartFailure.PILE_LOCKED
    assert ways_to_start.obstacle(stand.conn, pile_id=PILE, port_no=2) is locked
    assert locks.locked_since(stand.conn, pile_id=PILE, port_no=2) == stand.now - timedelta(minutes=1)
    assert ways_to_start.obstacle(stand.conn, pile_id=PILE, port_no=3) is (None if port_no else locked)
    answered(stand, done=True)
    assert ways_to_start.obstacle(stand.conn, pile_id=PILE, port_no=2) is None
    assert locks.locked_since(stand.conn, pile_id=PILE, port_no=2) is None


def test_a_pile_that_still_measures_the_danger_is_locked_again(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(command_answers.FOLLOWERS, CommandKind.FAULT_CLEAR, clearing.answered)
    told = report(stand, AlarmKind.RELAY_WELDED, port_no=2)
    tell(stand, told)
    clear(stand, told.alarm_id, override=True)
    answered(stand, done=False)
    assert [(lock.port_no, lock.cause) for lock in held(stand)] == [(2, LockCause.LATCHED)]
    assert party_notices(stand)[-1].kind is NoticeKind.LOCK_KEPT


def test_a_lock_is_lifted_by_its_own_number_too(stand: Stand) -> None:
    tell(stand, report(stand, AlarmKind.OVER_CURRENT, port_no=2))
    [lock] = held(stand)
    lifted = clearing.lift(stand.conn, lock_id=lock.lock_id, by="a", reason="b", override=True, now=stand.now)
    assert (lifted.lifted_by, lifted.overrode) == ("a", True)
    assert held(stand) == []


def test_what_is_not_there_is_named(stand: Stand) -> None:
    told = report(stand, AlarmKind.SMOKE)
    with pytest.raises(AlarmUnknown, match=str(told.alarm_id)):
        clear(stand, told.alarm_id)
    with pytest.raises(LockUnknown, match="no lock 77"):
        clearing.lift(stand.conn, lock_id=77, by="a", reason="b", override=False, now=stand.now)


def test_locks_and_alarms_are_in_the_pile_s_history(stand: Stand) -> None:
    told = report(stand, AlarmKind.SMOKE)
    tell(stand, told)
    tell(stand, over(stand, told))
    clear(stand, told.alarm_id)
    kinds = {row[0] for row in stand.conn.execute("SELECT kind FROM pile_event").fetchall()}
    assert {
        EventKind.ALARM_RAISED,
        EventKind.ALARM_CLEARED,
        EventKind.STARTS_LOCKED,
        EventKind.LOCK_LIFTED,
    } <= kinds
    assert alarm_records.page(stand.conn, limit=10, only_open=True) == []
    assert piles.get(stand.conn, PILE).online
