"""Refunds: money going back to the rider by the way it came.

requested -> processing -> succeeded, with `abnormal` where the rail wants a person to look. Only `succeeded`
is final: every other state is asked about again, with a wait that grows to an hour, for as long as it takes
and under the same number, as another one could pay twice. Only where the rail itself says that a number is
closed, and so will never pay, the next generation of the refund gets a new one. The ledger keeps the money as
owed until the rail has paid it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

import structlog
from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from billing import accounts, job_queue, ledger
from billing.errors import (
    AmountMismatch,
    OverRefund,
    PaymentUnknown,
    PaymentUnpaid,
    RefundConflict,
    RefundUnknown,
)
from billing.payment_rails.rail import RailRefundState, RefundChanged

log = structlog.get_logger()

RETRY_DELAYS_S = (2, 5, 15, 30, 60, 300, 900, 3600)
"""Real seconds from one attempt at a refund to the next; the last one repeats."""

MAX_GENERATION = 5
"""So many new numbers a refund gets; one that is closed even then waits for a person."""

RENEWAL_WAIT_S = 60
"""Real seconds before a new number is tried: rails want a minute between two refunds of one payment."""

SWEEP_LIMIT = 500
"""Most refunds one sweep looks at."""

_MAX_ERROR_LENGTH = 200
_NUMBER = re.compile(r"(?P<refund_id>[0-9a-f]{32})(?:-(?P<generation>[1-9][0-9]?))?")


class RefundCause(StrEnum):
    """Why money goes back."""

    UNUSED_PREPAYMENT = "unused_prepayment"
    START_FAILED = "start_failed"
    PAID_TOO_LATE = "paid_too_late"


class RefundState(StrEnum):
    """Where a refund is."""

    REQUESTED = "requested"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    ABNORMAL = "abnormal"


@dataclass(frozen=True)
class Refund:
    """A refund with what its rail must hear of the payment; `retry_at` is by the database's clock."""

    refund_id: UUID
    payment_id: UUID
    session_id: UUID
    rail: str
    out_trade_no: str
    paid_fen: int
    idempotency_key: str
    generation: int
    out_refund_no: str
    cause: RefundCause
    amount_fen: int
    state: RefundState
    attempts: int
    last_error: str | None
    rail_refund_id: str | None
    requested_at: datetime
    retry_at: datetime
    succeeded_at: datetime | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "cause", RefundCause(self.cause))
        object.__setattr__(self, "state", RefundState(self.state))


@dataclass(frozen=True)
class _RefundablePayment:
    amount_fen: int
    refund_fen: int
    state: str


def request(
    conn: Connection[TupleRow],
    *,
    payment_id: UUID,
    amount_fen: int,
    cause: RefundCause,
    idempotency_key: str,
    now: datetime,
) -> Refund:
    """Reserve part of a payment for going back, and have a worker tell the rail after commit.

    The same key returns the first refund. Its number derives from the key, so that even a database restored
    from a backup asks the rail under the same number. Posts nothing: the caller's entry moves the money to owed.
    Raises PaymentUnknown, PaymentUnpaid, OverRefund, and RefundConflict for a key used for another refund.
    """
    payment = _lock_payment(conn, payment_id)
    first = _by_key(conn, idempotency_key)
    if first is not None:
        if first.payment_id != payment_id or first.amount_fen != amount_fen:
            raise RefundConflict(idempotency_key)
        return first
    if payment.state != "paid":
        raise PaymentUnpaid(payment_id)
    refundable_fen = payment.amount_fen - payment.refund_fen
    if not 0 < amount_fen <= refundable_fen:
        raise OverRefund(payment_id, amount_fen=amount_fen, refundable_fen=refundable_fen)
    refund_id = uuid5(payment_id, idempotency_key)
    conn.execute(
        "UPDATE payment SET refund_fen = refund_fen + %(amount_fen)s WHERE payment_id = %(payment_id)s",
        {"payment_id": payment_id, "amount_fen": amount_fen},
    )
    conn.execute(
        """
        INSERT INTO refund (refund_id, payment_id, idempotency_key, out_refund_no, cause, amount_fen, state,
                            requested_at, retry_at)
        VALUES (%(refund_id)s, %(payment_id)s, %(key)s, %(out_refund_no)s, %(cause)s, %(amount_fen)s,
                'requested', %(now)s, clock_timestamp())
        """,
        {
            "refund_id": refund_id,
            "payment_id": payment_id,
            "key": idempotency_key,
            "out_refund_no": _number(refund_id, 0),
            "cause": cause,
            "amount_fen": amount_fen,
            "now": now,
        },
    )
    job_queue.defer_instruct_refund(conn, refund_id)
    log.info(
        "refund_requested",
        refund_id=str(refund_id),
        payment_id=str(payment_id),
        amount_fen=amount_fen,
        cause=cause,
    )
    return get(conn, refund_id)


def get(conn: Connection[TupleRow], refund_id: UUID) -> Refund:
    """Read a refund; raises RefundUnknown."""
    with conn.cursor(row_factory=class_row(Refund)) as cursor:
        refund = cursor.execute(
            """
            SELECT r.refund_id, r.payment_id, p.session_id, p.rail, p.out_trade_no, p.amount_fen AS paid_fen,
                   r.idempotency_key, r.generation, r.out_refund_no, r.cause, r.amount_fen, r.state,
                   r.attempts, r.last_error, r.rail_refund_id, r.requested_at, r.retry_at, r.succeeded_at
              FROM refund r JOIN payment p USING (payment_id)
             WHERE r.refund_id = %(refund_id)s
            """,
            {"refund_id": refund_id},
        ).fetchone()
    if refund is None:
        raise RefundUnknown(str(refund_id))
    return refund


def by_number(conn: Connection[TupleRow], out_refund_no: str) -> Refund:
    """Read a refund by the number it has at its rail, or had before that was closed; raises RefundUnknown."""
    return get(conn, _refund_id(conn, out_refund_no))


def of_session(conn: Connection[TupleRow], session_id: UUID) -> list[Refund]:
    """List the refunds of a session, oldest first."""
    with conn.cursor(row_factory=class_row(Refund)) as cursor:
        return cursor.execute(
            """
            SELECT r.refund_id, r.payment_id, p.session_id, p.rail, p.out_trade_no, p.amount_fen AS paid_fen,
                   r.idempotency_key, r.generation, r.out_refund_no, r.cause, r.amount_fen, r.state,
                   r.attempts, r.last_error, r.rail_refund_id, r.requested_at, r.retry_at, r.succeeded_at
              FROM refund r JOIN payment p USING (payment_id)
             WHERE p.session_id = %(session_id)s
             ORDER BY r.requested_at, r.refund_id
            """,
            {"session_id": session_id},
        ).fetchall()


def claim(conn: Connection[TupleRow], refund_id: UUID) -> Refund | None:
    """Take the next attempt at a refund; None when it has succeeded or another attempt is under way.

    The claim lapses by itself: a worker that dies leaves a refund that is due again.
    """
    refund = get(conn, refund_id)
    taken = conn.execute(
        """
        UPDATE refund
           SET attempts = attempts + 1, retry_at = clock_timestamp() + %(delay_s)s * interval '1 second'
         WHERE refund_id = %(refund_id)s AND state <> 'succeeded' AND attempts = %(attempts)s
           AND retry_at <= clock_timestamp()
        """,
        {"refund_id": refund_id, "attempts": refund.attempts, "delay_s": retry_delay_s(refund.attempts)},
    )
    return get(conn, refund_id) if taken.rowcount == 1 else None


def retry_delay_s(attempts: int) -> int:
    """Real seconds to wait after the attempt that follows `attempts` earlier ones."""
    return RETRY_DELAYS_S[min(attempts, len(RETRY_DELAYS_S) - 1)]


def mark_succeeded(
    conn: Connection[TupleRow],
    *,
    out_refund_no: str,
    rail_refund_id: str,
    succeeded_at: datetime,
    now: datetime,
) -> Refund:
    """Book that the rail has paid a refund, once, however often it says so. Raises RefundUnknown.

    A number that the rail had closed is not believed to have paid after all: its refund goes by another number,
    so this is for a person, who must ask the rail which of the two it paid.
    """
    refund = _locked(conn, out_refund_no)
    if refund.out_refund_no != out_refund_no:
        log.error(
            "refund_contradicted",
            refund_id=str(refund.refund_id),
            out_refund_no=out_refund_no,
            rail_refund_id=rail_refund_id,
            generation=refund.generation,
            amount_fen=refund.amount_fen,
        )
        return refund
    if refund.state is RefundState.SUCCEEDED:
        return refund
    conn.execute(
        """
        UPDATE refund
           SET state = 'succeeded', rail_refund_id = %(rail_refund_id)s, succeeded_at = %(succeeded_at)s,
               last_error = NULL
         WHERE refund_id = %(refund_id)s
        """,
        {"refund_id": refund.refund_id, "rail_refund_id": rail_refund_id, "succeeded_at": succeeded_at},
    )
    ledger.post(
        conn,
        idempotency_key=f"refund:{refund.refund_id}:paid",
        kind=ledger.JournalKind.REFUND_PAID,
        postings=[
            ledger.debit(accounts.RIDER_REFUND_PAYABLE, refund.amount_fen),
            ledger.credit(accounts.rail_clearing(refund.rail), refund.amount_fen),
        ],
        session_id=refund.session_id,
        occurred_at=succeeded_at,
        now=now,
    )
    log.info("refund_succeeded", refund_id=str(refund.refund_id), amount_fen=refund.amount_fen)
    return get(conn, refund.refund_id)


def mark_changed(conn: Connection[TupleRow], changed: RefundChanged, *, now: datetime) -> Refund:
    """Take over what the rail says of a refund; success is never undone, nor is the rail's own `abnormal`.

    A refund whose number is closed gets its next one, and what is said of the old one later changes nothing.
    Raises RefundUnknown and AmountMismatch.
    """
    refund = _locked(conn, changed.out_refund_no)
    if changed.amount_fen != refund.amount_fen:
        raise AmountMismatch(
            refund.out_refund_no, expected_fen=refund.amount_fen, reported_fen=changed.amount_fen
        )
    if changed.succeeded_at is not None:
        return mark_succeeded(
            conn,
            out_refund_no=changed.out_refund_no,
            rail_refund_id=changed.rail_refund_id,
            succeeded_at=changed.succeeded_at,
            now=now,
        )
    if refund.out_refund_no != changed.out_refund_no:
        log.info("refund_news_too_late", refund_id=str(refund.refund_id), rail_state=changed.state)
        return refund
    if refund.state is RefundState.SUCCEEDED:
        log.error("refund_contradicted", refund_id=str(refund.refund_id), rail_state=changed.state)
        return refund
    if changed.state is RailRefundState.CLOSED and refund.generation < MAX_GENERATION:
        return _renew(conn, refund)
    abnormal = changed.state is not RailRefundState.PROCESSING
    # The answer to our call may be read after the notification that overtook it.
    if not abnormal and refund.state is RefundState.ABNORMAL and refund.rail_refund_id is not None:
        return refund
    conn.execute(
        """
        UPDATE refund SET state = %(state)s, rail_refund_id = %(rail_refund_id)s, last_error = %(last_error)s
         WHERE refund_id = %(refund_id)s
        """,
        {
            "refund_id": refund.refund_id,
            "state": RefundState.ABNORMAL if abnormal else RefundState.PROCESSING,
            "rail_refund_id": changed.rail_refund_id,
            "last_error": changed.state if abnormal else None,
        },
    )
    if abnormal:
        log.warning("refund_abnormal", refund_id=str(refund.refund_id), rail_state=changed.state)
    return get(conn, refund.refund_id)


def mark_failed(conn: Connection[TupleRow], attempted: Refund, *, error: str, abnormal: bool) -> None:
    """Note why an attempt did not get through; `abnormal` where trying again alone will not help.

    `attempted` is the refund as it was claimed: the failure of a number closed meanwhile is not the new one's.
    """
    conn.execute(
        """
        UPDATE refund
           SET last_error = %(error)s, state = CASE WHEN %(abnormal)s THEN 'abnormal' ELSE state END
         WHERE refund_id = %(refund_id)s AND generation = %(generation)s AND state <> 'succeeded'
        """,
        {
            "refund_id": attempted.refund_id,
            "generation": attempted.generation,
            "error": error[:_MAX_ERROR_LENGTH],
            "abnormal": abnormal,
        },
    )
    log.warning("refund_attempt_failed", refund_id=str(attempted.refund_id), error=error, abnormal=abnormal)


def due(conn: Connection[TupleRow]) -> list[UUID]:
    """List unfinished refunds whose wait is over, longest waiting first, at most SWEEP_LIMIT."""
    rows = conn.execute(
        """
        SELECT refund_id FROM refund
         WHERE state <> 'succeeded' AND retry_at <= clock_timestamp()
         ORDER BY retry_at LIMIT %(limit)s
        """,
        {"limit": SWEEP_LIMIT},
    ).fetchall()
    return [refund_id for (refund_id,) in rows]


def _renew(conn: Connection[TupleRow], refund: Refund) -> Refund:
    generation = refund.generation + 1
    conn.execute(
        """
        UPDATE refund
           SET generation = %(generation)s, out_refund_no = %(out_refund_no)s, state = 'requested',
               rail_refund_id = NULL, last_error = %(closed)s,
               retry_at = clock_timestamp() + %(wait_s)s * interval '1 second'
         WHERE refund_id = %(refund_id)s
        """,
        {
            "refund_id": refund.refund_id,
            "generation": generation,
            "out_refund_no": _number(refund.refund_id, generation),
            "closed": RailRefundState.CLOSED,
            "wait_s": RENEWAL_WAIT_S,
        },
    )
    job_queue.defer_instruct_refund(conn, refund.refund_id, after_s=RENEWAL_WAIT_S)
    log.warning(
        "refund_renumbered",
        refund_id=str(refund.refund_id),
        closed_refund_no=refund.out_refund_no,
        generation=generation,
    )
    return get(conn, refund.refund_id)


def _number(refund_id: UUID, generation: int) -> str:
    return f"{refund_id.hex}-{generation}" if generation else refund_id.hex


def _refund_id(conn: Connection[TupleRow], out_refund_no: str) -> UUID:
    """Whose number this is or was; one of a generation that is not reached yet is nobody's."""
    match = _NUMBER.fullmatch(out_refund_no)
    if match is None:
        raise RefundUnknown(out_refund_no)
    row = conn.execute(
        "SELECT refund_id FROM refund WHERE refund_id = %(refund_id)s AND generation >= %(generation)s",
        {"refund_id": UUID(match["refund_id"]), "generation": int(match["generation"] or 0)},
    ).fetchone()
    if row is None:
        raise RefundUnknown(out_refund_no)
    return row[0]


def _locked(conn: Connection[TupleRow], out_refund_no: str) -> Refund:
    refund_id = _refund_id(conn, out_refund_no)
    conn.execute("SELECT 1 FROM refund WHERE refund_id = %(refund_id)s FOR UPDATE", {"refund_id": refund_id})
    return get(conn, refund_id)


def _lock_payment(conn: Connection[TupleRow], payment_id: UUID) -> _RefundablePayment:
    with conn.cursor(row_factory=class_row(_RefundablePayment)) as cursor:
        payment = cursor.execute(
            "SELECT amount_fen, refund_fen, state FROM payment WHERE payment_id = %(payment_id)s FOR UPDATE",
            {"payment_id": payment_id},
        ).fetchone()
    if payment is None:
        raise PaymentUnknown(str(payment_id))
    return payment


def _by_key(conn: Connection[TupleRow], idempotency_key: str) -> Refund | None:
    row = conn.execute(
        "SELECT refund_id FROM refund WHERE idempotency_key = %(key)s", {"key": idempotency_key}
    ).fetchone()
    return None if row is None else get(conn, row[0])
