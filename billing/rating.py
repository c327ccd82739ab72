"""Rating: from metered periods to fen, exactly. Pure.

For each slice of a period and each dimension the first element counts that prices the dimension and whose
restrictions hold (OCPI 2.2.1, Tariff object). Each element's use of a dimension becomes one line; a line is
rounded once, half up, to whole fen, in `_line_fen` and nowhere else.

`step_size` follows OCPI's PriceComponent: it rounds up the session's total once for energy and once for time
(charging and parking together), by the component used last, and what it adds is billed at that component's price.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any

from billing import metered_slices
from billing.metered_slices import ChargingPeriod, Slice
from billing.tariff_elements import Dimension, PriceComponent, Restrictions, moment
from billing.tariff_objects import FeeKind, Tariff, TariffVersion

__all__ = ["ChargingPeriod", "LineKind", "RatedFee", "RatedLine", "rate", "rate_all"]


class LineKind(StrEnum):
    """What a line is for: an OCPI dimension, or what a minimum or maximum price adds or takes off."""

    ENERGY = "ENERGY"
    TIME = "TIME"
    PARKING_TIME = "PARKING_TIME"
    FLAT = "FLAT"
    MIN_PRICE = "MIN_PRICE"
    MAX_PRICE = "MAX_PRICE"


@dataclass(frozen=True)
class RatedLine:
    """One priced line of a bill: `amount_fen` is `price_yuan` times `billed`, rounded half up to whole fen.

    `metered` is what was used and `billed` what it came to after the step size, both in 0.1 Wh for ENERGY, in
    seconds for the times and in pieces otherwise. The price is per kWh, per hour or per piece. Of the kinds, only
    MAX_PRICE has an amount below zero.
    """

    kind: LineKind
    price_yuan: Decimal
    metered: int
    billed: int
    band: str
    amount_fen: int

    def as_json(self) -> dict[str, str | int]:
        """The line as JSON, with the price as a decimal string."""
        return {
            "kind": self.kind.value,
            "price_yuan": format(self.price_yuan, "f"),
            "metered": self.metered,
            "billed": self.billed,
            "band": self.band,
            "amount_fen": self.amount_fen,
        }

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> RatedLine:
        """The line that `as_json` wrote."""
        return cls(
            kind=LineKind(line["kind"]),
            price_yuan=Decimal(line["price_yuan"]),
            metered=line["metered"],
            billed=line["billed"],
            band=line["band"],
            amount_fen=line["amount_fen"],
        )


@dataclass(frozen=True)
class RatedFee:
    """One fee kind of a session as its tariff rates it; the lines sum to the total."""

    fee_kind: FeeKind
    lines: tuple[RatedLine, ...]
    total_fen: int


@dataclass
class _Use:
    component: PriceComponent
    restrictions: Restrictions
    metered: int = 0
    billed: int = 0
    last_slice_no: int = 0


_Uses = dict[tuple[int, Dimension], _Use]

_UNITS: dict[Dimension, int] = {
    Dimension.ENERGY: 10_000,
    Dimension.TIME: 3600,
    Dimension.PARKING_TIME: 3600,
    Dimension.FLAT: 1,
}
"""How many metered units (0.1 Wh, seconds, pieces) one price unit (kWh, hour, piece) has."""

_STEPS: dict[Dimension, int] = {
    Dimension.ENERGY: 10,
    Dimension.TIME: 1,
    Dimension.PARKING_TIME: 1,
}
"""How many metered units (0.1 Wh, seconds) one unit of `step_size` (Wh, seconds) has."""

_STEPPED_TOGETHER: tuple[frozenset[Dimension], ...] = (
    frozenset({Dimension.ENERGY}),
    frozenset({Dimension.TIME, Dimension.PARKING_TIME}),
)


def rate(
    tariff: Tariff, periods: Sequence[ChargingPeriod], *, fee_kind: FeeKind, session_started_at: datetime
) -> RatedFee:
    """What a session costs by one tariff; nothing when there are no periods.

    Raises RatingRefused for periods out of order or with negative quantities.
    """
    metered_slices.check(periods)
    if not periods:
        return RatedFee(fee_kind, (), 0)
    at = metered_slices.edges(element.restrictions for element in tariff.elements)
    uses: _Uses = {}
    parts = metered_slices.cut(periods, at, session_started_at=session_started_at)
    for slice_no, part in enumerate(parts):
        _use_slice(tariff, part, slice_no, uses)
    _use_flat(tariff, periods[0], session_started_at, uses)
    _apply_steps(uses)
    lines = [_line(dimension, use) for (_, dimension), use in uses.items()]
    lines += _price_limits(tariff, sum(line.amount_fen for line in lines))
    return RatedFee(fee_kind, tuple(lines), sum(line.amount_fen for line in lines))


def rate_all(
    version: TariffVersion, periods: Sequence[ChargingPeriod], *, session_started_at: datetime
) -> tuple[RatedFee, ...]:
    """Every fee of a session, in the order electricity, service, occupancy.

    A session that took no energy was no use to the rider and costs nothing, however long it held the socket:
    no flat fee, no minimum price, no time. Raises RatingRefused.
    """
    metered_slices.check(periods)
    used = periods if any(period.energy_dwh for period in periods) else ()
    return tuple(
        rate(version.tariffs[fee_kind], used, fee_kind=fee_kind, session_started_at=session_started_at)
        for fee_kind in FeeKind
        if fee_kind in version.tariffs
    )


def _use_slice(tariff: Tariff, part: Slice, slice_no: int, uses: _Uses) -> None:
    time = Dimension.PARKING_TIME if part.parked else Dimension.TIME
    for dimension, quantity in ((Dimension.ENERGY, part.energy_dwh), (time, part.duration_s)):
        if quantity == 0:
            continue
        for index, element in enumerate(tariff.elements):
            component = element.component(dimension)
            if component is not None and element.restrictions.admits(part.at):
                use = uses.setdefault((index, dimension), _Use(component, element.restrictions))
                use.metered += quantity
                use.last_slice_no = slice_no
                break


def _use_flat(tariff: Tariff, first: ChargingPeriod, session_started_at: datetime, uses: _Uses) -> None:
    at = moment(session_started_at, session_started_at=session_started_at, power_dw=first.power_dw)
    for index, element in enumerate(tariff.elements):
        component = element.component(Dimension.FLAT)
        if component is not None and element.restrictions.admits(at):
            uses[index, Dimension.FLAT] = _Use(component, element.restrictions, metered=1)
            return


def _apply_steps(uses: _Uses) -> None:
    for use in uses.values():
        use.billed = use.metered
    for together in _STEPPED_TOGETHER:
        stepped = [(dimension, use) for (_, dimension), use in uses.items() if dimension in together]
        if stepped:
            dimension, last = max(stepped, key=lambda each: each[1].last_slice_no)
            step = last.component.step_size * _STEPS[dimension]
            last.billed += -sum(use.metered for _, use in stepped) % step


def _line(dimension: Dimension, use: _Use) -> RatedLine:
    return RatedLine(
        kind=LineKind(dimension.value),
        price_yuan=use.component.price,
        metered=use.metered,
        billed=use.billed,
        band=use.restrictions.band,
        amount_fen=_line_fen(use.component.price, use.billed, _UNITS[dimension]),
    )


def _line_fen(price_yuan: Decimal, billed: int, units: int) -> int:
    exact_fen = Fraction(price_yuan) * 100 * billed / units
    return (exact_fen + Fraction(1, 2)).__floor__()


def _price_limits(tariff: Tariff, total_fen: int) -> list[RatedLine]:
    least, most = tariff.min_price, tariff.max_price
    if least is not None and total_fen < least.amount_fen:
        return [RatedLine(LineKind.MIN_PRICE, least.excl_vat, 1, 1, "", least.amount_fen - total_fen)]
    if most is not None and total_fen > most.amount_fen:
        return [RatedLine(LineKind.MAX_PRICE, most.excl_vat, 1, 1, "", most.amount_fen - total_fen)]
    return []
