"""Frames that could not be accepted: counted by reason for ever, the newest kept for a look."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

KEPT_MESSAGES = 10_000
"""How many refused frames are kept; older ones are trimmed."""
KEPT_BYTES = 16 * 1024
"""How much of one frame is kept."""


@dataclass(frozen=True)
class Rejection:
    """One refused frame; `reason` is a short machine word."""

    topic: str
    reason: str
    payload: bytes
    received_at: datetime


@dataclass(frozen=True)
class RejectionCount:
    reason: str
    messages: int
    last_at: datetime


def keep(conn: Connection[TupleRow], rejections: Sequence[Rejection]) -> None:
    """Count and keep refused frames, and trim the oldest beyond KEPT_MESSAGES."""
    if not rejections:
        return
    with conn.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO rejected_message (received_at, topic, reason, size_bytes, payload)
            VALUES (%(received_at)s, %(topic)s, %(reason)s, %(size_bytes)s, %(payload)s)
            """,
            [
                {
                    "received_at": rejection.received_at,
                    "topic": rejection.topic[:256].replace("\x00", "�"),
                    "reason": rejection.reason,
                    "size_bytes": len(rejection.payload),
                    "payload": rejection.payload[:KEPT_BYTES],
                }
                for rejection in rejections
            ],
        )
        by_reason: dict[str, list[datetime]] = {}
        for rejection in rejections:
            by_reason.setdefault(rejection.reason, []).append(rejection.received_at)
        cursor.executemany(
            """
            INSERT INTO rejected_count (reason, messages, last_at) VALUES (%(reason)s, %(messages)s, %(last_at)s)
            ON CONFLICT (reason) DO UPDATE
               SET messages = rejected_count.messages + EXCLUDED.messages,
                   last_at = greatest(rejected_count.last_at, EXCLUDED.last_at)
            """,
            [
                {"reason": reason, "messages": len(times), "last_at": max(times)}
                for reason, times in sorted(by_reason.items())
            ],
        )
    conn.execute(
        "DELETE FROM rejected_message WHERE rejected_id <= (SELECT max(rejected_id) FROM rejected_message) - %(kept)s",
        {"kept": KEPT_MESSAGES},
    )


def count(conn: Connection[TupleRow], *, reason: str, messages: int, now: datetime) -> None:
    """Count frames that were refused unread and are not kept."""
    conn.execute(
        """
        INSERT INTO rejected_count (reason, messages, last_at) VALUES (%(reason)s, %(messages)s, %(now)s)
        ON CONFLICT (reason) DO UPDATE
           SET messages = rejected_count.messages + EXCLUDED.messages,
               last_at = greatest(rejected_count.last_at, EXCLUDED.last_at)
        """,
        {"reason": reason, "messages": messages, "now": now},
    )


def counts(conn: Connection[TupleRow]) -> list[RejectionCount]:
    """How many frames were refused so far, by reason."""
    with conn.cursor(row_factory=class_row(RejectionCount)) as cursor:
        return cursor.execute(
            "SELECT reason, messages, last_at FROM rejected_count ORDER BY reason"
        ).fetchall()
