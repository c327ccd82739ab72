"""The price card: what a rider reads before paying, straight from the tariff that will be rated. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from billing.tariff_elements import Dimension, Restrictions, moment
from billing.tariff_objects import FeeKind, Tariff, TariffVersion


@dataclass(frozen=True)
class PricedBand:
    """One price: yuan per kWh (ENERGY), per hour (TIME, PARKING_TIME) or once (FLAT), and when it applies.

    `step` is the block it is billed in, in Wh or seconds. `applies_now` holds for the price a session starting
    now would begin with.
    """

    dimension: Dimension
    price_yuan: Decimal
    step: int
    band: str
    restrictions: Restrictions
    applies_now: bool


@dataclass(frozen=True)
class FeeCard:
    """The prices of one fee kind in the order they are tried; least and most are bounds a session, in fen."""

    fee_kind: FeeKind
    prices: tuple[PricedBand, ...]
    least_fen: int | None
    most_fen: int | None


@dataclass(frozen=True)
class PriceCard:
    """The price card of a tariff version at an instant."""

    tariff_version_id: int
    version: int
    at: datetime
    fees: tuple[FeeCard, ...]


def describe(version: TariffVersion, at: datetime) -> PriceCard:
    """The price card for a rider who looks at it `at` an instant."""
    return PriceCard(
        tariff_version_id=version.tariff_version_id,
        version=version.version,
        at=at,
        fees=tuple(
            _fee_card(fee_kind, version.tariffs[fee_kind], at)
            for fee_kind in FeeKind
            if fee_kind in version.tariffs
        ),
    )


def _fee_card(fee_kind: FeeKind, tariff: Tariff, at: datetime) -> FeeCard:
    now = moment(at, session_started_at=at)
    begun: set[Dimension] = set()
    prices: list[PricedBand] = []
    for element in tariff.elements:
        applies = element.restrictions.admits(now)
        for component in element.price_components:
            prices.append(
                PricedBand(
                    dimension=component.type,
                    price_yuan=component.price,
                    step=component.step_size,
                    band=element.restrictions.band,
                    restrictions=element.restrictions,
                    applies_now=applies and component.type not in begun,
                )
            )
            if applies:
                begun.add(component.type)
    return FeeCard(
        fee_kind=fee_kind,
        prices=tuple(prices),
        least_fen=None if tariff.min_price is None else tariff.min_price.amount_fen,
        most_fen=None if tariff.max_price is None else tariff.max_price.amount_fen,
    )
