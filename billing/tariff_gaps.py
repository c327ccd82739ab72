"""Finding the moments at which a tariff forgot to price a dimension."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import product

from billing.tariff_elements import DAY_S, DAYS, Dimension, Element, Moment

MAX_CELLS = 50_000
"""Most combinations of bands looked at; a tariff with more is refused as too complex to check."""

_METERED = (Dimension.ENERGY, Dimension.TIME)
_ANY_DAY = date(1970, 1, 1)


def first_gap(elements: Sequence[Element]) -> str | None:
    """The first moment without a price for energy or charging time, in words; None when there is none.

    The edges of all restrictions cut the world into cells in which no restriction changes its answer, so one
    moment of each cell stands for all of it. A dimension that no element prices has no gap.
    """
    for dimension in _METERED:
        pricing = [element for element in elements if element.component(dimension)]
        if not pricing or any(element.restrictions.unrestricted for element in pricing):
            continue
        axes = _axes(pricing)
        if math.prod(len(axis) for axis in axes) > MAX_CELLS:
            return f"too many combinations of {dimension} bands; add a last element without restrictions"
        for moment in _moments(axes):
            if not any(element.restrictions.admits(moment) for element in pricing):
                return (
                    f"{dimension} has no price {_in_words(moment)}; add an element, at price 0 if it is free"
                )
    return None


def _axes(
    elements: Sequence[Element],
) -> tuple[list[date], list[int], list[int], list[int], list[int], list[int]]:
    days = {_ANY_DAY}
    times_s, energies_dwh, powers_dw, durations_s = {0}, {0}, {0}, {0}
    for element in elements:
        limits = element.restrictions
        days |= {day for day in (limits.start_date, limits.end_date) if day is not None}
        times_s |= set(limits.band_s or ())
        energies_dwh |= {edge for edge in limits.energy_dwh if edge is not None}
        powers_dw |= {edge for edge in limits.power_dw if edge is not None}
        durations_s |= {edge for edge in limits.duration_s if edge is not None}
    weekdays = list(range(7)) if any(element.restrictions.day_of_week for element in elements) else [0]
    return (
        sorted(days),
        weekdays,
        sorted(edge % DAY_S for edge in times_s),
        sorted(energies_dwh),
        sorted(powers_dw),
        sorted(durations_s),
    )


def _moments(
    axes: tuple[list[date], list[int], list[int], list[int], list[int], list[int]],
) -> Iterator[Moment]:
    for day, weekday, time_s, consumed_dwh, power_dw, elapsed_s in product(*axes):
        yield Moment(day, DAYS[weekday], time_s, consumed_dwh, power_dw, elapsed_s)


def _in_words(moment: Moment) -> str:
    return (
        f"on {moment.weekday} at {moment.time_s // 3600:02}:{moment.time_s % 3600 // 60:02}, "
        f"{moment.power_dw // 10} W, after {moment.consumed_dwh // 10} Wh and {moment.elapsed_s} s"
    )
