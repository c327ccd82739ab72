"""Lines of piles' own logs, as a technician asked for them; the newest of each pile are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

MOST_KEPT = 5000
"""Lines kept of one pile."""


@dataclass(frozen=True)
class LogPart:
    """A part of an answer to `log`: lines oldest first, each (pile's clock, level, text); parts count from 1."""

    pile_id: str
    command_id: UUID
    part: int
    lines: Sequence[tuple[datetime, str, str]]


@dataclass(frozen=True)
class LogLine:
    """A line by the pile's clock; `line_id` grows in the order of arrival."""

    line_id: int
    command_id: UUID
    logged_at: datetime
    received_at: datetime
    level: str
    text: str


def keep(conn: Connection[TupleRow], part: LogPart, *, now: datetime) -> None:
    """Keep the lines of one part; a repeat, and an answer to what this pile was not asked, change nothing."""
    conn.execute(
        """
        INSERT INTO pile_log_line (pile_id, command_id, part, line_no, logged_at, received_at, level, text)
        SELECT command.pile_id, command_id, %(part)s, line_no, logged_at, %(now)s, level, text
          FROM command, unnest(%(logged_at)s::timestamptz[], %(levels)s::text[], %(texts)s::text[])
               WITH ORDINALITY AS line (logged_at, level, text, line_no)
         WHERE command_id = %(command_id)s AND command.pile_id = %(pile_id)s AND kind = 'log'
         ORDER BY line_no
            ON CONFLICT DO NOTHING
        """,
        {
            "pile_id": part.pile_id,
            "command_id": part.command_id,
            "part": part.part,
            "logged_at": [at for at, _, _ in part.lines],
            "levels": [level for _, level, _ in part.lines],
            # PostgreSQL keeps no NUL in a text, and a pile may send one.
            "texts": [text.replace("\x00", "\N{REPLACEMENT CHARACTER}") for _, _, text in part.lines],
            "now": now,
        },
    )
    conn.execute(
        """
        DELETE FROM pile_log_line
         WHERE pile_id = %(pile_id)s
           AND line_id <= (SELECT line_id FROM pile_log_line WHERE pile_id = %(pile_id)s
                            ORDER BY line_id DESC OFFSET %(most)s LIMIT 1)
        """,
        {"pile_id": part.pile_id, "most": MOST_KEPT},
    )


def page(
    conn: Connection[TupleRow], pile_id: str, *, limit: int, command_id: UUID | None, before: int | None
) -> list[LogLine]:
    """A pile's lines, those that arrived last first; only those of one command, only those before a line."""
    with conn.cursor(row_factory=class_row(LogLine)) as cursor:
        return cursor.execute(
            """
            SELECT line_id, command_id, logged_at, received_at, level, text FROM pile_log_line
             WHERE pile_id = %(pile_id)s
               AND (%(command_id)s::uuid IS NULL OR command_id = %(command_id)s)
               AND (%(before)s::bigint IS NULL OR line_id < %(before)s)
             ORDER BY line_id DESC LIMIT %(limit)s
            """,
            {"pile_id": pile_id, "command_id": command_id, "before": before, "limit": limit},
        ).fetchall()
