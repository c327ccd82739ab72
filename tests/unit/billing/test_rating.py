"""Rating, worked by hand to the fen."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from billing import rating, tariff_objects
from billing.errors import RatingRefused
from billing.rating import ChargingPeriod, LineKind, RatedFee, RatedLine
from billing.tariff_objects import FeeKind, Tariff, TariffVersion

SHANGHAI = ZoneInfo("Asia/Shanghai")
PEAK: dict[str, Any] = {"start_time": "08:00", "end_time": "22:00"}
VALLEY: dict[str, Any] = {"start_time": "22:00", "end_time": "08:00"}


def at(clock: str, day: int = 2) -> datetime:
    """A local time in March 2026, in which the 2nd is a Monday."""
    hours, minutes = clock.split(":")
    return datetime(2026, 3, day, int(hours), int(minutes), tzinfo=SHANGHAI)


def element(dimension: str, price: str, step: int = 1, **restrictions: Any) -> dict[str, Any]:
    return {
        "price_components": [{"type": dimension, "price": price, "step_size": step}],
        "restrictions": restrictions,
    }


def tariff(*elements: dict[str, Any], **fields: Any) -> Tariff:
    return tariff_objects.parse(
        {"id": "t", "currency": "CNY", "elements": elements, "last_updated": "2026-01-01T00:00:00Z", **fields}
    )


def rate(tariff: Tariff, *periods: ChargingPeriod, kind: FeeKind = FeeKind.ELECTRICITY) -> RatedFee:
    return rating.rate(tariff, periods, fee_kind=kind, session_started_at=periods[0].started_at)


def amounts(fee: RatedFee) -> list[tuple[str, int, int, int]]:
    return [(line.kind.value, line.metered, line.billed, line.amount_fen) for line in fee.lines]


def consecutive(start: datetime, *parts: tuple[int, int, int]) -> Sequence[ChargingPeriod]:
    """Periods one after the other, each (seconds, 0.1 Wh, 0.1 W)."""
    periods: list[ChargingPeriod] = []
    for duration_s, energy_dwh, power_dw in parts:
        periods.append(ChargingPeriod(start, duration_s, energy_dwh, power_dw))
        start += timedelta(seconds=duration_s)
    return periods


def test_one_kilowatt_hour_at_the_residential_price_is_51_fen() -> None:
    fee = rate(tariff(element("ENERGY", "0.5103")), ChargingPeriod(at("09:00"), 3600, 10_000, 10_000))
    assert fee == RatedFee(
        FeeKind.ELECTRICITY,
        (RatedLine(LineKind.ENERGY, Decimal("0.5103"), 10_000, 10_000, "", 51),),
        51,
    )


@pytest.mark.parametrize(
    ("energy_dwh", "fen"), [(0, 0), (90, 0), (100, 1), (200, 1), (300, 2), (10_000, 50), (10_100, 51)]
)
def test_a_line_is_rounded_half_up_once(energy_dwh: int, fen: int) -> None:
    """At 0.50 yuan/kWh, 10 Wh are exactly half a fen."""
    assert (
        rate(tariff(element("ENERGY", "0.50")), ChargingPeriod(at("09:00"), 60, energy_dwh, 0)).total_fen
        == fen
    )


def test_a_period_over_a_band_edge_is_divided_by_time() -> None:
    fee = rate(
        tariff(element("ENERGY", "0.6", **PEAK), element("ENERGY", "0.3", **VALLEY)),
        ChargingPeriod(at("21:45"), 3600, 10_000, 10_000),
    )
    assert amounts(fee) == [("ENERGY", 2500, 2500, 15), ("ENERGY", 7500, 7500, 23)]
    assert [line.band for line in fee.lines] == ["08:00-22:00", "22:00-08:00"]


def test_bands_are_half_open_at_their_edges() -> None:
    prices = tariff(element("ENERGY", "1", **PEAK), element("ENERGY", "0", **VALLEY))
    one_minute = timedelta(minutes=1)
    for clock, fen in (("21:59", 100), ("22:00", 0), ("07:59", 0), ("08:00", 100), ("00:00", 0)):
        period = ChargingPeriod(at(clock), one_minute // timedelta(seconds=1), 10_000, 0)
        assert rate(prices, period).total_fen == fen, clock


def test_a_session_over_midnight_keeps_to_one_valley_line() -> None:
    fee = rate(
        tariff(element("ENERGY", "0.6", **PEAK), element("ENERGY", "0.3", **VALLEY)),
        *consecutive(at("23:30"), (1800, 1000, 2000), (1800, 1000, 2000)),
    )
    assert amounts(fee) == [("ENERGY", 2000, 2000, 6)]


def test_instants_in_another_zone_are_priced_by_local_time() -> None:
    utc = at("23:00").astimezone(ZoneInfo("UTC"))
    fee = rate(
        tariff(element("ENERGY", "0.6", **PEAK), element("ENERGY", "0.3", **VALLEY)),
        ChargingPeriod(utc, 600, 10_000, 0),
    )
    assert fee.total_fen == 30


def test_power_tiers_are_integrated_and_never_the_highest_reached() -> None:
    """Two hours: 100 minutes below 200 W at 0.30, 20 minutes at 450 W at 0.60 yuan/h."""
    service = tariff(
        element("TIME", "0.30", max_power="0.2"),
        element("TIME", "0.45", min_power="0.2", max_power="0.4"),
        element("TIME", "0.60", min_power="0.4"),
    )
    fee = rate(service, *consecutive(at("10:00"), (3000, 1250, 1500), (1200, 1500, 4500), (3000, 1250, 1500)))
    assert amounts(fee) == [("TIME", 6000, 6000, 50), ("TIME", 1200, 1200, 20)]
    assert [line.band for line in fee.lines] == ["<200 W", "≥400 W"]


def test_a_power_tier_begins_at_its_lower_bound() -> None:
    service = tariff(element("TIME", "0", max_power="0.2"), element("TIME", "1"))
    assert rate(service, ChargingPeriod(at("10:00"), 3600, 0, 1999)).total_fen == 0
    assert rate(service, ChargingPeriod(at("10:00"), 3600, 0, 2000)).total_fen == 100


def test_the_first_matching_element_that_prices_the_dimension_counts() -> None:
    prices = tariff(
        element("PARKING_TIME", "9"),
        element("ENERGY", "0.4", day_of_week=["MONDAY"]),
        element("ENERGY", "0.7"),
        element("ENERGY", "0.1"),
    )
    for instant, fen in ((at("23:00", day=2), 40), (at("01:00", day=3), 70)):
        assert rate(prices, ChargingPeriod(instant, 60, 10_000, 0)).total_fen == fen


def test_a_day_changes_at_local_midnight_within_a_period() -> None:
    prices = tariff(element("ENERGY", "1", day_of_week=["MONDAY"]), element("ENERGY", "0"))
    assert rate(prices, ChargingPeriod(at("23:00"), 7200, 20_000, 0)).total_fen == 100


def test_a_date_restriction_ends_before_its_end_date() -> None:
    prices = tariff(
        element("ENERGY", "0", start_date="2026-03-02", end_date="2026-03-03"), element("ENERGY", "1")
    )
    assert rate(prices, ChargingPeriod(at("23:00"), 7200, 20_000, 0)).total_fen == 100


def test_energy_blocks_cut_a_period_where_the_block_is_full() -> None:
    prices = tariff(element("ENERGY", "0", max_kwh="0.5"), element("ENERGY", "0.6"))
    fee = rate(prices, *consecutive(at("10:00"), (3600, 4000, 4000), (3600, 4000, 4000)))
    assert amounts(fee) == [("ENERGY", 5000, 5000, 0), ("ENERGY", 3000, 3000, 18)]


def test_the_first_half_hour_free_counts_from_the_start_of_the_session() -> None:
    prices = tariff(element("TIME", "0", max_duration=1800), element("TIME", "0.6"))
    fee = rate(prices, ChargingPeriod(at("10:00"), 3600, 100, 1000))
    assert amounts(fee) == [("TIME", 1800, 1800, 0), ("TIME", 1800, 1800, 30)]


def test_parking_time_is_priced_apart_and_free_where_it_has_no_price() -> None:
    occupancy = tariff(element("PARKING_TIME", "1", min_duration=7200))
    charging = ChargingPeriod(at("10:00"), 3600, 2000, 2000)
    parked = ChargingPeriod(at("11:00"), 7200, 0, 0, parked=True)
    assert amounts(rate(occupancy, charging, parked)) == [("PARKING_TIME", 3600, 3600, 100)]


def test_step_size_rounds_the_energy_of_the_whole_session_up() -> None:
    """115.2 Wh bill as 116, 125 and 500 Wh with steps of 1, 25 and 500 Wh (OCPI's own example)."""
    for step, billed in ((1, 1160), (25, 1250), (500, 5000)):
        fee = rate(
            tariff(element("ENERGY", "0.25", step)),
            *consecutive(at("10:00"), (60, 500, 0), (60, 652, 0)),
        )
        assert [(line.metered, line.billed) for line in fee.lines] == [(1152, billed)]


def test_step_size_is_that_of_the_element_used_last() -> None:
    """OCPI's second step_size example: 35 minutes from 16:35 bill as 45, the last 20 of them after 17:00."""
    prices = tariff(
        element("TIME", "1.20", 1800, start_time="08:00", end_time="17:00"), element("TIME", "2.40", 900)
    )
    fee = rate(prices, ChargingPeriod(at("16:35"), 35 * 60, 100, 1000))
    assert amounts(fee) == [("TIME", 1500, 1500, 50), ("TIME", 600, 1200, 80)]


def test_step_size_counts_the_element_used_last_even_if_it_was_used_before() -> None:
    prices = tariff(
        element("TIME", "1", 60, max_power="0.2"),
        element("TIME", "1", 3600),
    )
    fee = rate(prices, *consecutive(at("10:00"), (600, 1, 100), (600, 1, 3000), (630, 1, 100)))
    assert [(line.metered, line.billed) for line in fee.lines] == [(1230, 1260), (600, 600)]


def test_charging_and_parking_time_are_stepped_together_by_the_one_used_last() -> None:
    """OCPI's first step_size example: 10 minutes of charging and 2 of parking are 12, which bill as 15."""
    prices = tariff(
        element("TIME", "1.20", 1800, start_time="08:00", end_time="17:00"),
        element("TIME", "2.40", 900),
        element("PARKING_TIME", "1.00", 900),
    )
    fee = rate(
        prices,
        ChargingPeriod(at("16:55"), 600, 100, 1000),
        ChargingPeriod(at("17:05"), 120, 0, 0, parked=True),
    )
    assert amounts(fee) == [("TIME", 300, 300, 10), ("TIME", 300, 300, 20), ("PARKING_TIME", 120, 300, 8)]


def test_a_flat_price_is_paid_once_by_the_element_that_holds_at_the_start() -> None:
    prices = tariff(
        {"price_components": [{"type": "FLAT", "price": "0.5"}], "restrictions": PEAK},
        {"price_components": [{"type": "FLAT", "price": "0.2"}, {"type": "ENERGY", "price": "0.4"}]},
    )
    fee = rate(prices, *consecutive(at("21:30"), (3600, 5000, 5000), (3600, 5000, 5000)))
    assert amounts(fee) == [("ENERGY", 10_000, 10_000, 40), ("FLAT", 1, 1, 50)]


def test_minimum_and_maximum_price_are_lines_of_their_own() -> None:
    limits = {"min_price": {"excl_vat": "0.50"}, "max_price": {"excl_vat": "2.00", "incl_vat": "2.00"}}
    prices = tariff(element("ENERGY", "1"), **limits)
    for energy_dwh, lines in (
        (2000, [("ENERGY", 2000, 2000, 20), ("MIN_PRICE", 1, 1, 30)]),
        (10_000, [("ENERGY", 10_000, 10_000, 100)]),
        (25_000, [("ENERGY", 25_000, 25_000, 250), ("MAX_PRICE", 1, 1, -50)]),
    ):
        fee = rate(prices, ChargingPeriod(at("10:00"), 3600, energy_dwh, 0))
        assert amounts(fee) == lines
        assert fee.total_fen == sum(line[3] for line in lines)


def version(**tariffs: Tariff) -> TariffVersion:
    return TariffVersion(1, "yuquan", 1, at("00:00"), {FeeKind(kind): each for kind, each in tariffs.items()})


def test_a_session_without_energy_costs_nothing_however_long() -> None:
    prices = version(
        electricity=tariff(element("ENERGY", "0.5"), min_price={"excl_vat": "1"}),
        service=tariff(element("TIME", "0.5"), element("FLAT", "1")),
    )
    idle = [ChargingPeriod(at("10:00"), 36_000, 0, 0)]
    fees = rating.rate_all(prices, idle, session_started_at=at("10:00"))
    assert [(fee.fee_kind, fee.total_fen) for fee in fees] == [("electricity", 0), ("service", 0)]


def test_fees_come_in_one_order_whatever_the_order_of_the_tariffs() -> None:
    prices = version(
        service=tariff(element("ENERGY", "0.45")),
        occupancy=tariff(element("PARKING_TIME", "1")),
        electricity=tariff(element("ENERGY", "0.5103")),
    )
    fees = rating.rate_all(
        prices, [ChargingPeriod(at("10:00"), 3600, 10_000, 10_000)], session_started_at=at("10:00")
    )
    assert [(fee.fee_kind.value, fee.total_fen) for fee in fees] == [
        ("electricity", 51),
        ("service", 45),
        ("occupancy", 0),
    ]


@pytest.mark.parametrize(
    "periods",
    [
        [ChargingPeriod(at("10:00"), -1, 0, 0)],
        [ChargingPeriod(at("10:00"), 1, -1, 0)],
        [ChargingPeriod(at("10:00"), 1, 1, -1)],
        [ChargingPeriod(at("10:00"), 1, 1, 1), ChargingPeriod(at("09:59"), 1, 1, 1)],
        [ChargingPeriod(at("10:00").replace(tzinfo=None), 1, 1, 1)],
    ],
)
def test_periods_no_meter_can_have_made_are_refused(periods: list[ChargingPeriod]) -> None:
    with pytest.raises(RatingRefused):
        rating.rate(
            tariff(element("ENERGY", "1")),
            periods,
            fee_kind=FeeKind.ELECTRICITY,
            session_started_at=at("10:00"),
        )


def test_a_line_survives_its_json() -> None:
    line = RatedLine(LineKind.TIME, Decimal("0.30"), 1230, 1260, "<200 W", 11)
    assert RatedLine.from_json(line.as_json()) == line
