"""What billing asks of a rail, and what a rail may answer.

Every call has three outcomes: `Ok`, `Rejected` (the rail said no, nothing moved) or `Unknown` (it may have
happened). An unknown outcome is never booked as a failure: it is asked about again under the same number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class RejectionKind(StrEnum):
    """What a refusal means for the caller."""

    NOT_FOUND = "not_found"
    """The rail has no payment or refund of this number."""
    ALREADY_PAID = "already_paid"
    """The payment is paid, so it can be neither placed again nor closed."""
    CLOSED = "closed"
    """The payment is closed and cannot be paid any more."""
    RETRY_LATER = "retry_later"
    """Too many calls, not enough balance, our credentials: the same call may succeed later."""
    REFUSED = "refused"
    """The request as it stands will never be accepted."""


@dataclass(frozen=True, slots=True)
class Ok(Generic[T]):
    """The rail answered, and its signature proves it."""

    value: T


@dataclass(frozen=True, slots=True)
class Rejected:
    """The rail refused; `code` is its own word for why."""

    kind: RejectionKind
    code: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """No trustworthy answer: timeout, broken connection, server error or a bad signature."""

    reason: str


RailResult = Ok[T] | Rejected | Unknown


@dataclass(frozen=True, slots=True)
class PaymentSucceeded:
    """The rider has paid; `paid_at` is the rail's time."""

    out_trade_no: str
    rail_transaction_id: str
    amount_fen: int
    paid_at: datetime

    @property
    def event_key(self) -> str:
        """Names the event itself: the same for every delivery and for an answer to a query."""
        return f"payment:{self.rail_transaction_id}:succeeded"


@dataclass(frozen=True, slots=True)
class PaymentPending:
    """The rail knows the payment and it is not paid yet."""

    out_trade_no: str


@dataclass(frozen=True, slots=True)
class PaymentClosed:
    """The rail will not take money for this payment any more."""

    out_trade_no: str


PaymentStatus = PaymentSucceeded | PaymentPending | PaymentClosed


class RailRefundState(StrEnum):
    """How far a refund is at the rail; `succeeded` is final, `closed` is final for the number it had."""

    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    ABNORMAL = "abnormal"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class RefundChanged:
    """A refund as the rail sees it; `succeeded_at` is the rail's time and set when it succeeded."""

    out_refund_no: str
    rail_refund_id: str
    state: RailRefundState
    amount_fen: int
    succeeded_at: datetime | None

    def __post_init__(self) -> None:
        if (self.state is RailRefundState.SUCCEEDED) != (self.succeeded_at is not None):
            raise ValueError(
                f"refund {self.out_refund_no} is {self.state} and succeeded at {self.succeeded_at}"
            )

    @property
    def event_key(self) -> str:
        """Names the event itself: the same for every delivery and for an answer to a query."""
        return f"refund:{self.rail_refund_id}:{self.state}"


Notification = PaymentSucceeded | RefundChanged


class Rail(Protocol):
    """A way money comes in and goes back. Calls block on the network and are made outside transactions.

    Repeating a call with the same numbers is harmless: a rail moves money once per number.
    """

    @property
    def name(self) -> str:
        """The rail's name in payments, accounts and addresses, like `wechat_pay`."""
        ...

    def create_payment(
        self,
        *,
        out_trade_no: str,
        amount_fen: int,
        description: str,
        payer_ip: str,
        expires_at: datetime,
        return_url: str,
    ) -> RailResult[str]:
        """Place a payment; answers the address the rider's phone opens, leading back to `return_url`."""
        ...

    def query_payment(self, out_trade_no: str) -> RailResult[PaymentStatus]:
        """Ask how a payment stands."""
        ...

    def close_payment(self, out_trade_no: str) -> RailResult[None]:
        """Make a payment impossible to pay; closing twice is fine."""
        ...

    def refund(
        self, *, out_trade_no: str, out_refund_no: str, amount_fen: int, paid_fen: int, reason: str
    ) -> RailResult[RefundChanged]:
        """Give back `amount_fen` of the `paid_fen` of a payment. Accepted does not mean done."""
        ...

    def query_refund(self, out_refund_no: str) -> RailResult[RefundChanged]:
        """Ask how a refund stands."""
        ...

    def parse_notification(self, headers: Mapping[str, str], body: bytes) -> Notification:
        """Verify and open what the rail sent us; raises `billing.errors.NotificationRefused`."""
        ...
