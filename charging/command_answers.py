"""Piles' answers to commands that nothing but the command's own row waits for: any number of them in one round trip.

Where an answer of service changes something else as well, FOLLOWERS does it in the same transaction.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg import Connection
from psycopg.pq import PipelineStatus
from psycopg.rows import TupleRow

from charging.commands import Command, CommandKind, CommandState

SERVICE = sorted(
    set(CommandKind)
    - {
        CommandKind.START,
        CommandKind.STOP,
        CommandKind.EXTEND,
        CommandKind.CONFIG_SET,
        CommandKind.TARIFF_SET,
        CommandKind.FIRMWARE,
    }
)
"""Commands of service: the others have answers of their own, which move more than the command."""
_SERVICE_KINDS = f"{{{','.join(SERVICE)}}}"
_STOP_KINDS = f"{{{CommandKind.STOP.value}}}"
"""The kinds of command a plain answer can be meant for, as arrays in the database's words."""


@dataclass(frozen=True)
class Answer:
    """What a pile said to a command; `result` is its word for it, `cause` why it refused.

    It counts for commands of service where `of_service` is set, and else for stops alone.
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

    @property
    def facts(self) -> dict[str, Any]:
        """The answer as the query's parameters: texts where it can be, which are handed over as they are."""
        result = (
            {"result": self.result} if self.cause is None else {"result": self.result, "cause": self.cause}
        )
        return {
            "command_id": self.command_id,
            "pile_id": self.pile_id,
            "kinds": _SERVICE_KINDS if self.of_service else _STOP_KINDS,
            "state": self.state.value,
            "result": json.dumps(result),
            "received_at": self.received_at,
        }


Follower = Callable[[Connection[TupleRow], Command, Answer], None]

FOLLOWERS: dict[CommandKind, Follower] = {}
"""What else the first answer in time to a command of service changes, by the command's kind.

A package that sends such commands enters its function here when it is imported by the gateway's hearing.
"""


def take(conn: Connection[TupleRow], answers: Sequence[Answer]) -> None:
    """Record answers; one to a command of another pile or kind, or to one answered before, changes nothing.

    One that comes after the command was given up is kept with it. Whoever waits is told at commit.
    """
    if not answers:
        return
    # Two answers to one command: the first counts. In the order of ids, as two gateways may hold the same after a
    # takeover. One small statement each goes through a pipeline faster than one that takes them all apart again.
    first = {(answer.command_id, answer.pile_id): answer for answer in reversed(answers)}
    facts = [first[key].facts for key in sorted(first)]
    if not any(answer.of_service for answer in answers):
        _take_all(conn, facts)
        return
    with conn.cursor() as cursor:
        cursor.executemany(_TAKE, facts, returning=True)
        answered = [Command(*row) for result in cursor.results() for _, *row in result.fetchall()]
    for command in sorted(answered, key=lambda command: command.command_id):
        follow = FOLLOWERS.get(command.kind)
        if follow is not None:
            follow(conn, command, first[command.command_id, command.pile_id])


def _take_all(conn: Connection[TupleRow], facts: Sequence[Mapping[str, Any]]) -> None:
    if conn.pgconn.pipeline_status is PipelineStatus.OFF:
        conn.cursor().executemany(_TAKE, facts)
        return
    # In the caller's pipeline nothing is waited for before its commit.
    for one in facts:
        conn.execute(_TAKE, one)


_TAKE: LiteralString = """
    WITH answered AS (
        UPDATE command
           SET state = CASE state WHEN 'expired' THEN state ELSE %(state)s END,
               answered_at = CASE state WHEN 'expired' THEN answered_at ELSE %(received_at)s END,
               result = CASE state WHEN 'expired' THEN result ELSE %(result)s::jsonb END,
               send_count = CASE state WHEN 'expired' THEN send_count ELSE greatest(send_count, 1) END,
               late_at = CASE state WHEN 'expired' THEN %(received_at)s END,
               late_result = CASE state WHEN 'expired' THEN %(result)s::jsonb END
         WHERE command_id = %(command_id)s AND pile_id = %(pile_id)s AND kind = ANY(%(kinds)s::text[])
           AND (state IN ('pending', 'sent') OR state = 'expired' AND late_at IS NULL)
        RETURNING command_id, pile_id, session_id, kind, body, state, created_at, expires_at, send_count, late_at)
    SELECT pg_notify('command_outcome', command_id::text),
           command_id, pile_id, session_id, kind, body, state, created_at, expires_at, send_count
      FROM answered WHERE late_at IS NULL
"""
