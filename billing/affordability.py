"""How long and how much a prepayment surely buys: the limits a pile is started with. Pure.

"Surely" means by the dearest price that can come to apply within the time, with every step rounded up and every
line's rounding against us, so that a session within its limits never costs more than was prepaid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from billing import metered_slices
from billing.tariff_elements import Dimension, Element, PriceComponent, Restrictions, moment
from billing.tariff_objects import Tariff, TariffVersion

PORT_POWER_DW = 10_000
"""Most power a socket gives (1 kW) when the caller does not say."""

USUAL_POWER_DW = 2_000
"""What an ordinary charger draws (200 W): where time and energy are both priced, the time limit reckons with it."""


@dataclass(frozen=True)
class Affordable:
    """Limits that a prepayment covers whichever is reached first; 0.1 Wh and seconds."""

    energy_dwh: int
    duration_s: int


def affordable(
    version: TariffVersion,
    *,
    amount_fen: int,
    longest_s: int,
    at: datetime | None = None,
    most_power_dw: int = PORT_POWER_DW,
    usual_power_dw: int = USUAL_POWER_DW,
) -> Affordable:
    """The limits for a session that starts `at` an instant (or at any) and lasts at most `longest_s`.

    Where both time and energy cost money, the money is divided as a charger of `usual_power_dw` would
    use it. Zero energy means that the amount buys nothing.
    """

    def lasts(duration_s: int) -> bool:
        energy_dwh = usual_power_dw * duration_s // 3600
        return covers(energy_dwh, duration_s)

    def covers(energy_dwh: int, duration_s: int) -> bool:
        return amount_fen >= most_fen(
            version, energy_dwh=energy_dwh, duration_s=duration_s, at=at, most_power_dw=most_power_dw
        )

    free_of_time = covers(0, longest_s) and not _priced_by_time(version)
    duration_s = longest_s if free_of_time else _largest(lasts, longest_s)
    energy_dwh = affordable_energy_dwh(
        version, amount_fen=amount_fen, duration_s=duration_s, at=at, most_power_dw=most_power_dw
    )
    return Affordable(energy_dwh=energy_dwh, duration_s=duration_s)


def affordable_energy_dwh(
    version: TariffVersion,
    *,
    amount_fen: int,
    duration_s: int,
    at: datetime | None = None,
    most_power_dw: int = PORT_POWER_DW,
) -> int:
    """The most energy, in 0.1 Wh, that `amount_fen` surely covers in a session of `duration_s` at most."""
    return _largest(
        lambda energy_dwh: (
            amount_fen
            >= most_fen(
                version, energy_dwh=energy_dwh, duration_s=duration_s, at=at, most_power_dw=most_power_dw
            )
        ),
        most_power_dw * duration_s // 3600,
    )


def most_fen(
    version: TariffVersion, *, energy_dwh: int, duration_s: int, at: datetime | None, most_power_dw: int
) -> int:
    """A bound on what any session within these limits costs, in fen."""
    return sum(
        _most_fen(tariff, energy_dwh, duration_s, at, most_power_dw) for tariff in version.tariffs.values()
    )


def _most_fen(
    tariff: Tariff, energy_dwh: int, duration_s: int, at: datetime | None, most_power_dw: int
) -> int:
    reachable = _reachable(tariff, duration_s, at, most_power_dw)
    exact_fen = _dearest_fen(reachable, (Dimension.ENERGY,), energy_dwh, per=10_000, step=10)
    exact_fen += _dearest_fen(
        reachable, (Dimension.TIME, Dimension.PARKING_TIME), duration_s, per=3600, step=1
    )
    exact_fen += _dearest_fen(reachable, (Dimension.FLAT,), 1, per=1, step=0)
    lines = sum(len(element.price_components) for element in reachable)
    total_fen = math.ceil(exact_fen + Fraction(lines, 2)) if exact_fen else 0
    if tariff.min_price is not None:
        total_fen = max(total_fen, tariff.min_price.amount_fen)
    return total_fen if tariff.max_price is None else min(total_fen, tariff.max_price.amount_fen)


def _dearest_fen(
    elements: list[Element], dimensions: tuple[Dimension, ...], quantity: int, *, per: int, step: int
) -> Fraction:
    components = [
        component
        for element in elements
        for dimension in dimensions
        if (component := element.component(dimension)) is not None
    ]
    if not components:
        return Fraction(0)

    def fen(component: PriceComponent) -> Fraction:
        return Fraction(component.price) * 100 * stepped / per

    steps = [component.step_size * step for component in components if step]
    # Whatever step is the last to be used, it adds less than the longest one.
    stepped = quantity + max(steps, default=1) - 1 if quantity else 0
    if len(set(steps)) == 1 and quantity:
        stepped = -(-quantity // steps[0]) * steps[0]
    return max(fen(component) for component in components)


def _reachable(tariff: Tariff, duration_s: int, at: datetime | None, most_power_dw: int) -> list[Element]:
    """The elements that can come to apply: by the calendar from `at` on, and by the power a socket gives."""
    possible = [
        element
        for element in tariff.elements
        if (element.restrictions.power_dw[0] or 0) <= most_power_dw
        and (element.restrictions.min_duration or 0) <= duration_s
    ]
    if at is None:
        return possible
    edges = metered_slices.edges(element.restrictions for element in possible)
    end = at + timedelta(seconds=duration_s)
    starts = [at, *metered_slices.changes(edges, start=at, end=end, session_started_at=at)]
    return [element for element in possible if _by_calendar(element.restrictions, starts, at)]


def _by_calendar(restrictions: Restrictions, starts: list[datetime], session_started_at: datetime) -> bool:
    return any(
        restrictions.admits_calendar(moment(start, session_started_at=session_started_at)) for start in starts
    )


def _priced_by_time(version: TariffVersion) -> bool:
    return any(
        component.price > 0 and component.type in (Dimension.TIME, Dimension.PARKING_TIME)
        for tariff in version.tariffs.values()
        for element in tariff.elements
        for component in element.price_components
    )


def _largest(holds: Callable[[int], bool], most: int) -> int:
    """The largest of 0..most for which `holds`, which never holds again above one where it does not; else 0."""
    if holds(most):
        return most
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
