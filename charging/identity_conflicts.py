"""Signs that two devices speak as one pile, or that one has forgotten its counters; told once an episode."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from psycopg import Connection
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from charging import events
from charging.events import EventKind


class ConflictKind(StrEnum):
    DUPLICATE_IDENTITY = "duplicate_identity"
    """Two devices take turns under one identity."""
    COUNTER_REUSED = "counter_reused"
    """One boot and sequence number was used for two different messages: the secret no longer protects them."""
    COUNTER_WENT_BACK = "counter_went_back"
    """The pile goes on in a boot older than its newest: it has lost its boot counter."""


@dataclass(frozen=True)
class Conflict:
    """One episode."""

    conflict_id: int
    pile_id: str
    kind: ConflictKind
    began_at: datetime
    last_at: datetime
    observations: int
    detail: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", ConflictKind(self.kind))


_EVENTS = {
    ConflictKind.DUPLICATE_IDENTITY: EventKind.DUPLICATE_IDENTITY,
    ConflictKind.COUNTER_REUSED: EventKind.COUNTER_REUSED,
    ConflictKind.COUNTER_WENT_BACK: EventKind.COUNTER_WENT_BACK,
}


def observed(
    conn: Connection[TupleRow],
    *,
    pile_id: str,
    kind: ConflictKind,
    observations: int,
    detail: Mapping[str, Any],
    episode: timedelta,
    now: datetime,
) -> bool:
    """Count what was seen of a registered pile; the first of an episode becomes an event. Says whether it was.

    An episode ends when nothing was seen for as long as `episode`.
    """
    # The pile's row serialises several gateways: one episode, one event.
    known = conn.execute(
        "SELECT pile_id FROM pile WHERE pile_id = %(pile_id)s FOR NO KEY UPDATE", {"pile_id": pile_id}
    ).fetchone()
    if known is None:
        return False
    values = {
        "pile_id": pile_id,
        "kind": kind,
        "observations": observations,
        "detail": Jsonb(dict(detail)),
        "now": now,
        "since": now - episode,
    }
    goes_on = conn.execute(
        """
        UPDATE identity_conflict
           SET last_at = greatest(last_at, %(now)s), observations = observations + %(observations)s
         WHERE conflict_id = (SELECT max(conflict_id) FROM identity_conflict
                               WHERE pile_id = %(pile_id)s AND kind = %(kind)s AND last_at > %(since)s)
        """,
        values,
    ).rowcount
    if goes_on:
        return False
    conn.execute(
        """
        INSERT INTO identity_conflict (pile_id, kind, began_at, last_at, observations, detail)
        VALUES (%(pile_id)s, %(kind)s, %(now)s, %(now)s, %(observations)s, %(detail)s)
        """,
        values,
    )
    events.record(
        conn,
        pile_id=pile_id,
        kind=_EVENTS[kind],
        now=now,
        detail={**detail, "observations": observations, "suggested": "quarantine"},
    )
    return True


def of_pile(
    conn: Connection[TupleRow], pile_id: str, *, limit: int, before: int | None = None
) -> list[Conflict]:
    """A pile's episodes, newest first; `before` is the conflict id to go on from."""
    with conn.cursor(row_factory=class_row(Conflict)) as cursor:
        return cursor.execute(
            """
            SELECT conflict_id, pile_id, kind, began_at, last_at, observations, detail FROM identity_conflict
             WHERE pile_id = %(pile_id)s AND (%(before)s::bigint IS NULL OR conflict_id < %(before)s)
             ORDER BY conflict_id DESC LIMIT %(limit)s
            """,
            {"pile_id": pile_id, "limit": limit, "before": before},
        ).fetchall()
