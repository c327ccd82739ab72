"""What happened to a pile, for the operator to read: boots, lost links, refusals, contradictions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from psycopg import Connection
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb


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
    """Write down one event; `occurred_at` is the pile's claim where it made one."""
    conn.execute(
        """
        INSERT INTO pile_event (pile_id, occurred_at, received_at, kind, detail)
        VALUES (%(pile_id)s, %(occurred_at)s, %(now)s, %(kind)s, %(detail)s)
        """,
        {
            "pile_id": pile_id,
            "occurred_at": occurred_at or now,
            "now": now,
            "kind": kind,
            "detail": Jsonb(dict(detail or {})),
        },
    )


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
