"""A pile's life: manufactured, provisioned, active, quarantined, revoked; the only place that moves it.

A quarantined pile is shut out until a person lets it back to where it was; a revoked one is shut out for good, its
certificates and secrets with it. Every change is written down with who, why, when, from and to.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from charging import events
from charging.errors import PileUnknown, TransitionRefused
from charging.events import EventKind


class PileState(StrEnum):
    MANUFACTURED = "manufactured"
    PROVISIONED = "provisioned"
    ACTIVE = "active"
    QUARANTINED = "quarantined"
    REVOKED = "revoked"


BY_PILE = "pile"
"""Who changed it, where the pile's own enrolment or boot did."""
BY_SYSTEM = "system"
"""Who changed it, where a rule of the platform did."""

BARRED = frozenset({PileState.QUARANTINED, PileState.REVOKED})
"""States in which a pile is kept off the broker."""

_TRANSITIONS: dict[PileState, frozenset[PileState]] = {
    PileState.MANUFACTURED: frozenset({PileState.PROVISIONED, PileState.REVOKED}),
    PileState.PROVISIONED: frozenset({PileState.ACTIVE, PileState.QUARANTINED, PileState.REVOKED}),
    PileState.ACTIVE: frozenset({PileState.QUARANTINED, PileState.REVOKED}),
    PileState.QUARANTINED: frozenset({PileState.PROVISIONED, PileState.ACTIVE, PileState.REVOKED}),
    PileState.REVOKED: frozenset(),
}


@dataclass(frozen=True)
class StateChange:
    """One line of the audit; `from_state` is None for a registration."""

    change_id: int
    pile_id: str
    from_state: PileState | None
    to_state: PileState
    changed_by: str
    reason: str
    changed_at: datetime

    def __post_init__(self) -> None:
        if self.from_state is not None:
            object.__setattr__(self, "from_state", PileState(self.from_state))
        object.__setattr__(self, "to_state", PileState(self.to_state))


@dataclass(frozen=True)
class BarredPile:
    """A pile that has to be kept off the broker, and since when."""

    pile_id: str
    state_since: datetime


def may_move(state: PileState, to: PileState) -> bool:
    """Whether the one state may follow the other."""
    return to in _TRANSITIONS[state]


def registered(conn: Connection[TupleRow], pile_id: str, *, now: datetime) -> None:
    """Write down that a pile came on the books, as manufactured."""
    _audit(
        conn,
        pile_id,
        None,
        PileState.MANUFACTURED,
        by=BY_SYSTEM,
        reason="registered by the operator",
        now=now,
    )


def enrolled(conn: Connection[TupleRow], pile_id: str, *, now: datetime) -> None:
    """A pile has got its certificate and secret: the first time, it becomes provisioned. Raises PileUnknown."""
    if _locked(conn, pile_id) is PileState.MANUFACTURED:
        move(conn, pile_id, PileState.PROVISIONED, by=BY_PILE, reason="enrolled", now=now)


def booted(conn: Connection[TupleRow], pile_id: str, *, now: datetime) -> None:
    """A pile has booted: a provisioned one becomes active. Raises PileUnknown."""
    if _locked(conn, pile_id) is PileState.PROVISIONED:
        move(conn, pile_id, PileState.ACTIVE, by=BY_PILE, reason="booted", now=now)


def quarantine(conn: Connection[TupleRow], pile_id: str, *, by: str, reason: str, now: datetime) -> bool:
    """Shut a pile out until it is released; False when it is already. Raises PileUnknown, TransitionRefused."""
    return move(conn, pile_id, PileState.QUARANTINED, by=by, reason=reason, now=now)


def release(conn: Connection[TupleRow], pile_id: str, *, by: str, reason: str, now: datetime) -> PileState:
    """Let a quarantined pile back to the state it was in; returns that. Raises PileUnknown, TransitionRefused."""
    state = _locked(conn, pile_id)
    row = conn.execute(
        """
        SELECT from_state FROM pile_state_change
         WHERE pile_id = %(pile_id)s AND to_state = 'quarantined' ORDER BY change_id DESC LIMIT 1
        """,
        {"pile_id": pile_id},
    ).fetchone()
    before = PileState(row[0]) if row is not None else PileState.ACTIVE
    if state is not PileState.QUARANTINED:
        raise TransitionRefused(pile_id, state, before)
    move(conn, pile_id, before, by=by, reason=reason, now=now)
    return before


def revoke(conn: Connection[TupleRow], pile_id: str, *, by: str, reason: str, now: datetime) -> bool:
    """Shut a pile out for good, its certificates, secrets and open claim codes with it; False when it is already.

    Raises PileUnknown.
    """
    if not move(conn, pile_id, PileState.REVOKED, by=by, reason=reason, now=now):
        return False
    values = {"pile_id": pile_id, "now": now}
    conn.execute(
        "UPDATE pile_certificate SET revoked_at = %(now)s WHERE pile_id = %(pile_id)s AND revoked_at IS NULL",
        values,
    )
    conn.execute(
        "UPDATE pile_key SET retired_at = %(now)s WHERE pile_id = %(pile_id)s AND retired_at IS NULL", values
    )
    conn.execute(
        "UPDATE pile_claim SET expires_at = least(expires_at, %(now)s) WHERE pile_id = %(pile_id)s", values
    )
    return True


def move(
    conn: Connection[TupleRow], pile_id: str, to: PileState, *, by: str, reason: str, now: datetime
) -> bool:
    """Bring a pile into another state; False when it is in it already. Raises PileUnknown, TransitionRefused."""
    state = _locked(conn, pile_id)
    if state is to:
        return False
    if not may_move(state, to):
        raise TransitionRefused(pile_id, state, to)
    conn.execute(
        """
        UPDATE pile SET state = %(to)s, state_since = %(now)s, online = online AND %(to)s <> ALL(%(barred)s)
         WHERE pile_id = %(pile_id)s
        """,
        {"pile_id": pile_id, "to": to, "now": now, "barred": sorted(BARRED)},
    )
    if to in BARRED:
        conn.execute(
            "UPDATE pile SET online = false WHERE parent_pile_id = %(pile_id)s", {"pile_id": pile_id}
        )
    _audit(conn, pile_id, state, to, by=by, reason=reason, now=now)
    events.record(
        conn,
        pile_id=pile_id,
        kind=EventKind.STATE_CHANGED,
        now=now,
        detail={"from": state, "to": to, "by": by, "reason": reason},
    )
    return True


def changes(
    conn: Connection[TupleRow], pile_id: str, *, limit: int, before: int | None = None
) -> list[StateChange]:
    """A pile's changes, newest first; `before` is the change id to go on from."""
    with conn.cursor(row_factory=class_row(StateChange)) as cursor:
        return cursor.execute(
            """
            SELECT change_id, pile_id, from_state, to_state, changed_by, reason, changed_at FROM pile_state_change
             WHERE pile_id = %(pile_id)s AND (%(before)s::bigint IS NULL OR change_id < %(before)s)
             ORDER BY change_id DESC LIMIT %(limit)s
            """,
            {"pile_id": pile_id, "limit": limit, "before": before},
        ).fetchall()


def barred_lately(
    conn: Connection[TupleRow], *, within: timedelta, limit: int, now: datetime
) -> list[BarredPile]:
    """Piles that were quarantined or revoked within that time and still are, newest first."""
    with conn.cursor(row_factory=class_row(BarredPile)) as cursor:
        return cursor.execute(
            """
            SELECT pile_id, state_since FROM pile
             WHERE state IN ('quarantined', 'revoked') AND state_since > %(since)s
             ORDER BY state_since DESC LIMIT %(limit)s
            """,
            {"since": now - within, "limit": limit},
        ).fetchall()


def _locked(conn: Connection[TupleRow], pile_id: str) -> PileState:
    row = conn.execute(
        "SELECT state FROM pile WHERE pile_id = %(pile_id)s FOR NO KEY UPDATE", {"pile_id": pile_id}
    ).fetchone()
    if row is None:
        raise PileUnknown(pile_id)
    return PileState(row[0])


def _audit(
    conn: Connection[TupleRow],
    pile_id: str,
    state: PileState | None,
    to: PileState,
    *,
    by: str,
    reason: str,
    now: datetime,
) -> None:
    conn.execute(
        """
        INSERT INTO pile_state_change (pile_id, from_state, to_state, changed_by, reason, changed_at)
        VALUES (%(pile_id)s, %(from)s, %(to)s, %(by)s, %(reason)s, %(now)s)
        """,
        {"pile_id": pile_id, "from": state, "to": to, "by": by, "reason": reason, "now": now},
    )
