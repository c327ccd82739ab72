"""Prepayments: one for each session, made before the rail is asked, marked by what the rail proves.

created -> paid       the money is here; `payment_received` is posted in the same transaction
created -> closed     we stopped waiting; the rail is told, and `rail_closed_at` is its confirmation
closed  -> paid       money that came too late: posted, and refunded whole at once
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid4

import structlog
from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from billing import accounts, job_queue, ledger, refunds
from billing.errors import AmountMismatch, PaymentConflict, PaymentUnknown
from billing.refunds import RefundCause

log = structlog.get_logger()

QUERY_DELAYS_S = (3, 10, 30, 60)
"""Real seconds from one question to the rail to the next while a payment is open; the last one repeats."""

SWEEP_LIMIT = 500
"""Most payments or refunds one sweep looks at."""


class PaymentState(StrEnum):
    """Where a payment is; money received is the only final word."""

    CREATED = "created"
    PAID = "paid"
    CLOSED = "closed"


@dataclass(frozen=True)
class Payment:
    """A prepayment; `paid_at` is the rail's time, `refund_fen` counts refunds in flight too."""

    payment_id: UUID
    session_id: UUID
    rail: str
    out_trade_no: str
    amount_fen: int
    refund_fen: int
    state: PaymentState
    pay_url: str | None
    rail_transaction_id: str | None
    created_at: datetime
    expires_at: datetime
    paid_at: datetime | None
    closed_at: datetime | None
    rail_closed_at: datetime | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", PaymentState(self.state))

    @property
    def too_late(self) -> bool:
        """Whether the money came after we had stopped waiting; it goes back whole."""
        return self.state is PaymentState.PAID and self.closed_at is not None


@dataclass(frozen=True)
class PaidOutcome:
    """What `mark_paid` did: `first` only for the call that booked the money."""

    payment: Payment
    first: bool
    too_late: bool


def create(
    conn: Connection[TupleRow],
    *,
    session_id: UUID,
    amount_fen: int,
    rail: str,
    now: datetime,
    expires_at: datetime,
) -> Payment:
    """Write down the payment of a session before the rail hears of it, and start the watch over it.

    A repeat with the same amount and rail returns the first payment; anything else raises PaymentConflict.
    """
    payment_id = uuid4()
    inserted = conn.execute(
        """
        INSERT INTO payment (payment_id, session_id, rail, out_trade_no, amount_fen, state, created_at,
                             expires_at)
        VALUES (%(payment_id)s, %(session_id)s, %(rail)s, %(out_trade_no)s, %(amount_fen)s, 'created', %(now)s,
                %(expires_at)s)
        ON CONFLICT (session_id) DO NOTHING
        """,
        {
            "payment_id": payment_id,
            "session_id": session_id,
            "rail": rail,
            "out_trade_no": payment_id.hex,
            "amount_fen": amount_fen,
            "now": now,
            "expires_at": expires_at,
        },
    )
    if inserted.rowcount == 1:
        job_queue.defer_query_payment(conn, payment_id, after_s=QUERY_DELAYS_S[0])
        return get(conn, payment_id)
    existing = of_session(conn, session_id)
    assert existing is not None
    if existing.amount_fen != amount_fen or existing.rail != rail:
        raise PaymentConflict(existing.out_trade_no, "amount_fen" if existing.rail == rail else "rail")
    return existing


def set_pay_url(conn: Connection[TupleRow], *, payment_id: UUID, pay_url: str) -> Payment:
    """Keep the address the rider's phone opens; a rail may give a new one for the same payment.

    A payment that was closed while the rail opened it is closed at the rail once more.
    """
    conn.execute(
        """
        UPDATE payment SET pay_url = %(pay_url)s, rail_closed_at = NULL WHERE payment_id = %(payment_id)s
        """,
        {"payment_id": payment_id, "pay_url": pay_url},
    )
    payment = get(conn, payment_id)
    if payment.state is PaymentState.CLOSED:
        job_queue.defer_close_payment(conn, payment_id)
    return payment


def get(conn: Connection[TupleRow], payment_id: UUID) -> Payment:
    """Read a payment; raises PaymentUnknown."""
    with conn.cursor(row_factory=class_row(Payment)) as cursor:
        payment = cursor.execute(
            """
            SELECT payment_id, session_id, rail, out_trade_no, amount_fen, refund_fen, state, pay_url,
                   rail_transaction_id, created_at, expires_at, paid_at, closed_at, rail_closed_at
              FROM payment WHERE payment_id = %(payment_id)s
            """,
            {"payment_id": payment_id},
        ).fetchone()
    if payment is None:
        raise PaymentUnknown(str(payment_id))
    return payment


def of_session(conn: Connection[TupleRow], session_id: UUID) -> Payment | None:
    """Read the payment of a session, if it has one."""
    with conn.cursor(row_factory=class_row(Payment)) as cursor:
        return cursor.execute(
            """
            SELECT payment_id, session_id, rail, out_trade_no, amount_fen, refund_fen, state, pay_url,
                   rail_transaction_id, created_at, expires_at, paid_at, closed_at, rail_closed_at
              FROM payment WHERE session_id = %(session_id)s
            """,
            {"session_id": session_id},
        ).fetchone()


def by_number(conn: Connection[TupleRow], out_trade_no: str) -> Payment:
    """Read a payment by the number it has at its rail; raises PaymentUnknown."""
    with conn.cursor(row_factory=class_row(Payment)) as cursor:
        payment = cursor.execute(
            """
            SELECT payment_id, session_id, rail, out_trade_no, amount_fen, refund_fen, state, pay_url,
                   rail_transaction_id, created_at, expires_at, paid_at, closed_at, rail_closed_at
              FROM payment WHERE out_trade_no = %(out_trade_no)s
            """,
            {"out_trade_no": out_trade_no},
        ).fetchone()
    if payment is None:
        raise PaymentUnknown(out_trade_no)
    return payment


def mark_paid(
    conn: Connection[TupleRow],
    *,
    out_trade_no: str,
    rail_transaction_id: str,
    amount_fen: int,
    paid_at: datetime,
    now: datetime,
) -> PaidOutcome:
    """Book the money of a payment, once, however often the rail says so.

    Money for a payment that was closed is posted as received and owed back whole, with the refund requested.
    Raises PaymentUnknown, AmountMismatch, and PaymentConflict for a second transaction of one payment.
    """
    payment = _locked(conn, out_trade_no)
    if amount_fen != payment.amount_fen:
        raise AmountMismatch(out_trade_no, expected_fen=payment.amount_fen, reported_fen=amount_fen)
    if payment.state is PaymentState.PAID:
        if payment.rail_transaction_id != rail_transaction_id:
            raise PaymentConflict(out_trade_no, "rail_transaction_id")
        return PaidOutcome(payment, first=False, too_late=payment.too_late)
    conn.execute(
        """
        UPDATE payment SET state = 'paid', rail_transaction_id = %(transaction_id)s, paid_at = %(paid_at)s
         WHERE payment_id = %(payment_id)s
        """,
        {"payment_id": payment.payment_id, "transaction_id": rail_transaction_id, "paid_at": paid_at},
    )
    paid = get(conn, payment.payment_id)
    _post_received(conn, paid, paid_at, now)
    if paid.too_late:
        _give_back(conn, paid, now)
        paid = get(conn, payment.payment_id)
    log.info(
        "payment_paid",
        payment_id=str(paid.payment_id),
        session_id=str(paid.session_id),
        amount_fen=paid.amount_fen,
        too_late=paid.too_late,
    )
    return PaidOutcome(paid, first=True, too_late=paid.too_late)


def close(conn: Connection[TupleRow], *, payment_id: UUID, now: datetime) -> Payment:
    """Stop waiting for the money and have the rail told; a paid or closed payment is left as it is.

    Look at the state of what is returned: the money may have come first. Raises PaymentUnknown.
    """
    closed = conn.execute(
        """
        UPDATE payment SET state = 'closed', closed_at = %(now)s
         WHERE payment_id = %(payment_id)s AND state = 'created'
        """,
        {"payment_id": payment_id, "now": now},
    )
    if closed.rowcount == 1:
        job_queue.defer_close_payment(conn, payment_id)
    return get(conn, payment_id)


def mark_closed_at_rail(conn: Connection[TupleRow], *, payment_id: UUID, now: datetime) -> Payment:
    """Note that the rail will not take the money any more; closes our side too if it was still open."""
    conn.execute(
        """
        UPDATE payment
           SET state = 'closed', closed_at = coalesce(closed_at, %(now)s), rail_closed_at = %(now)s
         WHERE payment_id = %(payment_id)s AND state <> 'paid' AND rail_closed_at IS NULL
        """,
        {"payment_id": payment_id, "now": now},
    )
    return get(conn, payment_id)


def undecided(conn: Connection[TupleRow]) -> list[Payment]:
    """List payments on which the rail's last word is missing, oldest expiry first, at most SWEEP_LIMIT."""
    with conn.cursor(row_factory=class_row(Payment)) as cursor:
        return cursor.execute(
            """
            SELECT payment_id, session_id, rail, out_trade_no, amount_fen, refund_fen, state, pay_url,
                   rail_transaction_id, created_at, expires_at, paid_at, closed_at, rail_closed_at
              FROM payment
             WHERE state = 'created' OR (state = 'closed' AND rail_closed_at IS NULL)
             ORDER BY expires_at LIMIT %(limit)s
            """,
            {"limit": SWEEP_LIMIT},
        ).fetchall()


def _locked(conn: Connection[TupleRow], out_trade_no: str) -> Payment:
    conn.execute(
        "SELECT 1 FROM payment WHERE out_trade_no = %(out_trade_no)s FOR UPDATE",
        {"out_trade_no": out_trade_no},
    )
    return by_number(conn, out_trade_no)


def _post_received(conn: Connection[TupleRow], payment: Payment, paid_at: datetime, now: datetime) -> None:
    ledger.post(
        conn,
        idempotency_key=f"payment:{payment.payment_id}:received",
        kind=ledger.JournalKind.PAYMENT_RECEIVED,
        postings=[
            ledger.debit(accounts.rail_clearing(payment.rail), payment.amount_fen),
            ledger.credit(accounts.RIDER_PREPAYMENT, payment.amount_fen),
        ],
        session_id=payment.session_id,
        occurred_at=paid_at,
        now=now,
    )


def _give_back(conn: Connection[TupleRow], payment: Payment, now: datetime) -> None:
    ledger.post(
        conn,
        idempotency_key=f"payment:{payment.payment_id}:too_late",
        kind=ledger.JournalKind.PAYMENT_TOO_LATE,
        postings=[
            ledger.debit(accounts.RIDER_PREPAYMENT, payment.amount_fen),
            ledger.credit(accounts.RIDER_REFUND_PAYABLE, payment.amount_fen),
        ],
        session_id=payment.session_id,
        occurred_at=now,
        now=now,
    )
    refunds.request(
        conn,
        payment_id=payment.payment_id,
        amount_fen=payment.amount_fen,
        cause=RefundCause.PAID_TOO_LATE,
        idempotency_key=f"payment:{payment.payment_id}:too_late",
        now=now,
    )
