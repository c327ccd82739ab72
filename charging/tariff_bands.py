"""A site's tariff as the rows a pile can show: prices by day, minute and power that do not overlap. Pure.

OCPI elements are tried in order and the first that applies counts; rows say the same without an order. The days,
minutes and powers at which any element begins or ends cut the week into cells; each cell has one price, and equal
neighbours are put together again. What depends on anything else (dates, energy or time so far) cannot be shown.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from itertools import groupby, pairwise
from typing import NamedTuple

from billing.tariff_elements import DAYS, Dimension, Moment, Restrictions
from billing.tariff_objects import FeeKind, Tariff, TariffVersion
from charging.errors import TariffUnshowable

MAX_BANDS = 128
"""So many rows a pile must be able to keep."""
MAX_TEXT = 400
UTC_OFFSET_S = 28_800
DAY_MINUTES = 1440
EVERY_DAY = 127
_CFEN = 10_000
"""Prices are told in 0.0001 yuan."""
_ANY_DAY = date(2024, 1, 1)
_UNITS = {
    Dimension.ENERGY: "kwh",
    Dimension.TIME: "hour",
    Dimension.PARKING_TIME: "hour",
    Dimension.FLAT: "session",
}


class Band(NamedTuple):
    """One price in the protocol's order of elements; `days` a bit each, Monday 1; no upper power is 0."""

    fee: str
    unit: str
    days: int
    from_minute: int
    to_minute: int
    min_power_w: int
    max_power_w: int
    price_cfen: int

    @property
    def price_yuan(self) -> str:
        """With at least two decimals, and no more than are needed."""
        return _yuan(self.price_cfen)


@dataclass(frozen=True)
class ShownTariff:
    """What a pile is told to show."""

    bands: Sequence[Band]
    text: str


def shown(version: TariffVersion) -> ShownTariff:
    """A version's rows and a short text about them. Raises TariffUnshowable."""
    try:
        bands = [
            band
            for fee_kind in FeeKind
            if fee_kind in version.tariffs
            for band in _fee(fee_kind, version.tariffs[fee_kind])
        ]
    except _NotShowable as error:
        raise TariffUnshowable(version.tariff_version_id, str(error)) from None
    if not 0 < len(bands) <= MAX_BANDS:
        raise TariffUnshowable(version.tariff_version_id, f"{len(bands)} bands, not 1 to {MAX_BANDS}")
    return ShownTariff(bands, _text(bands))


class _NotShowable(Exception):
    """What keeps a tariff from being shown, in words."""


def _fee(fee_kind: FeeKind, tariff: Tariff) -> Iterator[Band]:
    priced = {component.type for element in tariff.elements for component in element.price_components}
    if {Dimension.TIME, Dimension.PARKING_TIME} <= priced:
        raise _NotShowable(f"{fee_kind} has one price an hour while charging and another after")
    for dimension in Dimension:
        if dimension in priced:
            yield from _bands(fee_kind, dimension, tariff)


def _bands(fee_kind: FeeKind, dimension: Dimension, tariff: Tariff) -> Iterator[Band]:
    prices = [
        (element.restrictions, _cfen(component.price))
        for element in tariff.elements
        if (component := element.component(dimension)) is not None
    ]
    for restrictions, _ in prices:
        _check(fee_kind, restrictions)
    minutes = _cuts([0, DAY_MINUTES], (_minutes(restrictions) for restrictions, _ in prices))
    powers_w = _cuts([0], (_powers_w(fee_kind, restrictions) for restrictions, _ in prices))
    week = [
        [
            (from_minute, to_minute, _by_power(prices, day_no, from_minute, powers_w))
            for from_minute, to_minute in pairwise(minutes)
        ]
        for day_no in range(len(DAYS))
    ]
    rows: dict[tuple[int, int, int, int, int], int] = {}
    for day_no, day in enumerate(week):
        for by_power, cells in groupby(day, key=lambda cell: cell[2]):
            spans = list(cells)
            for min_power_w, max_power_w, price_cfen in by_power:
                row = (spans[0][0], spans[-1][1], min_power_w, max_power_w, price_cfen)
                rows[row] = rows.get(row, 0) | 1 << day_no
    for (from_minute, to_minute, min_power_w, max_power_w, price_cfen), days in rows.items():
        yield Band(
            fee_kind, _UNITS[dimension], days, from_minute, to_minute, min_power_w, max_power_w, price_cfen
        )


def _by_power(
    prices: Sequence[tuple[Restrictions, int]], day_no: int, minute: int, powers_w: Sequence[int]
) -> tuple[tuple[int, int, int], ...]:
    """Least power, power below which (0: no end) and price, in one cell of the week."""
    at = Moment(
        day=_ANY_DAY, weekday=DAYS[day_no], time_s=minute * 60, consumed_dwh=0, power_dw=0, elapsed_s=0
    )
    found: list[tuple[int, int, int]] = []
    for min_power_w, max_power_w in pairwise([*powers_w, 0]):
        here = replace(at, power_dw=min_power_w * 10)
        price = next((price for restrictions, price in prices if restrictions.admits(here)), None)
        if price is None:
            continue
        if found and found[-1][1] == min_power_w and found[-1][2] == price:
            found[-1] = (found[-1][0], max_power_w, price)
        else:
            found.append((min_power_w, max_power_w, price))
    return tuple(found)


def _check(fee_kind: FeeKind, restrictions: Restrictions) -> None:
    if restrictions.start_date is not None or restrictions.end_date is not None:
        raise _NotShowable(f"{fee_kind} depends on the date")
    if {*restrictions.energy_dwh, *restrictions.duration_s} != {None}:
        raise _NotShowable(f"{fee_kind} depends on the energy or the time so far")


def _minutes(restrictions: Restrictions) -> Iterator[int]:
    for at_s in restrictions.band_s or ():
        yield at_s // 60


def _powers_w(fee_kind: FeeKind, restrictions: Restrictions) -> Iterator[int]:
    for bound_dw in restrictions.power_dw:
        if bound_dw is None:
            continue
        if bound_dw % 10:
            raise _NotShowable(f"{fee_kind} has a bound of power that is no whole number of watts")
        yield bound_dw // 10


def _cuts(ends: Sequence[int], bounds: Iterable[Iterable[int]]) -> list[int]:
    return sorted({*ends, *(bound for each in bounds for bound in each)})


def _cfen(price_yuan: Decimal) -> int:
    exact = price_yuan * _CFEN
    if exact != exact.to_integral_value():
        raise _NotShowable(f"a price of {price_yuan} yuan is finer than 0.0001")
    return int(exact)


_FEES = {
    "electricity": ("电费", "Electricity"),
    "service": ("服务费", "Service"),
    "occupancy": ("占位费", "Parking"),
}
_PER = {"kwh": ("元/度", "yuan/kWh"), "hour": ("元/小时", "yuan/h"), "session": ("元/次", "yuan/charge")}


def _text(bands: Sequence[Band]) -> str:
    """Least and most of each price, in Chinese and in English."""
    chinese: list[str] = []
    english: list[str] = []
    for (fee, unit), same in groupby(bands, key=lambda band: (band.fee, band.unit)):
        prices = [band.price_cfen for band in same]
        least, most = _yuan(min(prices)), _yuan(max(prices))
        span = least if least == most else f"{least}-{most}"
        chinese.append(f"{_FEES[fee][0]}{span}{_PER[unit][0]}")
        english.append(f"{_FEES[fee][1]} {span} {_PER[unit][1]}")
    return f"{' '.join(chinese)} / {', '.join(english)}"[:MAX_TEXT]


def _yuan(price_cfen: int) -> str:
    whole, fraction = divmod(price_cfen, _CFEN)
    digits = f"{fraction:04}"
    return f"{whole}.{digits[:2]}{digits[2:].rstrip('0')}"
