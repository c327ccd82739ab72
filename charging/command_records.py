"""Commands as people read them: how each ended and what the pile said, with what came too late."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from charging.commands import CommandKind, CommandState
from charging.errors import CommandUnknown

_ENDED = frozenset({CommandState.DONE, CommandState.REFUSED, CommandState.EXPIRED})
_HIDDEN = frozenset({"secret"})


@dataclass(frozen=True)
class CommandRecord:
    """A command and its outcome; `body` shows no secret. `late_result` came after it had been given up."""

    command_id: UUID
    pile_id: str
    session_id: UUID | None
    kind: CommandKind
    body: Mapping[str, Any]
    state: CommandState
    created_at: datetime
    expires_at: datetime
    send_count: int
    answered_at: datetime | None
    result: Mapping[str, Any] | None
    late_at: datetime | None
    late_result: Mapping[str, Any] | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", CommandKind(self.kind))
        object.__setattr__(self, "state", CommandState(self.state))
        shown = {name: value for name, value in self.body.items() if name not in _HIDDEN}
        object.__setattr__(self, "body", shown)

    @property
    def ended(self) -> bool:
        """Whether the pile has answered or the command was given up."""
        return self.state in _ENDED


@dataclass(frozen=True)
class RecordKey:
    """Where a page of commands ended; the next page holds what is older."""

    created_at: datetime
    command_id: UUID


def get(conn: Connection[TupleRow], command_id: UUID) -> CommandRecord:
    """The command with this id. Raises CommandUnknown."""
    with conn.cursor(row_factory=class_row(CommandRecord)) as cursor:
        record = cursor.execute(
            """
            SELECT command_id, pile_id, session_id, kind, body, state, created_at, expires_at, send_count, answered_at,
                   result, late_at, late_result
              FROM command WHERE command_id = %(command_id)s
            """,
            {"command_id": command_id},
        ).fetchone()
    if record is None:
        raise CommandUnknown(command_id)
    return record


def page(
    conn: Connection[TupleRow], pile_id: str, *, limit: int, after: RecordKey | None = None
) -> list[CommandRecord]:
    """A pile's commands newest first, at most `limit`, those older than `after` if given."""
    with conn.cursor(row_factory=class_row(CommandRecord)) as cursor:
        return cursor.execute(
            """
            SELECT command_id, pile_id, session_id, kind, body, state, created_at, expires_at, send_count, answered_at,
                   result, late_at, late_result
              FROM command
             WHERE pile_id = %(pile_id)s
               AND (%(created_at)s::timestamptz IS NULL
                    OR (created_at, command_id) < (%(created_at)s, %(command_id)s::uuid))
             ORDER BY created_at DESC, command_id DESC LIMIT %(limit)s
            """,
            {
                "pile_id": pile_id,
                "created_at": after.created_at if after else None,
                "command_id": after.command_id if after else None,
                "limit": limit,
            },
        ).fetchall()
