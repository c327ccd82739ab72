"""What the gateway sends down: commands it is told of at their commit, and those it finds due when it looks.

A command is sent before that is noted: it has one id, which a pile does not do twice. What was told while nobody
listened, and what stays unanswered, is found by looking.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from charging.commands import Command, CommandKind, CommandState


class News(NamedTuple):
    """A new command on a shard; None for one that is to be looked for."""

    shard: int
    command: Command | None


def read_news(payload: str) -> News | None:
    """What a NOTIFY on `command_outbox` says; None for what is none of ours."""
    try:
        told = json.loads(payload)
        if isinstance(told, int):
            return News(told, None)
        command = Command(
            command_id=UUID(told["command_id"]),
            pile_id=told["pile_id"],
            session_id=UUID(told["session_id"]) if told["session_id"] is not None else None,
            kind=CommandKind(told["kind"]),
            body=told["body"],
            state=CommandState.PENDING,
            created_at=datetime.fromisoformat(told["created_at"]),
            expires_at=datetime.fromisoformat(told["expires_at"]),
            send_count=0,
        )
        return News(int(told["shard"]), command)
    except (ValueError, KeyError, TypeError):
        return None


def note_tries(
    conn: Connection[TupleRow], tries: Mapping[UUID, bool], *, resend: timedelta, now: datetime
) -> None:
    """Note which commands were sent, and which were tried in vain; unanswered they come due again after `resend`.

    One that was answered meanwhile is left alone. So is one that another transaction holds, which is answering it or
    giving it up: waiting for it here, in an order of our own, would be a deadlock. Where it was neither, the command
    is due as before and goes out once more, under the same id.
    """
    conn.execute(
        """
        WITH tried AS (
            SELECT command_id FROM command
             WHERE command_id = ANY(%(tried)s) AND state IN ('pending', 'sent')
             ORDER BY command_id FOR NO KEY UPDATE SKIP LOCKED)
        UPDATE command
           SET state = CASE WHEN tried.command_id = ANY(%(sent)s) THEN 'sent' ELSE state END,
               send_count = send_count + (tried.command_id = ANY(%(sent)s))::int,
               retry_at = %(now)s + %(resend)s
          FROM tried WHERE command.command_id = tried.command_id
        """,
        {
            "tried": list(tries),
            "sent": [command_id for command_id, sent in tries.items() if sent],
            "resend": resend,
            "now": now,
        },
    )


def due(conn: Connection[TupleRow], *, shards: Sequence[int], limit: int, now: datetime) -> list[Command]:
    """The commands to send now, in the order of their making: those of online piles that are new or come due again.

    What becomes of each is to be noted with `note_tries`, or they are found again.
    """
    with conn.cursor(row_factory=class_row(Command)) as cursor:
        found = cursor.execute(
            """
            SELECT command_id, command.pile_id, session_id, kind, body, command.state, created_at, expires_at,
                   send_count
              FROM command JOIN pile USING (pile_id)
             WHERE command.state IN ('pending', 'sent') AND command.shard = ANY(%(shards)s)
               AND command.retry_at <= %(now)s AND command.expires_at > %(now)s
               AND pile.online AND pile.state = 'active'
             ORDER BY command.retry_at LIMIT %(limit)s
            """,
            {"shards": list(shards), "now": now, "limit": limit},
        ).fetchall()
    return sorted(found, key=lambda command: command.created_at)
