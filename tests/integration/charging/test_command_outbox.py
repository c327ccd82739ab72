"""What comes due for sending, and what is noted of it afterwards."""

from uuid import UUID

import psycopg
import pytest

from charging import command_answers, command_outbox, commands
from charging.command_answers import Answer
from charging.commands import CommandKind
from charging.waits import Waits
from protocol.topics import shard_of
from tests.integration.charging.stand import PILE, Stand

WAITS = Waits()


def _ask(stand: Stand) -> UUID:
    return commands.enqueue(
        stand.conn,
        pile_id=PILE,
        kind=CommandKind.LOCATE,
        body={"duration_s": 10},
        session_id=None,
        expires_at=stand.now + WAITS.care,
        now=stand.now,
    )


def _due(stand: Stand) -> list[tuple[UUID, str, int]]:
    found = command_outbox.due(stand.conn, shards=[shard_of(PILE)], limit=10, now=stand.now)
    return [(command.command_id, command.state, command.send_count) for command in found]


def _note(stand: Stand, command_id: UUID, *, sent: bool) -> None:
    command_outbox.note_tries(stand.conn, {command_id: sent}, resend=WAITS.resend, now=stand.now)


def test_what_was_found_is_found_again_until_something_is_noted_of_it(stand: Stand) -> None:
    command_id = _ask(stand)
    assert _due(stand) == _due(stand) == [(command_id, "pending", 0)]


def test_a_sending_counts_and_one_in_vain_only_waits(stand: Stand) -> None:
    sent, in_vain = _ask(stand), _ask(stand)
    _note(stand, sent, sent=True)
    _note(stand, in_vain, sent=False)
    assert _due(stand) == []
    stand.now += WAITS.resend
    assert sorted(_due(stand)) == sorted([(sent, "sent", 1), (in_vain, "pending", 0)])


def test_a_sending_noted_after_the_answer_changes_nothing(stand: Stand) -> None:
    command_id = _ask(stand)
    answer = Answer(command_id, PILE, done=True, result="done", received_at=stand.now, of_service=True)
    command_answers.take(stand.conn, [answer])
    _note(stand, command_id, sent=True)
    row = stand.conn.execute(
        "SELECT state, send_count FROM command WHERE command_id = %s", (command_id,)
    ).fetchone()
    assert row == ("done", 1)


@pytest.mark.parametrize("answered", [True, False], ids=["answered", "rolled back"])
def test_one_that_another_transaction_holds_is_not_waited_for_and_comes_due_again_unless_answered(
    stand: Stand, dsn: str, *, answered: bool
) -> None:
    held, free = _ask(stand), _ask(stand)
    stand.conn.commit()
    with psycopg.connect(dsn, connect_timeout=10) as other:
        answer = Answer(held, PILE, done=True, result="done", received_at=stand.now, of_service=True)
        command_answers.take(other, [answer])
        stand.conn.execute("SET LOCAL lock_timeout = '1s'")
        command_outbox.note_tries(stand.conn, {held: True, free: True}, resend=WAITS.resend, now=stand.now)
        stand.conn.commit()
        assert _due(stand) == [(held, "pending", 0)]
        if answered:
            other.commit()
        else:
            other.rollback()
    assert _due(stand) == ([] if answered else [(held, "pending", 0)])
    stand.now += WAITS.resend
    assert (free, "sent", 1) in _due(stand)
