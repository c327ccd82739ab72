"""A tariff's rows for a pile: they say the price of every moment, once, and refuse what rows cannot say."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import tariff_objects
from billing.tariff_elements import DAYS, Dimension, Moment
from billing.tariff_objects import FeeKind, TariffVersion
from charging import tariff_bands
from charging.errors import TariffUnshowable
from charging.tariff_bands import EVERY_DAY, MAX_BANDS, Band


def _version(**fees: list[dict[str, Any]]) -> TariffVersion:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    return TariffVersion(
        tariff_version_id=7,
        site_id="yuquan",
        version=1,
        effective_from=at,
        tariffs={
            FeeKind(fee): tariff_objects.parse(
                {"id": fee, "currency": "CNY", "elements": elements, "last_updated": at.isoformat()}
            )
            for fee, elements in fees.items()
        },
    )


def _element(price: str, kind: str = "ENERGY", **restrictions: Any) -> dict[str, Any]:
    element: dict[str, Any] = {"price_components": [{"type": kind, "price": price}]}
    return element | ({"restrictions": restrictions} if restrictions else {})


def test_a_flat_price_is_one_row_for_the_whole_week() -> None:
    shown = tariff_bands.shown(_version(electricity=[_element("0.5103")]))
    assert shown.bands == [Band("electricity", "kwh", EVERY_DAY, 0, 1440, 0, 0, 5103)]
    assert shown.text == "电费0.5103元/度 / Electricity 0.5103 yuan/kWh"


def test_a_band_over_midnight_is_two_rows_and_the_rest_of_the_day_another() -> None:
    night = _element("0.30", start_time="22:00", end_time="06:00")
    shown = tariff_bands.shown(_version(electricity=[night, _element("0.60")]))
    assert set(shown.bands) == {
        Band("electricity", "kwh", EVERY_DAY, 0, 360, 0, 0, 3000),
        Band("electricity", "kwh", EVERY_DAY, 360, 1320, 0, 0, 6000),
        Band("electricity", "kwh", EVERY_DAY, 1320, 1440, 0, 0, 3000),
    }
    assert shown.text == "电费0.30-0.60元/度 / Electricity 0.30-0.60 yuan/kWh"


def test_days_are_bits_from_monday() -> None:
    weekend = _element("0.20", day_of_week=["SATURDAY", "SUNDAY"])
    shown = tariff_bands.shown(_version(service=[weekend, _element("0.40")]))
    assert {(band.days, band.price_cfen) for band in shown.bands} == {(0b1100000, 2000), (0b0011111, 4000)}


def test_power_tiers_have_no_end_at_the_top() -> None:
    tiers = [_element("0.20", "TIME", max_power="0.2"), _element("0.30", "TIME", min_power="0.2")]
    shown = tariff_bands.shown(_version(service=tiers))
    assert {(band.unit, band.min_power_w, band.max_power_w, band.price_cfen) for band in shown.bands} == {
        ("hour", 0, 200, 2000),
        ("hour", 200, 0, 3000),
    }


def test_equal_neighbours_are_one_row() -> None:
    morning = _element("0.60", start_time="06:00", end_time="12:00")
    shown = tariff_bands.shown(
        _version(electricity=[morning, _element("0.60", min_power="0.5"), _element("0.60")])
    )
    assert len(shown.bands) == 1


@pytest.mark.parametrize(
    ("elements", "why"),
    [
        ([_element("0.1", start_date="2026-05-01"), _element("0.6")], "date"),
        ([_element("0.1", max_kwh="1"), _element("0.6")], "energy or the time so far"),
        ([_element("0.1", min_duration=60), _element("0.6")], "energy or the time so far"),
        ([_element("0.12345")], "finer than"),
        ([_element("0.1", max_power="0.0555"), _element("0.6")], "whole number of watts"),
        ([_element("0.1", "TIME"), _element("0.6", "PARKING_TIME")], "another after"),
    ],
)
def test_what_rows_cannot_say_is_refused_in_words(elements: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(TariffUnshowable, match=why):
        tariff_bands.shown(_version(electricity=elements))


def test_more_rows_than_a_pile_must_keep_are_refused() -> None:
    hours = [
        _element(f"0.{hour:02}{tier}", start_time=f"{hour:02}:00", end_time=f"{hour + 1:02}:00", **bounds)
        for hour in range(22)
        for tier, bounds in enumerate(({"max_power": "0.1"}, {"max_power": "0.2"}, {"max_power": "0.3"}))
    ]
    elements = [*hours, _element("0.90")]
    bands = tariff_bands.shown(_version(electricity=elements)).bands
    assert 66 < len(bands) <= MAX_BANDS
    with pytest.raises(TariffUnshowable, match="bands, not 1 to 128"):
        tariff_bands.shown(_version(electricity=elements, service=elements))


_TIME = st.sampled_from(["00:00", "06:00", "08:30", "12:00", "22:00"])
_POWER = st.sampled_from(["0.1", "0.2", "0.5"])


@st.composite
def _restricted(draw: st.DrawFn) -> dict[str, Any]:
    restrictions: dict[str, Any] = {}
    start, end = draw(_TIME), draw(_TIME)
    if start != end:
        restrictions |= {"start_time": start, "end_time": end}
    if draw(st.booleans()):
        restrictions["min_power"] = draw(_POWER)
    elif draw(st.booleans()):
        restrictions["max_power"] = draw(_POWER)
    if draw(st.booleans()):
        restrictions["day_of_week"] = draw(
            st.lists(st.sampled_from(DAYS), min_size=1, max_size=3, unique=True)
        )
    return _element(f"0.{draw(st.integers(10, 12))}", **restrictions)


@given(
    restricted=st.lists(_restricted(), max_size=5),
    weekday=st.integers(0, 6),
    minute=st.integers(0, 1439),
    power_w=st.integers(0, 1000),
)
def test_exactly_one_row_holds_at_any_moment_and_it_is_the_price_rated(
    restricted: list[dict[str, Any]], weekday: int, minute: int, power_w: int
) -> None:
    version = _version(electricity=[*restricted, _element("0.99")])
    at = Moment(
        day=date(2026, 3, 2),
        weekday=DAYS[weekday],
        time_s=minute * 60,
        consumed_dwh=0,
        power_dw=power_w * 10,
        elapsed_s=0,
    )
    rated = next(
        component.price
        for element in version.tariffs[FeeKind.ELECTRICITY].elements
        if element.restrictions.admits(at) and (component := element.component(Dimension.ENERGY)) is not None
    )
    holding = [
        band.price_cfen
        for band in tariff_bands.shown(version).bands
        if band.days & 1 << weekday
        and band.from_minute <= minute < band.to_minute
        and band.min_power_w <= power_w
        and (band.max_power_w == 0 or power_w < band.max_power_w)
    ]
    assert holding == [int(rated * 10_000)]
