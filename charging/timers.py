"""What happens because time passed: deadlines, silence, orders nobody paid, piles that never say how it ended.

Each step handles at most one case and says whether it did, so that one transaction holds one case and a case that
cannot be handled keeps no other waiting.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from psycopg import Connection
from psycopg.rows import TupleRow

from billing import payments
from billing.payments import PaymentState
from charging import (
    certificates,
    commands,
    configurations,
    firmware_steps,
    key_rotation,
    piles,
    safety_timers,
    sessions,
    settlements,
    shown_tariffs,
    start_code_timers,
    starts,
)
from charging.commands import CommandKind
from charging.session_states import SessionState
from charging.waits import Waits

SETTLEMENT_GIVEN_UP_AFTER = timedelta(days=3)
"""After so long without the pile's record a session is settled by its samples: the rider's money comes back."""

ORDERS_LOOKED_AT = 500
"""Unpaid orders one look takes in, oldest first."""

SAMPLES_MAY_FOLLOW = timedelta(hours=1)
"""After a pile's record was rejected, so long for its samples of before; then they settle the session."""

Step = Callable[[Connection[TupleRow], Waits, datetime], bool]


def expire_command(conn: Connection[TupleRow], waits: Waits, now: datetime) -> bool:
    """Give up one command whose deadline has passed; an unanswered start gives everything back."""
    expired = commands.expire(conn, limit=1, now=now)
    for command in expired:
        if command.kind is CommandKind.START and command.session_id is not None:
            was_sent = command.send_count > 0
            starts.unanswered(conn, command.session_id, was_sent=was_sent, wait=waits.stop, now=now)
    return bool(expired)


def mark_silent_pile(conn: Connection[TupleRow], waits: Waits, now: datetime) -> bool:
    """Mark one pile offline that has been silent for too long."""
    return piles.mark_silent(conn, grace=waits.silence, now=now) is not None


def cancel_unpaid(conn: Connection[TupleRow], waits: Waits, now: datetime) -> bool:
    """Cancel one order whose payment is closed for good; one that may still be paid stays."""
    rows = conn.execute(
        """
        SELECT session_id FROM charging_session
         WHERE state = 'created' AND created_at < %(before)s
         ORDER BY created_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
        """,
        {"before": now - waits.payment, "limit": ORDERS_LOOKED_AT},
    ).fetchall()
    for (session_id,) in rows:
        payment = payments.of_session(conn, session_id)
        if payment is None or payment.state is PaymentState.CLOSED:
            session = sessions.get(conn, session_id)
            return sessions.move(conn, session, SessionState.CANCELLED, cause="never_paid", now=now)
    return False


def mark_overdue(conn: Connection[TupleRow], waits: Waits, now: datetime) -> bool:
    """Let one session that must have ended long ago free its port and wait for the pile's record alone."""
    row = conn.execute(
        """
        SELECT session_id FROM charging_session
         WHERE state IN ('starting', 'pending_plug', 'charging', 'stopping')
           AND coalesce(started_at, paid_at) + limit_s * interval '1 second' + %(grace)s < %(now)s
         ORDER BY created_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
        """,
        {"grace": waits.settlement, "now": now},
    ).fetchone()
    if row is None:
        return False
    session = sessions.get(conn, row[0])
    return sessions.move(conn, session, SessionState.AWAITING_SETTLEMENT, cause="settlement_overdue", now=now)


def settle_by_samples(conn: Connection[TupleRow], waits: Waits, now: datetime) -> bool:
    """Settle one session by its samples when its pile has not said for days how it ended, or said it unusably."""
    del waits
    row = conn.execute(
        """
        SELECT session_id FROM charging_session
         WHERE state = 'awaiting_settlement'
           AND (coalesce(started_at, paid_at) + limit_s * interval '1 second' + %(patience)s < %(now)s
                OR EXISTS (SELECT 1 FROM session_transition AS told
                            WHERE told.session_id = charging_session.session_id AND told.cause = %(rejected)s
                              AND told.at + %(backlog)s < %(now)s))
         ORDER BY created_at LIMIT 1
        """,
        {
            "patience": SETTLEMENT_GIVEN_UP_AFTER,
            "rejected": settlements.RECORD_REJECTED,
            "backlog": SAMPLES_MAY_FOLLOW,
            "now": now,
        },
    ).fetchone()
    if row is None:
        return False
    settlements.settle_by_samples(conn, row[0], now=now)
    return True


def retire_certificate(conn: Connection[TupleRow], waits: Waits, now: datetime) -> bool:
    """Revoke one certificate that was renewed days ago."""
    del waits
    return certificates.retire_superseded(conn, now=now)


def retire_secret(conn: Connection[TupleRow], waits: Waits, now: datetime) -> bool:
    """Retire one device secret whose successor has been in use for days."""
    del waits
    return key_rotation.retire_old(conn, now=now)


STEPS: tuple[Step, ...] = (
    expire_command,
    mark_silent_pile,
    cancel_unpaid,
    mark_overdue,
    settle_by_samples,
    *safety_timers.STEPS,
    configurations.send_due,
    shown_tariffs.notice_new,
    shown_tariffs.send_due,
    retire_certificate,
    retire_secret,
    start_code_timers.lapse_code,
    start_code_timers.refund_unused_code,
    firmware_steps.fail_silent_pile,
    firmware_steps.advance_rollout,
)
"""Everything that time makes due; each is repeated while it finds a case."""
