"""The price card as the socket page shows it: today's bands side by side for every fee. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from billing.price_cards import FeeCard, PriceCard, PricedBand
from billing.tariff_elements import DAY_S, Dimension, moment
from rider_web import formats
from rider_web.languages import Language, mark
from rider_web.wording import FEE_KINDS

LEVELS = 5
"""Shades of the day bar, from cheapest to dearest."""

UNITS = {
    Dimension.ENERGY: mark("¥/kWh"),
    Dimension.TIME: mark("¥/hour"),
    Dimension.PARKING_TIME: mark("¥/hour when full"),
    Dimension.FLAT: mark("¥ once"),
}
_FORMULAS = {
    Dimension.ENERGY: mark("%(fee)s = energy (kWh) × price"),
    Dimension.TIME: mark("%(fee)s = time (hours) × price"),
    Dimension.PARKING_TIME: mark("%(fee)s = time plugged in after full (hours) × price"),
    Dimension.FLAT: mark("%(fee)s = one fixed amount"),
}


@dataclass(frozen=True)
class Column:
    """One priced thing: a fee in one dimension."""

    kind: str
    name: str
    unit: str


@dataclass(frozen=True)
class PartNow:
    """One column's price at this moment."""

    kind: str
    name: str
    price: str
    unit: str


@dataclass(frozen=True)
class Band:
    """A stretch of the local day with one price in each column; `level` is 1 (cheapest) to LEVELS."""

    from_minute: int
    to_minute: int
    prices: tuple[str, ...]
    level: int
    now: bool


@dataclass(frozen=True)
class Span:
    """A stretch of the day in words, such as 10:00–15:00."""

    hours: str
    now: bool


@dataclass(frozen=True)
class PriceRow:
    """All stretches of the day that cost the same, such as 10:00–15:00 and 18:00–21:00."""

    spans: tuple[Span, ...]
    prices: tuple[str, ...]
    level: int
    now: bool


@dataclass(frozen=True)
class CardView:
    """Everything the page prints; `now_total` is None where the columns' units differ and cannot be added."""

    now_total: str | None
    now_unit: str
    now_minute: int
    now_parts: tuple[PartNow, ...]
    columns: tuple[Column, ...]
    bands: tuple[Band, ...]
    rows: tuple[PriceRow, ...]
    conditions: tuple[str, ...]
    formula: tuple[str, ...]


_Lookup = Callable[[datetime], PricedBand | None]


def build(card: PriceCard, language: Language) -> CardView:
    """The card for the local day of `card.at`."""
    local = card.at.astimezone(formats.LOCAL_ZONE)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    now_s = int((local - midnight).total_seconds())
    columns: list[Column] = []
    lookups: list[_Lookup] = []
    formula: list[str] = []
    for fee, dimension in _priced(card.fees):
        name = language.say(FEE_KINDS[fee.fee_kind.value])
        columns.append(Column(fee.fee_kind.value, name, language.say(UNITS[dimension])))
        lookups.append(_lookup(fee, dimension))
        formula.append(language.say(_FORMULAS[dimension], fee=name))
    now = [lookup(card.at) for lookup in lookups]
    bands = _bands(card.fees, lookups, midnight, now_s)
    addable = len({column.unit for column in columns}) == 1
    total = sum((price.price_yuan for price in now if price is not None), Decimal(0))
    return CardView(
        now_total=formats.price(total) if addable else None,
        now_unit=columns[0].unit if columns else "",
        now_minute=now_s // 60,
        now_parts=tuple(
            PartNow(column.kind, column.name, _text(price), column.unit)
            for column, price in zip(columns, now, strict=True)
        ),
        columns=tuple(columns),
        bands=bands,
        rows=_rows(bands),
        conditions=_conditions(card.fees, language),
        formula=tuple(formula),
    )


def _priced(fees: Sequence[FeeCard]) -> list[tuple[FeeCard, Dimension]]:
    return [
        (fee, dimension)
        for fee in fees
        for dimension in Dimension
        if any(price.dimension is dimension for price in fee.prices)
    ]


def _lookup(fee: FeeCard, dimension: Dimension) -> _Lookup:
    """The first price of the dimension that holds at an instant, for a session that starts then."""

    def at_instant(at: datetime) -> PricedBand | None:
        here = moment(at, session_started_at=at)
        prices = (price for price in fee.prices if price.dimension is dimension)
        return next((price for price in prices if price.restrictions.admits(here)), None)

    return at_instant


def _bands(
    fees: Sequence[FeeCard], lookups: Sequence[_Lookup], midnight: datetime, now_s: int
) -> tuple[Band, ...]:
    edges = {0, DAY_S}
    for fee in fees:
        for price in fee.prices:
            edges.update(price.restrictions.band_s or ())
    starts = sorted(edges)
    stretches: list[tuple[int, int, tuple[str, ...], Decimal]] = []
    for start_s, end_s in pairwise(starts):
        at = midnight + timedelta(seconds=start_s)
        here = [lookup(at) for lookup in lookups]
        texts = tuple(_text(price) for price in here)
        total = sum((price.price_yuan for price in here if price is not None), Decimal(0))
        if stretches and stretches[-1][2] == texts:
            stretches[-1] = (stretches[-1][0], end_s, texts, total)
        else:
            stretches.append((start_s, end_s, texts, total))
    totals = sorted({total for *_, total in stretches})
    return tuple(
        Band(
            from_minute=start_s // 60,
            to_minute=end_s // 60,
            prices=texts,
            level=1 + totals.index(total) * (LEVELS - 1) // max(1, len(totals) - 1),
            now=start_s <= now_s < end_s,
        )
        for start_s, end_s, texts, total in stretches
    )


def _rows(bands: Sequence[Band]) -> tuple[PriceRow, ...]:
    rows: list[PriceRow] = []
    for prices in dict.fromkeys(band.prices for band in sorted(bands, key=lambda band: band.level)):
        same = [band for band in bands if band.prices == prices]
        stretches = [(band.from_minute, band.to_minute, band.now) for band in same]
        if len(same) > 1 and same[0].from_minute == 0 and same[-1].to_minute == DAY_S // 60:
            # One night, not two pieces of it: 23:00–24:00 and 00:00–07:00 are 23:00–07:00.
            night = (same[-1].from_minute, same[0].to_minute, same[0].now or same[-1].now)
            stretches = [night, *stretches[1:-1]]
        spans = tuple(
            Span(f"{formats.minute_of_day(start)}–{formats.minute_of_day(end)}", now)
            for start, end, now in stretches
        )
        rows.append(PriceRow(spans, prices, same[0].level, any(span.now for span in spans)))
    return tuple(rows)


def _conditions(fees: Sequence[FeeCard], language: Language) -> tuple[str, ...]:
    """Prices that hang on more than the clock, and bounds, each in one line."""
    lines: list[str] = []
    for fee in fees:
        name = language.say(FEE_KINDS[fee.fee_kind.value])
        for price in fee.prices:
            if not price.restrictions.by_calendar_alone:
                unit = language.say(UNITS[price.dimension])
                lines.append(f"{name} {price.band}: {_text(price)} {unit}")
        if fee.least_fen is not None:
            lines.append(
                language.say(
                    mark("%(fee)s at least ¥%(amount)s"), fee=name, amount=formats.yuan(fee.least_fen)
                )
            )
        if fee.most_fen is not None:
            lines.append(
                language.say(mark("%(fee)s at most ¥%(amount)s"), fee=name, amount=formats.yuan(fee.most_fen))
            )
    return tuple(lines)


def _text(price: PricedBand | None) -> str:
    return "–" if price is None else formats.price(price.price_yuan)
