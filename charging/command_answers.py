"""Piles' answers to commands that nothing but the command's own row waits for: any number of them in one statement.

Where an answer of service changes something else as well, FOLLOWERS does it in the same transaction.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from charging.commands import Command, CommandKind, CommandState


@dataclass(frozen=True)
class Answer:
    """What a pile said to a command; `result` is its word for it, `cause` why it refused.

    `of_service` is set in answers to commands that may have a follower.
    """

    command_id: UUID
    pile_id: str
    done: bool
    result: str
    received_at: datetime
    cause: str | None = None
    of_service: bool = False

    @property
    def state(self) -> CommandState:
        """What the command becomes."""
        return CommandState.DONE if self.done else CommandState.REFUSED


Follower = Callable[[Connection[TupleRow], Command, Answer], None]

FOLLOWERS: dict[CommandKind, Follower] = {}
"""What else the first answer in time to a command of service changes, by the command's kind.

A package that sends such commands enters its function here when it is imported by the gateway's hearing.
"""


def take(conn: Connection[TupleRow], answers: Sequence[Answer]) -> None:
    """Record answers; one to another pile's command, or to one answered before, changes nothing.

    One that comes after the command was given up is kept with it. Whoever waits is told at commit.
    """
    if not answers:
        return
    # Two answers to one command: the first counts. Locked by id, as two gateways may hold the same after a takeover.
    first = {(answer.command_id, answer.pile_id): answer for answer in reversed(answers)}
    with conn.cursor(row_factory=class_row(Command)) as cursor:
        cursor.execute(
            """
            WITH answer AS (
                SELECT command_id, command.state AS found, heard.state, heard.received_at,
                       jsonb_strip_nulls(jsonb_build_object('result', heard.result, 'cause', heard.cause)) AS result
                  FROM unnest(%(command_ids)s::uuid[], %(pile_ids)s::text[], %(states)s::text[], %(results)s::text[],
                              %(causes)s::text[], %(received_at)s::timestamptz[])
                       AS heard (command_id, pile_id, state, result, cause, received_at)
                  JOIN command USING (command_id, pile_id)
                 WHERE command.state IN ('pending', 'sent') OR command.state = 'expired' AND command.late_at IS NULL
                 ORDER BY command_id FOR NO KEY UPDATE OF command),
            late AS (
                UPDATE command SET late_result = answer.result, late_at = answer.received_at
                  FROM answer WHERE command.command_id = answer.command_id AND answer.found = 'expired'),
            done AS (
                UPDATE command SET state = answer.state, answered_at = answer.received_at, result = answer.result
                  FROM answer WHERE command.command_id = answer.command_id AND answer.found <> 'expired'
                RETURNING command.command_id, pile_id, session_id, kind, body, command.state, created_at, expires_at,
                          send_count),
            told AS (SELECT pg_notify('command_outcome', command_id::text), command_id FROM done)
            SELECT done.command_id, pile_id, session_id, kind, body, state, created_at, expires_at, send_count
              FROM done JOIN told USING (command_id)
            """,
            {
                "command_ids": [answer.command_id for answer in first.values()],
                "pile_ids": [answer.pile_id for answer in first.values()],
                "states": [answer.state for answer in first.values()],
                "results": [answer.result for answer in first.values()],
                "causes": [answer.cause for answer in first.values()],
                "received_at": [answer.received_at for answer in first.values()],
            },
        )
        if not any(answer.of_service for answer in first.values()):
            # Asking for the rows would cost a round trip that plain answers are spared.
            return
        answered = cursor.fetchall()
    for command in sorted(answered, key=lambda command: command.command_id):
        follow = FOLLOWERS.get(command.kind)
        if follow is not None:
            follow(conn, command, first[command.command_id, command.pile_id])
