"""The bill of a session: what the tariff asks, capped at what was prepaid. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from billing import rating
from billing.metered_slices import ChargingPeriod
from billing.rating import RatedFee
from billing.tariff_objects import FeeKind, TariffVersion

WAIVED_FIRST = (FeeKind.OCCUPANCY, FeeKind.SERVICE, FeeKind.ELECTRICITY)
"""What is waived when a session costs more than was prepaid: electricity last, because somebody paid the grid."""


@dataclass(frozen=True)
class BilledFee:
    """A rated fee and what of it the rider pays, in fen."""

    rated: RatedFee
    charged_fen: int


@dataclass(frozen=True)
class Bill:
    """What a session costs its rider; prepaid = charged + refund, to the fen."""

    energy_dwh: int
    duration_s: int
    prepaid_fen: int
    fees: tuple[BilledFee, ...]

    @property
    def charged_fen(self) -> int:
        return sum(fee.charged_fen for fee in self.fees)

    @property
    def refund_fen(self) -> int:
        return self.prepaid_fen - self.charged_fen

    @property
    def waived_fen(self) -> int:
        return sum(fee.rated.total_fen - fee.charged_fen for fee in self.fees)


def make(
    version: TariffVersion,
    periods: Sequence[ChargingPeriod],
    *,
    session_started_at: datetime,
    prepaid_fen: int,
) -> Bill:
    """Rate the periods and cap the fees at the prepayment; raises RatingRefused."""
    rated = rating.rate_all(version, periods, session_started_at=session_started_at)
    left_fen = prepaid_fen
    charged: dict[FeeKind, int] = {}
    for fee in sorted(rated, key=lambda fee: WAIVED_FIRST.index(fee.fee_kind), reverse=True):
        charged[fee.fee_kind] = min(fee.total_fen, left_fen)
        left_fen -= charged[fee.fee_kind]
    return Bill(
        energy_dwh=sum(period.energy_dwh for period in periods),
        duration_s=sum(period.duration_s for period in periods),
        prepaid_fen=prepaid_fen,
        fees=tuple(BilledFee(fee, charged[fee.fee_kind]) for fee in rated),
    )
