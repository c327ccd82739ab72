"""The parts of WeChat Pay API v3 messages we read, and what they mean to us.

Whatever is not here is ignored; what is here must be well formed and about our merchant, our app and CNY.
"""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from billing.payment_rails.rail import (
    PaymentClosed,
    PaymentPending,
    PaymentStatus,
    PaymentSucceeded,
    RailRefundState,
    RefundChanged,
    RejectionKind,
)

CURRENCY = "CNY"


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class H5Created(_Message):
    """Answer to placing an H5 payment."""

    h5_url: str = Field(pattern=r"^https?://")


class ErrorAnswer(_Message):
    """Body of every refusal."""

    code: str = Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")


class TransactionAmount(_Message):
    """What was ordered, in fen."""

    total: int = Field(gt=0, strict=True)
    currency: str


class Transaction(_Message):
    """A payment, as a query answers it and as a notification carries it."""

    appid: str
    mchid: str
    out_trade_no: str
    trade_state: str
    transaction_id: str | None = None
    success_time: AwareDatetime | None = None
    amount: TransactionAmount | None = None


class RefundAmount(_Message):
    """What goes back, in fen; notifications leave the currency out."""

    refund: int = Field(gt=0, strict=True)
    currency: str = CURRENCY


class RefundAnswer(_Message):
    """A refund, as the refund call and the refund query answer it."""

    refund_id: str
    out_refund_no: str
    status: str
    success_time: AwareDatetime | None = None
    amount: RefundAmount


class RefundNotice(_Message):
    """A refund, as a notification carries it."""

    mchid: str
    refund_id: str
    out_refund_no: str
    refund_status: str
    success_time: AwareDatetime | None = None
    amount: RefundAmount


class EncryptedResource(_Message):
    """The sealed part of a notification."""

    algorithm: Literal["AEAD_AES_256_GCM"]
    ciphertext: str
    nonce: str
    associated_data: str = ""


class NotificationEnvelope(_Message):
    """What surrounds the sealed part."""

    event_type: str
    resource: EncryptedResource


class Inconsistent(ValueError):
    """A message that is well formed but not about our money, or that contradicts itself."""


_CLOSED_TRADE_STATES = frozenset({"CLOSED", "REVOKED"})
_PENDING_TRADE_STATES = frozenset({"NOTPAY", "USERPAYING", "PAYERROR", "ACCEPT"})

_REFUND_STATES = {
    "PROCESSING": RailRefundState.PROCESSING,
    "SUCCESS": RailRefundState.SUCCEEDED,
    "ABNORMAL": RailRefundState.ABNORMAL,
    "CLOSED": RailRefundState.CLOSED,
}

_REJECTIONS = {
    "ORDER_NOT_EXIST": RejectionKind.NOT_FOUND,
    "ORDERNOTEXIST": RejectionKind.NOT_FOUND,
    "RESOURCE_NOT_EXISTS": RejectionKind.NOT_FOUND,
    "ORDER_PAID": RejectionKind.ALREADY_PAID,
    "ORDERPAID": RejectionKind.ALREADY_PAID,
    "ORDER_CLOSED": RejectionKind.CLOSED,
    "ORDERCLOSED": RejectionKind.CLOSED,
    "FREQUENCY_LIMITED": RejectionKind.RETRY_LATER,
    "RATELIMIT_EXCEEDED": RejectionKind.RETRY_LATER,
    "NOT_ENOUGH": RejectionKind.RETRY_LATER,
    "SIGN_ERROR": RejectionKind.RETRY_LATER,
}


def rejection_kind(code: str) -> RejectionKind:
    """What a refusal's code means; codes of the older documents, without underscores, still occur."""
    return _REJECTIONS.get(code, RejectionKind.REFUSED)


def payment_status(transaction: Transaction, *, mchid: str, appid: str) -> PaymentStatus:
    """Read a payment's state, having checked whose it is; raises Inconsistent.

    REFUND means paid and given back in part or whole: the money did come.
    """
    if transaction.mchid != mchid or transaction.appid != appid:
        raise Inconsistent("another merchant or app")
    if transaction.trade_state in _PENDING_TRADE_STATES:
        return PaymentPending(transaction.out_trade_no)
    if transaction.trade_state in _CLOSED_TRADE_STATES:
        return PaymentClosed(transaction.out_trade_no)
    if transaction.trade_state not in {"SUCCESS", "REFUND"}:
        raise Inconsistent(f"trade state {transaction.trade_state!r}")
    amount, transaction_id, paid_at = transaction.amount, transaction.transaction_id, transaction.success_time
    if amount is None or not transaction_id or paid_at is None:
        raise Inconsistent("paid, but without amount, transaction or time")
    if amount.currency != CURRENCY:
        raise Inconsistent(f"currency {amount.currency!r}")
    return PaymentSucceeded(
        out_trade_no=transaction.out_trade_no,
        rail_transaction_id=transaction_id,
        amount_fen=amount.total,
        paid_at=paid_at,
    )


def refund_answer(answer: RefundAnswer) -> RefundChanged:
    """Read a refund's state from an answer; raises Inconsistent."""
    return _refund_changed(answer, answer.status)


def refund_notice(notice: RefundNotice, *, mchid: str) -> RefundChanged:
    """Read a refund's state from a notification, having checked whose it is; raises Inconsistent."""
    if notice.mchid != mchid:
        raise Inconsistent("another merchant")
    return _refund_changed(notice, notice.refund_status)


def _refund_changed(message: RefundAnswer | RefundNotice, status: str) -> RefundChanged:
    state = _REFUND_STATES.get(status)
    if state is None:
        raise Inconsistent(f"refund status {status!r}")
    if message.amount.currency != CURRENCY:
        raise Inconsistent(f"currency {message.amount.currency!r}")
    if state is RailRefundState.SUCCEEDED and message.success_time is None:
        raise Inconsistent("refunded at no time")
    return RefundChanged(
        out_refund_no=message.out_refund_no,
        rail_refund_id=message.refund_id,
        state=state,
        amount_fen=message.amount.refund,
        succeeded_at=message.success_time if state is RailRefundState.SUCCEEDED else None,
    )
