"""What charging does when billing books money: the calls that billing makes without knowing charging."""

from datetime import datetime
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from billing.notifications import SessionHooks
from billing.payments import Payment
from billing.refunds import Refund
from charging import sessions, starts
from charging.waits import Waits


def session_hooks(waits: Waits) -> SessionHooks:
    """The hooks for one process; `waits` fit its clock."""

    def on_paid(conn: Connection[TupleRow], payment: Payment, now: datetime) -> None:
        starts.paid(conn, payment, waits=waits, now=now)

    def on_refunded(conn: Connection[TupleRow], refund: Refund, now: datetime) -> None:
        sessions.refunded(conn, refund, now=now)

    def lock_session(conn: Connection[TupleRow], session_id: UUID) -> None:
        sessions.lock_with_port(conn, session_id)

    return SessionHooks(lock_session=lock_session, on_paid=on_paid, on_refunded=on_refunded)
