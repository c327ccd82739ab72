"""What happens because time passed: deadlines, silence, orders nobody paid."""

from dataclasses import dataclass
from datetime import datetime

from psycopg import Connection
from psycopg.rows import TupleRow

from billing import payments
from billing.payments import PaymentState
from charging import commands, piles, sessions, starts
from charging.commands import CommandKind
from charging.session_states import SessionState
from charging.waits import Waits

SWEEP_LIMIT = 500
"""How many rows of each kind one sweep takes; the next sweep takes the rest."""


@dataclass(frozen=True)
class Swept:
    """What one sweep did."""

    commands_expired: int
    piles_silent: int
    orders_cancelled: int
    settlements_overdue: int


def sweep(conn: Connection[TupleRow], *, waits: Waits, now: datetime) -> Swept:
    """Act on everything whose time has come. Harmless to run often, and by several workers at once."""
    expired = commands.expire(conn, limit=SWEEP_LIMIT, now=now)
    for command in expired:
        if command.kind is CommandKind.START and command.session_id is not None:
            starts.unanswered(conn, command.session_id, was_sent=command.send_count > 0, now=now)
    return Swept(
        commands_expired=len(expired),
        piles_silent=len(piles.mark_silent(conn, grace=waits.silence, now=now)),
        orders_cancelled=_cancel_unpaid(conn, waits=waits, now=now),
        settlements_overdue=_mark_overdue(conn, waits=waits, now=now),
    )


def _cancel_unpaid(conn: Connection[TupleRow], *, waits: Waits, now: datetime) -> int:
    """Cancel the orders whose payment is closed for good; one that may still be paid stays."""
    rows = conn.execute(
        """
        SELECT session_id FROM charging_session
         WHERE state = 'created' AND created_at < %(before)s
         ORDER BY created_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
        """,
        {"before": now - waits.payment, "limit": SWEEP_LIMIT},
    ).fetchall()
    cancelled = 0
    for (session_id,) in rows:
        payment = payments.of_session(conn, session_id)
        if payment is None or payment.state is PaymentState.CLOSED:
            session = sessions.get(conn, session_id)
            cancelled += sessions.move(conn, session, SessionState.CANCELLED, cause="never_paid", now=now)
    return cancelled


def _mark_overdue(conn: Connection[TupleRow], *, waits: Waits, now: datetime) -> int:
    """Sessions that must have ended long ago free their port and wait for the pile's record alone."""
    rows = conn.execute(
        """
        SELECT session_id FROM charging_session
         WHERE state IN ('pending_plug', 'charging', 'stopping')
           AND coalesce(started_at, paid_at) + limit_s * interval '1 second' + %(grace)s < %(now)s
         ORDER BY created_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
        """,
        {"grace": waits.settlement, "now": now, "limit": SWEEP_LIMIT},
    ).fetchall()
    for (session_id,) in rows:
        session = sessions.get(conn, session_id)
        sessions.move(conn, session, SessionState.AWAITING_SETTLEMENT, cause="settlement_overdue", now=now)
    return len(rows)
