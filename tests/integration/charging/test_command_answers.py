"""Answers of piles to commands of service: the first in time counts, a late one is kept, a foreign one is nothing."""

from collections.abc import Generator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from charging import command_answers, commands
from charging.command_answers import FOLLOWERS, Answer
from charging.commands import Command, CommandKind
from tests.integration.charging.stand import PILE, Stand

DEADLINE = timedelta(seconds=30)


def _ask(stand: Stand, kind: CommandKind = CommandKind.LOCATE) -> UUID:
    return commands.enqueue(
        stand.conn,
        pile_id=PILE,
        kind=kind,
        body={"duration_s": 10},
        session_id=None,
        expires_at=stand.now + DEADLINE,
        now=stand.now,
    )


def _answer(
    command_id: UUID, at: datetime, *, pile_id: str = PILE, cause: str | None = None, of_service: bool = True
) -> Answer:
    return Answer(
        command_id,
        pile_id,
        done=cause is None,
        result="done" if cause is None else "refused",
        cause=cause,
        received_at=at,
        of_service=of_service,
    )


def _row(stand: Stand, command_id: UUID) -> tuple[Any, ...]:
    row = stand.conn.execute(
        "SELECT state, answered_at, result, late_at, late_result FROM command WHERE command_id = %s",
        (command_id,),
    ).fetchone()
    assert row is not None
    return row


def test_the_first_answer_counts_with_its_cause(stand: Stand) -> None:
    command_id = _ask(stand)
    refused = _answer(command_id, stand.now, cause="port_busy")
    command_answers.take(stand.conn, [refused, _answer(command_id, stand.now)])
    command_answers.take(stand.conn, [_answer(command_id, stand.now + DEADLINE)])
    assert _row(stand, command_id) == (
        "refused",
        stand.now,
        {"result": "refused", "cause": "port_busy"},
        None,
        None,
    )


def test_another_piles_answer_changes_nothing(stand: Stand) -> None:
    command_id = _ask(stand)
    command_answers.take(stand.conn, [_answer(command_id, stand.now, pile_id="YQ-02")])
    command_answers.take(stand.conn, [_answer(uuid4(), stand.now)])
    assert _row(stand, command_id) == ("pending", None, None, None, None)


@pytest.mark.parametrize(
    ("kind", "of_service"),
    [
        (CommandKind.START, True),
        (CommandKind.START, False),
        (CommandKind.STOP, True),
        (CommandKind.EXTEND, True),
        (CommandKind.CONFIG_SET, True),
        (CommandKind.TARIFF_SET, True),
        (CommandKind.FIRMWARE, True),
        (CommandKind.REBOOT, False),
    ],
)
def test_an_answer_to_a_command_that_has_another_answer_changes_nothing(
    stand: Stand, kind: CommandKind, of_service: bool
) -> None:
    command_id = _ask(stand, kind)
    refused = _answer(command_id, stand.now, cause="port_busy", of_service=of_service)
    command_answers.take(stand.conn, [refused])
    commands.expire(stand.conn, limit=5, now=stand.now + DEADLINE)
    command_answers.take(stand.conn, [refused])
    assert _row(stand, command_id) == ("expired", None, None, None, None)


def test_an_answer_after_the_deadline_is_kept_and_changes_nothing(stand: Stand) -> None:
    command_id = _ask(stand)
    late = stand.now + DEADLINE
    [expired] = commands.expire(stand.conn, limit=5, now=late)
    assert expired.command_id == command_id
    command_answers.take(stand.conn, [_answer(command_id, late)])
    command_answers.take(stand.conn, [_answer(command_id, late + DEADLINE, cause="muted")])
    assert _row(stand, command_id) == ("expired", None, None, late, {"result": "done"})


def test_a_late_answer_to_a_single_command_is_kept_too(stand: Stand) -> None:
    command_id = _ask(stand)
    commands.expire(stand.conn, limit=5, now=stand.now + DEADLINE)
    late = commands.answered(
        stand.conn, command_id=command_id, pile_id=PILE, done=True, result={"cause": "ok"}, now=stand.now
    )
    assert late is None
    assert _row(stand, command_id) == ("expired", None, None, stand.now, {"cause": "ok"})


@pytest.fixture
def followed() -> Generator[list[tuple[Command, Answer]]]:
    """What a follower of `fault_clear` was given."""
    given: list[tuple[Command, Answer]] = []
    before = FOLLOWERS.get(CommandKind.FAULT_CLEAR)
    FOLLOWERS[CommandKind.FAULT_CLEAR] = lambda _conn, command, answer: given.append((command, answer))
    yield given
    del FOLLOWERS[CommandKind.FAULT_CLEAR]
    if before is not None:
        FOLLOWERS[CommandKind.FAULT_CLEAR] = before


def test_an_answer_in_time_is_followed_once_and_a_late_one_never(
    stand: Stand, followed: list[tuple[Command, Answer]]
) -> None:
    in_time = _ask(stand, CommandKind.FAULT_CLEAR)
    too_late = _ask(stand, CommandKind.FAULT_CLEAR)
    stand.conn.execute("UPDATE command SET state = 'expired' WHERE command_id = %s", (too_late,))
    answers = [_answer(in_time, stand.now), _answer(too_late, stand.now), _answer(_ask(stand), stand.now)]
    command_answers.take(stand.conn, answers)
    command_answers.take(stand.conn, answers)
    assert [(command.command_id, answer.done) for command, answer in followed] == [(in_time, True)]


def test_whoever_listens_hears_of_answers_and_of_the_deadline(stand: Stand, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as listener:
        listener.execute("LISTEN command_outcome")
        answered, expired, replaced = (_ask(stand) for _ in range(3))
        plain = _ask(stand, CommandKind.STOP)
        command_answers.take(stand.conn, [_answer(answered, stand.now)])
        command_answers.take(stand.conn, [_answer(plain, stand.now, of_service=False)])
        stand.conn.execute("UPDATE command SET kind = 'voice' WHERE command_id = %s", (replaced,))
        commands.supersede(stand.conn, pile_id=PILE, kind=CommandKind.VOICE)
        commands.expire(stand.conn, limit=5, now=stand.now + DEADLINE)
        stand.conn.commit()
        heard = {UUID(notified.payload) for notified in listener.notifies(timeout=10, stop_after=4)}
    assert heard == {answered, plain, expired, replaced}
    assert _row(stand, replaced)[2] == {"cause": "superseded"}
