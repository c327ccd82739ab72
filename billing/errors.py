"""Why a billing call was refused.

BillingError
    PartyConflict, PartyUnknown
    TariffInvalid, TariffMissing, TariffVersionUnknown
    AgreementInvalid, AgreementMissing, AgreementSilent, AgreementVersionUnknown
    EffectiveFromTooEarly
    EntryUnbalanced, EntryConflict, EntryUnknown
    SplitRefused, RatingRefused
    ChargeConflict
    PaymentUnknown, PaymentConflict, PaymentUnpaid, AmountMismatch
    RefundUnknown, RefundConflict, OverRefund
    RailUnknown, RailRefused, RailUnavailable, NotificationRefused

Each carries the facts of the case; HTTP status and words are chosen at the edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


class BillingError(Exception):
    """Base class of every expected refusal of this package."""

    def __str__(self) -> str:
        return repr(self)


@dataclass(eq=False)
class PartyConflict(BillingError):
    """The party is registered already with another kind or name."""

    party_id: str
    field: str
    registered: str
    given: str


@dataclass(eq=False)
class PartyUnknown(BillingError):
    """An agreement names parties that are not registered."""

    party_ids: tuple[str, ...]


@dataclass(eq=False)
class TariffInvalid(BillingError):
    """The tariff cannot be rated; `field` is the path to what is wrong, like `elements[0].restrictions`."""

    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


@dataclass(eq=False)
class TariffMissing(BillingError):
    """No tariff holds at the site at this instant; never read as free of charge."""

    site_id: str
    at: datetime


@dataclass(eq=False)
class TariffVersionUnknown(BillingError):
    """There is no such tariff version."""

    tariff_version_id: int


@dataclass(eq=False)
class AgreementInvalid(BillingError):
    """The agreement cannot be applied: shares of a fee kind that do not sum to 10000, or none at all."""

    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


@dataclass(eq=False)
class AgreementMissing(BillingError):
    """No agreement holds at the site at this instant."""

    site_id: str
    at: datetime


@dataclass(eq=False)
class AgreementSilent(BillingError):
    """The agreement does not say who shares a fee kind that the tariff charges."""

    agreement_version_id: int
    fee_kind: str


@dataclass(eq=False)
class AgreementVersionUnknown(BillingError):
    """There is no such agreement version."""

    agreement_version_id: int


@dataclass(eq=False)
class EffectiveFromTooEarly(BillingError):
    """A version must take effect after the latest one of its site and not in the past: nothing is repriced."""

    site_id: str
    effective_from: datetime
    earliest: datetime


@dataclass(eq=False)
class EntryUnbalanced(BillingError):
    """A journal entry whose debits and credits differ, or with fewer than two lines."""

    idempotency_key: str
    debit_fen: int
    credit_fen: int


@dataclass(eq=False)
class EntryConflict(BillingError):
    """The idempotency key was used before for other money."""

    idempotency_key: str
    entry_id: int


@dataclass(eq=False)
class EntryUnknown(BillingError):
    """There is no such journal entry."""

    entry_id: int


@dataclass(eq=False)
class SplitRefused(BillingError):
    """An amount below zero, or shares that are not a whole."""

    reason: str


@dataclass(eq=False)
class RatingRefused(BillingError):
    """The metered periods cannot be rated: out of order, overlapping or negative."""

    reason: str


@dataclass(eq=False)
class ChargeConflict(BillingError):
    """The session's prepayment was already disposed of in the other way (charged against refunded whole)."""

    session_id: UUID
    entry_kind: str


@dataclass(eq=False)
class PaymentUnknown(BillingError):
    """There is no payment of this number, or it belongs to another rail."""

    number: str


@dataclass(eq=False)
class PaymentConflict(BillingError):
    """The payment exists with other facts: another amount, rail or transaction."""

    out_trade_no: str
    field: str


@dataclass(eq=False)
class PaymentUnpaid(BillingError):
    """No money was received for this payment, so none can go back."""

    payment_id: UUID


@dataclass(eq=False)
class AmountMismatch(BillingError):
    """The rail reports another amount than we asked for."""

    number: str
    expected_fen: int
    reported_fen: int


@dataclass(eq=False)
class RefundUnknown(BillingError):
    """There is no refund of this number."""

    number: str


@dataclass(eq=False)
class RefundConflict(BillingError):
    """The idempotency key was used before for another refund."""

    idempotency_key: str


@dataclass(eq=False)
class OverRefund(BillingError):
    """More would go back than was paid, refunds in flight included."""

    payment_id: UUID
    amount_fen: int
    refundable_fen: int


@dataclass(eq=False)
class RailUnknown(BillingError):
    """No rail of this name is configured."""

    rail: str


@dataclass(eq=False)
class RailRefused(BillingError):
    """The rail refused to place the payment; `code` is its own word for why."""

    rail: str
    code: str


@dataclass(eq=False)
class RailUnavailable(BillingError):
    """The rail gave no trustworthy answer in time."""

    rail: str
    reason: str


@dataclass(eq=False)
class NotificationRefused(BillingError):
    """A notification that is not proven to be the rail's, or not about our money."""

    rail: str
    reason: str
