"""Conversations with a rail: place, query, close, refund. Network calls are made between transactions, never in one.

Whatever the rail answers is written down in a transaction of its own, together with the next question to ask, so
that a crash anywhere loses nothing: `jobs.sweep` picks up what nobody is asking about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

from billing import job_queue, notifications, payments, refunds
from billing.errors import PaymentConflict, RailRefused, RailUnavailable, RailUnknown
from billing.notifications import SessionHooks
from billing.payment_rails.rail import (
    Ok,
    PaymentClosed,
    PaymentPending,
    PaymentStatus,
    PaymentSucceeded,
    Rail,
    RailRefundState,
    RailResult,
    RefundChanged,
    Rejected,
    RejectionKind,
    Unknown,
)
from billing.payments import QUERY_DELAYS_S, Payment, PaymentState
from billing.refunds import Refund, RefundCause

log = structlog.get_logger()

Pool = ConnectionPool[Connection[TupleRow]]

CREATE_TRIES = 2
"""How often a payment is placed before the rider is told that the rail is away."""

_REASONS: Mapping[RefundCause, str] = {
    RefundCause.UNUSED_PREPAYMENT: "充电结束，退还未使用金额",
    RefundCause.START_FAILED: "充电未能启动，全额退款",
    RefundCause.PAID_TOO_LATE: "支付超时，全额退款",
}


@dataclass(frozen=True)
class RailDesk:
    """What a conversation needs: database, rails by name, the platform's clock and charging's hooks."""

    pool: Pool
    rails: Mapping[str, Rail]
    clock: Callable[[], datetime]
    hooks: SessionHooks

    def rail(self, name: str) -> Rail:
        """The rail of this name; raises RailUnknown."""
        try:
            return self.rails[name]
        except KeyError:
            raise RailUnknown(name) from None


def place_payment(
    pool: Pool, rail: Rail, *, payment_id: UUID, description: str, payer_ip: str, return_url: str
) -> Payment:
    """Have the rail open a payment and keep the address the rider's phone goes to; for the rider's request.

    May be repeated while the payment is open: the rail gives a fresh address under the same number.
    Raises PaymentConflict when it is paid or closed, RailRefused, and RailUnavailable.
    """
    with pool.connection() as conn:
        payment = payments.get(conn, payment_id)
    if payment.state is not PaymentState.CREATED:
        raise PaymentConflict(payment.out_trade_no, "state")
    result: RailResult[str] = Unknown("not tried")
    for _ in range(CREATE_TRIES):
        result = rail.create_payment(
            out_trade_no=payment.out_trade_no,
            amount_fen=payment.amount_fen,
            description=description,
            payer_ip=payer_ip,
            expires_at=payment.expires_at,
            return_url=return_url,
        )
        if not isinstance(result, Unknown):
            break
    match result:
        case Ok(pay_url):
            with pool.connection() as conn:
                return payments.set_pay_url(conn, payment_id=payment_id, pay_url=pay_url)
        case Rejected(RejectionKind.ALREADY_PAID | RejectionKind.CLOSED):
            raise PaymentConflict(payment.out_trade_no, "state")
        case Rejected(_, code):
            raise RailRefused(rail.name, code)
        case Unknown(reason):
            raise RailUnavailable(rail.name, reason)


def query_payment(desk: RailDesk, payment_id: UUID, *, attempt: int) -> None:
    """Ask the rail about an open payment, as its notification may never come; after expiry, have it closed."""
    with desk.pool.connection() as conn:
        payment = payments.get(conn, payment_id)
    if payment.state is PaymentState.PAID or payment.rail_closed_at is not None:
        return
    result = desk.rail(payment.rail).query_payment(payment.out_trade_no)
    with desk.pool.connection() as conn:
        if _decided(desk, conn, payment, result):
            return
        if payment.state is PaymentState.CLOSED or desk.clock() >= payment.expires_at:
            job_queue.defer_close_payment(conn, payment_id)
        else:
            after_s = QUERY_DELAYS_S[min(attempt + 1, len(QUERY_DELAYS_S) - 1)]
            job_queue.defer_query_payment(conn, payment_id, attempt=attempt + 1, after_s=after_s)


def close_payment(desk: RailDesk, payment_id: UUID, *, attempt: int) -> None:
    """Close a payment at the rail; if the money came first, book it instead."""
    with desk.pool.connection() as conn:
        payment = payments.get(conn, payment_id)
    if payment.state is PaymentState.PAID or payment.rail_closed_at is not None:
        return
    rail = desk.rail(payment.rail)
    result = rail.close_payment(payment.out_trade_no)
    match result:
        case Ok() | Rejected(RejectionKind.NOT_FOUND | RejectionKind.CLOSED):
            status: RailResult[PaymentStatus] = Ok(PaymentClosed(payment.out_trade_no))
        case Rejected(RejectionKind.ALREADY_PAID):
            status = rail.query_payment(payment.out_trade_no)
        case Rejected() | Unknown():
            status = result
    with desk.pool.connection() as conn:
        if not _decided(desk, conn, payment, status):
            after_s = QUERY_DELAYS_S[min(attempt, len(QUERY_DELAYS_S) - 1)]
            job_queue.defer_close_payment(conn, payment_id, attempt=attempt + 1, after_s=after_s)


def instruct_refund(desk: RailDesk, refund_id: UUID) -> None:
    """Make one attempt at a refund: the rail hears of it, or is asked how it stands, by the number it has now."""
    with desk.pool.connection() as conn:
        refund = refunds.claim(conn, refund_id)
    if refund is None:
        return
    result = _ask_for_refund(desk.rail(refund.rail), refund)
    with desk.pool.connection() as conn:
        match result:
            case Ok(changed):
                notifications.handle(conn, refund.rail, changed, now=desk.clock(), hooks=desk.hooks)
                finished = changed.state is RailRefundState.SUCCEEDED
            case Rejected(kind, code):
                abnormal = kind is RejectionKind.REFUSED
                refunds.mark_failed(conn, refund, error=code, abnormal=abnormal)
                finished = False
            case Unknown(reason):
                refunds.mark_failed(conn, refund, error=reason, abnormal=False)
                finished = False
        if not finished:
            after_s = refunds.retry_delay_s(refund.attempts - 1)
            job_queue.defer_instruct_refund(conn, refund_id, after_s=after_s)


def _ask_for_refund(rail: Rail, refund: Refund) -> RailResult[RefundChanged]:
    # After the first attempt the rail may know the refund whatever we heard of it, so it is asked first.
    if refund.attempts > 1:
        known = rail.query_refund(refund.out_refund_no)
        if not (isinstance(known, Rejected) and known.kind is RejectionKind.NOT_FOUND):
            return known
    return rail.refund(
        out_trade_no=refund.out_trade_no,
        out_refund_no=refund.out_refund_no,
        amount_fen=refund.amount_fen,
        paid_fen=refund.paid_fen,
        reason=_REASONS[refund.cause],
    )


def _decided(
    desk: RailDesk, conn: Connection[TupleRow], payment: Payment, result: RailResult[PaymentStatus]
) -> bool:
    match result:
        case Ok(status):
            return _take_over(desk, conn, payment, status)
        case Rejected(kind, code):
            log.warning("rail_rejected", payment_id=str(payment.payment_id), kind=kind, code=code)
            return False
        case Unknown(reason):
            log.warning("rail_outcome_unknown", payment_id=str(payment.payment_id), reason=reason)
            return False


def _take_over(desk: RailDesk, conn: Connection[TupleRow], payment: Payment, status: PaymentStatus) -> bool:
    match status:
        case PaymentSucceeded():
            notifications.handle(conn, payment.rail, status, now=desk.clock(), hooks=desk.hooks)
            return True
        case PaymentClosed():
            payments.mark_closed_at_rail(conn, payment_id=payment.payment_id, now=desk.clock())
            return True
        case PaymentPending():
            return False
