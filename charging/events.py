"""What happened to a pile, for the operator to read: boots, lost links, refusals, contradictions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from psycopg import Connection
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from charging.pile_clocks import believable

CLOCK_WRONG_EVERY = timedelta(hours=1)
"""A pile's wrong clock is written down this often at most."""


class EventKind(StrEnum):
    REGISTERED = "registered"
    ENROLLED = "enrolled"
    BOOTED = "booted"
    LINK_UP = "link_up"
    LINK_LOST = "link_lost"
    START_FAILED = "start_failed"
    PORT_COUNT_DIFFERS = "port_count_differs"
    SETTLEMENT_ORPHAN = "settlement_orphan"
    SETTLEMENT_CONFLICT = "settlement_conflict"
    SETTLEMENT_DIFFERS = "settlement_differs"
    SETTLEMENT_REJECTED = "settlement_rejected"
    SETTLEMENT_TOO_LATE = "settlement_too_late"
    SETTLED_BY_SAMPLES = "settled_by_samples"
    REGISTER_JUMPED = "register_jumped"
    CLOCK_WRONG = "clock_wrong"
    FIRMWARE_DONE = "firmware_done"
    FIRMWARE_FAILED = "firmware_failed"
    LOCAL_START_ORPHAN = "local_start_orphan"
    CLOCK_JUMPED = "clock_jumped"
    CONFIG_SET = "config_set"
    CONFIG_REFUSED = "config_refused"
    TARIFF_REFUSED = "tariff_refused"
    TARIFF_UNSHOWABLE = "tariff_unshowable"
    STATE_CHANGED = "state_changed"
    CERTIFICATE_RENEWED = "certificate_renewed"
    KEY_ROTATION_BEGUN = "key_rotation_begun"
    KEY_ROTATED = "key_rotated"
    DUPLICATE_IDENTITY = "duplicate_identity"
    COUNTER_REUSED = "counter_reused"
    COUNTER_WENT_BACK = "counter_went_back"
    ALARM_RAISED = "alarm_raised"
    ALARM_CLEARED = "alarm_cleared"
    ALARM_CONTRADICTS = "alarm_contradicts"
    STARTS_LOCKED = "starts_locked"
    LOCK_LIFTED = "lock_lifted"


@dataclass(frozen=True)
class PileEvent:
    pile_id: str
    occurred_at: datetime
    received_at: datetime
    kind: EventKind
    detail: Mapping[str, Any]


def record(
    conn: Connection[TupleRow],
    *,
    pile_id: str,
    kind: EventKind,
    now: datetime,
    occurred_at: datetime | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write down one event; `occurred_at` is the pile's claim where it made one, and now where that is unbelievable."""
    if occurred_at is None or not believable(occurred_at, now=now):
        occurred_at = now
    conn.execute(
        """
        INSERT INTO pile_event (pile_id, occurred_at, received_at, kind, detail)
        VALUES (%(pile_id)s, %(occurred_at)s, %(now)s, %(kind)s, %(detail)s)
        """,
        {
            "pile_id": pile_id,
            "occurred_at": occurred_at,
            "now": now,
            "kind": kind,
            "detail": Jsonb(dict(detail or {})),
        },
    )


def clock_wrong(conn: Connection[TupleRow], *, pile_id: str, claim: datetime, now: datetime) -> None:
    """Write down that a pile's clock is far off, unless that was done lately."""
    known = conn.execute(
        """
        SELECT kind FROM pile_event
         WHERE pile_id = %(pile_id)s AND occurred_at > %(since)s AND kind = %(kind)s LIMIT 1
        """,
        {"pile_id": pile_id, "since": now - CLOCK_WRONG_EVERY, "kind": EventKind.CLOCK_WRONG},
    ).fetchone()
    if known is None:
        off_s = round((claim - now).total_seconds())
        record(conn, pile_id=pile_id, kind=EventKind.CLOCK_WRONG, now=now, detail={"off_s": off_s})


def newest(conn: Connection[TupleRow], pile_id: str, *, limit: int) -> list[PileEvent]:
    """A pile's newest events, newest first."""
    with conn.cursor(row_factory=class_row(PileEvent)) as cursor:
        return cursor.execute(
            """
            SELECT pile_id, occurred_at, received_at, kind, detail
              FROM pile_event WHERE pile_id = %(pile_id)s ORDER BY occurred_at DESC LIMIT %(limit)s
            """,
            {"pile_id": pile_id, "limit": limit},
        ).fetchall()
