"""More time or energy for a running session: asked once, true when the pile says so, and never less than before."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from charging import commands, extensions, sessions
from charging.commands import Command, CommandKind
from charging.errors import ExtensionRefused, SessionUnknown
from charging.extensions import ExtensionAnswer
from charging.session_states import SessionState
from charging.sessions import ChargingSession
from tests.integration.charging.stand import PILE, WAITS, Stand


def _extend(
    stand: Stand, session_id: UUID, *, limit_s: int | None = None, limit_dwh: int | None = None
) -> UUID | None:
    return extensions.extend(
        stand.conn, session_id=session_id, limit_s=limit_s, limit_dwh=limit_dwh, waits=WAITS, now=stand.now
    )


def _asked(stand: Stand) -> list[Command]:
    return [command for command in stand.due() if command.kind is CommandKind.EXTEND]


def _answer(
    stand: Stand,
    session: ChargingSession,
    command_id: UUID,
    *,
    limit_s: int,
    result: str = "extended",
    pile_id: str = PILE,
) -> None:
    answer = ExtensionAnswer(
        pile_id=pile_id,
        session_id=session.session_id,
        command_id=command_id,
        result=result,
        limit_s=limit_s,
        limit_dwh=session.limit_dwh,
    )
    extensions.answered(stand.conn, answer, now=stand.now)


def _limit_s(stand: Stand, session: ChargingSession) -> int:
    return sessions.get(stand.conn, session.session_id).limit_s


def test_limits_change_when_the_pile_says_so_and_the_overdue_timer_follows(stand: Stand) -> None:
    session = stand.charging()
    longer = session.limit_s + 3 * 3600
    command_id = _extend(stand, session.session_id, limit_s=longer)
    [command] = _asked(stand)
    assert command.command_id == command_id
    assert command.body == {"port_no": session.port_no, "limit_s": longer, "limit_dwh": session.limit_dwh}
    assert _limit_s(stand, session) == session.limit_s

    _answer(stand, session, command.command_id, limit_s=longer)
    assert _limit_s(stand, session) == longer
    stand.now += timedelta(seconds=session.limit_s) + WAITS.settlement + timedelta(minutes=5)
    stand.sweep()
    assert sessions.get(stand.conn, session.session_id).state is SessionState.CHARGING
    stand.now += timedelta(hours=3)
    stand.sweep()
    assert sessions.get(stand.conn, session.session_id).state is SessionState.AWAITING_SETTLEMENT


def test_asking_again_is_the_same_command_and_asking_for_more_replaces_it(stand: Stand) -> None:
    session = stand.charging()
    first = _extend(stand, session.session_id, limit_s=session.limit_s + 60)
    assert _extend(stand, session.session_id, limit_s=session.limit_s + 60) == first
    second = _extend(stand, session.session_id, limit_s=session.limit_s + 120)
    assert second != first
    assert [command.command_id for command in _asked(stand)] == [second]


def test_what_holds_already_needs_no_command(stand: Stand) -> None:
    session = stand.charging()
    assert _extend(stand, session.session_id, limit_s=session.limit_s) is None
    assert _extend(stand, session.session_id) is None
    assert _asked(stand) == []


def test_less_than_now_too_much_and_a_session_that_does_not_run_are_refused(stand: Stand) -> None:
    session = stand.charging()
    with pytest.raises(ExtensionRefused, match="below_present"):
        _extend(stand, session.session_id, limit_s=session.limit_s - 1)
    with pytest.raises(ExtensionRefused, match="below_present"):
        _extend(stand, session.session_id, limit_dwh=session.limit_dwh - 1)
    with pytest.raises(ExtensionRefused, match="too_long"):
        _extend(stand, session.session_id, limit_s=7 * 86_400 + 1)
    with pytest.raises(ExtensionRefused, match="session_not_running"):
        _extend(stand, stand.order(port_no=2).session_id, limit_s=session.limit_s)
    with pytest.raises(SessionUnknown):
        _extend(stand, uuid4(), limit_s=60)
    assert _asked(stand) == []


def test_a_refusal_changes_no_limit(stand: Stand) -> None:
    session = stand.charging()
    _extend(stand, session.session_id, limit_s=session.limit_s + 60)
    [command] = _asked(stand)
    _answer(stand, session, command.command_id, limit_s=0, result="session_ended")
    row = stand.conn.execute("SELECT state FROM command WHERE kind = 'extend'").fetchone()
    assert row == ("refused",)
    assert _limit_s(stand, session) == session.limit_s


def test_limits_of_another_piles_answer_and_of_no_command_do_not_count(stand: Stand) -> None:
    session = stand.charging()
    _extend(stand, session.session_id, limit_s=session.limit_s + 60)
    [command] = _asked(stand)
    _answer(stand, session, command.command_id, limit_s=session.limit_s + 60, pile_id="YQ-02")
    _answer(stand, session, uuid4(), limit_s=session.limit_s + 60)
    assert _limit_s(stand, session) == session.limit_s


def test_an_answer_that_comes_late_does_not_revive_the_command_but_its_limits_are_true(stand: Stand) -> None:
    session = stand.charging()
    longer = session.limit_s + 60
    command_id = _extend(stand, session.session_id, limit_s=longer)
    assert command_id is not None
    stand.now += WAITS.service
    commands.expire(stand.conn, limit=5, now=stand.now)
    _answer(stand, session, command_id, limit_s=longer)
    row = stand.conn.execute(
        "SELECT state, late_result ->> 'result' FROM command WHERE kind = 'extend'"
    ).fetchone()
    assert row == ("expired", "extended")
    assert _limit_s(stand, session) == longer
