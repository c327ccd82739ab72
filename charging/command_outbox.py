"""What the gateway sends down: commands it is told of at their commit, and those it finds due when it looks.

A command may be sent before it is marked as sent: it has one id, which a pile does not do twice. What was told while
nobody listened, and what stays unanswered, is found by looking.
"""

import json
from collections.abc import Sequence
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


def mark_sent(
    conn: Connection[TupleRow], command_ids: Sequence[UUID], *, resend: timedelta, now: datetime
) -> None:
    """Note that these were sent; unanswered they come due again after `resend`."""
    conn.execute(
        """
        WITH sent AS (
            SELECT command_id FROM command
             WHERE command_id = ANY(%(command_ids)s) AND state IN ('pending', 'sent')
             ORDER BY command_id FOR NO KEY UPDATE)
        UPDATE command SET state = 'sent', send_count = send_count + 1, retry_at = %(now)s + %(resend)s
          FROM sent WHERE command.command_id = sent.command_id
        """,
        {"command_ids": list(command_ids), "resend": resend, "now": now},
    )


def claim_due(
    conn: Connection[TupleRow], *, shards: Sequence[int], limit: int, resend: timedelta, now: datetime
) -> list[Command]:
    """Take the commands to send now, oldest first: those of online piles that are new or unanswered for `resend`.

    Each is marked sent and comes due again after `resend`. Rows another gateway holds are passed over.
    """
    with conn.cursor(row_factory=class_row(Command)) as cursor:
        due = cursor.execute(
            """
            WITH due AS (
                SELECT command_id FROM command JOIN pile USING (pile_id)
                 WHERE command.state IN ('pending', 'sent') AND command.shard = ANY(%(shards)s)
                   AND command.retry_at <= %(now)s AND command.expires_at > %(now)s
                   AND pile.online AND pile.state = 'active'
                 ORDER BY command.retry_at LIMIT %(limit)s
                   FOR UPDATE OF command SKIP LOCKED)
            UPDATE command SET state = 'sent', send_count = send_count + 1, retry_at = %(now)s + %(resend)s
              FROM due WHERE command.command_id = due.command_id
            RETURNING command.command_id, pile_id, session_id, kind, body, command.state, created_at, expires_at,
                      send_count
            """,
            {"shards": list(shards), "now": now, "limit": limit, "resend": resend},
        ).fetchall()
    return sorted(due, key=lambda command: command.created_at)
