"""The chart of accounts: every account the ledger may hold (docs/ledger.md explains each)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class AccountKind(StrEnum):
    """Whose money an account counts: assets grow by debit, the others by credit."""

    ASSET = "asset"
    LIABILITY = "liability"
    REVENUE = "revenue"
    EXPENSE = "expense"


@dataclass(frozen=True)
class Account:
    """An account by its code, with what the code implies."""

    code: str
    kind: AccountKind
    party_id: str | None = None


RIDER_PREPAYMENT = Account("rider:prepayment", AccountKind.LIABILITY)
"""Prepayments received and not yet earned or given back."""

RIDER_REFUND_PAYABLE = Account("rider:refund_payable", AccountKind.LIABILITY)
"""Refunds owed to riders and not yet paid out by the rail."""


def rail_clearing(rail: str) -> Account:
    """What a rail has collected for us and not yet given back."""
    return Account(f"rail:{rail}:clearing", AccountKind.ASSET)


def party_pending(party_id: str, fee_kind: str) -> Account:
    """A party's earned share of one fee kind, not yet stated or paid out."""
    return Account(f"party:{party_id}:pending:{fee_kind}", AccountKind.LIABILITY, party_id)
