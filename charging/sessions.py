"""Sessions: one charge on one port, from the order to its close.

This module keeps the record and moves its state; starts.py, settlements.py and timers.py say when. Locks are taken in
one order everywhere: port, session, ledger accounts.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from billing.refunds import Refund
from charging import commands, ports
from charging.commands import CommandKind
from charging.errors import SessionUnknown
from charging.session_states import UNDER_WAY, SessionSource, SessionState, can_move

CLOCK_TOLERANCE = timedelta(minutes=10)
"""A pile's clock may be off by so much before it counts as wrong."""


@dataclass(frozen=True)
class ChargingSession:
    """Energy in 0.1 Wh, power in 0.1 W; settled figures are None until the settlement. By card nothing is prepaid."""

    session_id: UUID
    pile_id: str
    port_no: int
    site_id: str
    state: SessionState
    prepaid_fen: int
    tariff_version_id: int
    agreement_version_id: int
    limit_s: int
    limit_dwh: int
    created_at: datetime
    paid_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    settled_at: datetime | None
    closed_at: datetime | None
    failure: str | None
    stop_reason: str | None
    energy_dwh: int | None
    duration_s: int | None
    source: SessionSource
    card_id: UUID | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", SessionState(self.state))
        object.__setattr__(self, "source", SessionSource(self.source))


@dataclass(frozen=True)
class Transition:
    """When and why a session reached a state."""

    state: SessionState
    cause: str
    at: datetime


def get(conn: Connection[TupleRow], session_id: UUID) -> ChargingSession:
    """The session with this id. Raises SessionUnknown."""
    session = _select(conn, session_id, _SELECT)
    if session is None:
        raise SessionUnknown(session_id)
    return session


def lock(conn: Connection[TupleRow], session_id: UUID) -> ChargingSession | None:
    """Hold a session until the transaction ends; None when there is none."""
    return _select(conn, session_id, _SELECT_FOR_UPDATE)


def hold(
    conn: Connection[TupleRow], session_ids: Collection[UUID], *, of_piles: Collection[str] = ()
) -> None:
    """Hold these sessions, and those under way on these piles, ports first, in the order everybody takes several in.

    Whoever handles more than one session in a transaction holds them all before the first posting: a posting holds
    its accounts, which the next session's other user may be waiting for.
    """
    ports.hold(conn, session_ids=session_ids, of_piles=of_piles)
    conn.execute(
        """
        SELECT session_id FROM charging_session
         WHERE session_id = ANY(%(session_ids)s) OR (pile_id = ANY(%(pile_ids)s) AND state = ANY(%(under_way)s))
         ORDER BY session_id FOR NO KEY UPDATE
        """,
        {
            "session_ids": list(session_ids),
            "pile_ids": list(of_piles),
            "under_way": sorted(UNDER_WAY),
        },
    )


def lock_with_port(conn: Connection[TupleRow], session_id: UUID) -> ChargingSession | None:
    """Hold the session's port, then the session; None when there is none."""
    session = _select(conn, session_id, _SELECT)
    if session is None:
        return None
    ports.lock(conn, pile_id=session.pile_id, port_no=session.port_no)
    return lock(conn, session_id)


def can_have_begun(session: ChargingSession, at: datetime, *, now: datetime) -> bool:
    """Whether power can have begun to flow at this instant: after the payment, and not in the future."""
    earliest = session.paid_at or session.created_at
    return earliest - CLOCK_TOLERANCE <= at <= now + CLOCK_TOLERANCE


def came_by_code(conn: Connection[TupleRow], session_id: UUID) -> None:
    """Write down that a code starts this session."""
    conn.execute(
        "UPDATE charging_session SET source = 'code' WHERE session_id = %(session_id)s AND source = 'app'",
        {"session_id": session_id},
    )


def transitions(conn: Connection[TupleRow], session_id: UUID) -> list[Transition]:
    """The states a session went through, in time order."""
    with conn.cursor(row_factory=class_row(Transition)) as cursor:
        return cursor.execute(
            "SELECT state, cause, at FROM session_transition WHERE session_id = %(session_id)s ORDER BY at, ctid",
            {"session_id": session_id},
        ).fetchall()


def move(
    conn: Connection[TupleRow], session: ChargingSession, target: SessionState, *, cause: str, now: datetime
) -> bool:
    """Move a locked session forward and tell whoever watches; False, and nothing done, where it may not go."""
    if not can_move(session.state, target):
        return False
    conn.execute(
        """
        UPDATE charging_session
           SET state = %(state)s, closed_at = CASE WHEN %(closes)s THEN coalesce(closed_at, %(now)s) ELSE closed_at END
         WHERE session_id = %(session_id)s
        """,
        {
            "state": target,
            "closes": target in (SessionState.CLOSED, SessionState.CANCELLED),
            "now": now,
            "session_id": session.session_id,
        },
    )
    note(conn, session.session_id, target, cause=cause, now=now)
    return True


def note(
    conn: Connection[TupleRow], session_id: UUID, state: SessionState, *, cause: str, now: datetime
) -> None:
    """Write a state into the session's history and wake its live pages at commit."""
    conn.execute(
        """
        INSERT INTO session_transition (session_id, state, cause, at)
        VALUES (%(session_id)s, %(state)s, %(cause)s, %(now)s)
        """,
        {"session_id": session_id, "state": state, "cause": cause, "now": now},
    )
    conn.execute("SELECT pg_notify('session_live', %(session_id)s)", {"session_id": str(session_id)})


def stop(
    conn: Connection[TupleRow], session_id: UUID, *, cause: str, wait: timedelta, now: datetime
) -> ChargingSession:
    """Ask the pile to end a session that is on its port; too late, or again while it is asked, changes nothing.

    Where the pile refused a stop, or let it expire, it is asked anew.

    Before power flows the session stays in its state: the pile may still refuse the start, or never answer it, and
    then everything goes back. Raises SessionUnknown.
    """
    session = lock(conn, session_id)
    if session is None:
        raise SessionUnknown(session_id)
    on_port = (SessionState.STARTING, SessionState.PENDING_PLUG, SessionState.CHARGING, SessionState.STOPPING)
    if session.state in on_port and not commands.asked(conn, session_id, CommandKind.STOP):
        if session.state is SessionState.CHARGING:
            move(conn, session, SessionState.STOPPING, cause=cause, now=now)
        commands.enqueue(
            conn,
            pile_id=session.pile_id,
            kind=CommandKind.STOP,
            body={"port_no": session.port_no, "reason": cause},
            session_id=session_id,
            expires_at=now + wait,
            now=now,
        )
    return get(conn, session_id)


def refunded(conn: Connection[TupleRow], refund: Refund, *, now: datetime) -> None:
    """The rider's money is back: a settled session closes, a failed one is done."""
    session = lock(conn, refund.session_id)
    if session is None:
        return
    if session.state is SessionState.SETTLED:
        move(conn, session, SessionState.CLOSED, cause=f"refund_{refund.cause}", now=now)
    if session.closed_at is None:
        conn.execute(
            "UPDATE charging_session SET closed_at = %(now)s WHERE session_id = %(session_id)s",
            {"now": now, "session_id": session.session_id},
        )
        conn.execute(
            "SELECT pg_notify('session_live', %(session_id)s)", {"session_id": str(session.session_id)}
        )


_SELECT: LiteralString = """
    SELECT session_id, pile_id, port_no, site_id, state, prepaid_fen, tariff_version_id, agreement_version_id, limit_s,
           limit_dwh, created_at, paid_at, started_at, ended_at, settled_at, closed_at, failure, stop_reason,
           energy_dwh, duration_s, source, card_id
      FROM charging_session WHERE session_id = %(session_id)s
    """
_SELECT_FOR_UPDATE: LiteralString = _SELECT + " FOR NO KEY UPDATE"


def _select(conn: Connection[TupleRow], session_id: UUID, query: LiteralString) -> ChargingSession | None:
    with conn.cursor(row_factory=class_row(ChargingSession)) as cursor:
        return cursor.execute(query, {"session_id": session_id}).fetchone()
