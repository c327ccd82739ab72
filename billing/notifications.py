"""Act once on what a rail has proven, whether it told us or answered when asked.

The key of an event names the event, not its delivery: a repeat under another delivery id, and the answer to a
query about the same payment, are the same event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from billing import payments, refunds
from billing.errors import PaymentUnknown, RefundUnknown
from billing.payment_rails.rail import Notification, PaymentSucceeded, RailRefundState, RefundChanged
from billing.payments import Payment
from billing.refunds import Refund, RefundState


@dataclass(frozen=True)
class SessionHooks:
    """What charging does when money moves, in the same transaction.

    `lock_session` comes first, so that port and session are locked before payment and accounts. `on_paid` is
    called once for money in time (money too late goes back by itself), `on_refunded` once for each refund that
    succeeded.
    """

    lock_session: Callable[[Connection[TupleRow], UUID], None]
    on_paid: Callable[[Connection[TupleRow], Payment, datetime], None]
    on_refunded: Callable[[Connection[TupleRow], Refund, datetime], None]


class Handled(StrEnum):
    """Whether a notification changed anything; both are answered as success."""

    FIRST = "first"
    REPEATED = "repeated"


def handle(
    conn: Connection[TupleRow], rail: str, notification: Notification, *, now: datetime, hooks: SessionHooks
) -> Handled:
    """Book a verified notification of the rail named `rail` and tell charging, once for each event.

    Raises PaymentUnknown, RefundUnknown, AmountMismatch or PaymentConflict: the notification is then not
    acknowledged, so that it comes again and is seen.
    """
    match notification:
        case PaymentSucceeded():
            return _payment_succeeded(conn, rail, notification, now, hooks)
        case RefundChanged():
            return _refund_changed(conn, rail, notification, now, hooks)


def _payment_succeeded(
    conn: Connection[TupleRow], rail: str, succeeded: PaymentSucceeded, now: datetime, hooks: SessionHooks
) -> Handled:
    payment = payments.by_number(conn, succeeded.out_trade_no)
    if payment.rail != rail:
        raise PaymentUnknown(succeeded.out_trade_no)
    hooks.lock_session(conn, payment.session_id)
    if not _first_time(conn, rail, succeeded.event_key, "payment_succeeded", now):
        return Handled.REPEATED
    outcome = payments.mark_paid(
        conn,
        out_trade_no=succeeded.out_trade_no,
        rail_transaction_id=succeeded.rail_transaction_id,
        amount_fen=succeeded.amount_fen,
        paid_at=succeeded.paid_at,
        now=now,
    )
    if outcome.first and not outcome.too_late:
        hooks.on_paid(conn, outcome.payment, now)
    return Handled.FIRST


def _refund_changed(
    conn: Connection[TupleRow], rail: str, changed: RefundChanged, now: datetime, hooks: SessionHooks
) -> Handled:
    refund = refunds.by_number(conn, changed.out_refund_no)
    if refund.rail != rail:
        raise RefundUnknown(changed.out_refund_no)
    hooks.lock_session(conn, refund.session_id)
    # Only success is an event that happens once; the other states may come and go.
    before = refunds.get(conn, refund.refund_id)
    if changed.state is RailRefundState.SUCCEEDED:
        kind = "refund_succeeded" if changed.out_refund_no == before.out_refund_no else "refund_contradicted"
        if not _first_time(conn, rail, changed.event_key, kind, now):
            return Handled.REPEATED
    after = refunds.mark_changed(conn, changed, now=now)
    if before.state is not RefundState.SUCCEEDED and after.state is RefundState.SUCCEEDED:
        hooks.on_refunded(conn, after, now)
    same = (after.state, after.generation) == (before.state, before.generation)
    return Handled.REPEATED if same else Handled.FIRST


def _first_time(conn: Connection[TupleRow], rail: str, event_key: str, kind: str, now: datetime) -> bool:
    inserted = conn.execute(
        """
        INSERT INTO rail_notification (rail, event_key, kind, received_at)
        VALUES (%(rail)s, %(event_key)s, %(kind)s, %(now)s)
        ON CONFLICT (rail, event_key) DO NOTHING
        """,
        {"rail": rail, "event_key": event_key, "kind": kind, "now": now},
    )
    return inserted.rowcount == 1
