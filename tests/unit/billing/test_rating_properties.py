"""Rating against a second, plainer computation, and the promises that hold for every tariff."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from billing import affordability, bills, price_cards, rating, tariff_objects
from billing.rating import ChargingPeriod
from billing.tariff_elements import LOCAL
from billing.tariff_objects import FeeKind, Tariff, TariffVersion

PRICES = st.decimals("0", "2", places=4).map(str)
CLOCK = st.integers(0, 47).map(lambda half_hours: f"{half_hours // 2:02}:{half_hours % 2 * 30:02}")
YEAR_START = datetime(2026, 1, 1, tzinfo=UTC)
STARTS = st.integers(0, 363 * 86_400).map(lambda second: YEAR_START + timedelta(seconds=second))


@st.composite
def restrictions(draw: st.DrawFn) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    if draw(st.booleans()):
        start, end = draw(st.lists(CLOCK, min_size=2, max_size=2, unique=True))
        chosen |= {"start_time": start, "end_time": end}
    if draw(st.booleans()):
        chosen["day_of_week"] = draw(st.lists(st.sampled_from(["MONDAY", "SUNDAY"]), unique=True))
    for low, high, values in (
        ("min_power", "max_power", ("0.1", "0.2", "0.5")),
        ("min_kwh", "max_kwh", ("0.1", "0.35", "1.5")),
        ("min_duration", "max_duration", (600, 3600, 9000)),
    ):
        bounds = sorted(draw(st.sets(st.integers(0, 2), max_size=2)))
        names = [low, high] if len(bounds) == 2 else [draw(st.sampled_from([low, high]))]
        chosen |= {name: values[bound] for name, bound in zip(names, bounds, strict=False)}
    return chosen


@st.composite
def tariffs(draw: st.DrawFn, *, steps: bool = True, limits: bool = True) -> Tariff:
    step = st.sampled_from([1, 60, 500]) if steps else st.just(1)

    def components(dimensions: list[str]) -> list[dict[str, Any]]:
        return [{"type": each, "price": draw(PRICES), "step_size": draw(step)} for each in dimensions]

    dimensions = draw(
        st.lists(
            st.sampled_from(["ENERGY", "TIME", "PARKING_TIME", "FLAT"]), min_size=1, max_size=4, unique=True
        )
    )
    elements = [
        {"price_components": components(dimensions), "restrictions": draw(restrictions())}
        for _ in range(draw(st.integers(0, 4)))
    ]
    elements.append({"price_components": components(dimensions)})
    document: dict[str, Any] = {
        "id": "t",
        "currency": "CNY",
        "elements": elements,
        "last_updated": "2026-01-01T00:00:00Z",
    }
    if limits and draw(st.booleans()):
        low, high = sorted(draw(st.lists(st.integers(0, 500), min_size=2, max_size=2)))
        document["min_price"] = {"excl_vat": str(Decimal(low) / 100)}
        document["max_price"] = {"excl_vat": str(Decimal(high) / 100)}
    return tariff_objects.parse(document)


@st.composite
def sessions(draw: st.DrawFn, *, most_power_dw: int = 10_000) -> list[ChargingPeriod]:
    """Consecutive periods, the last ones perhaps parked."""
    start = draw(STARTS)
    periods: list[ChargingPeriod] = []
    parked = False
    for _ in range(draw(st.integers(1, 8))):
        duration_s = draw(st.integers(1, 5400))
        power_dw = draw(st.integers(0, most_power_dw))
        parked = parked or draw(st.integers(0, 5)) == 0
        energy_dwh = 0 if parked else power_dw * duration_s // 3600
        periods.append(ChargingPeriod(start, duration_s, energy_dwh, power_dw, parked))
        start += timedelta(seconds=duration_s)
    return periods


def rate(tariff: Tariff, periods: list[ChargingPeriod]) -> rating.RatedFee:
    return rating.rate(tariff, periods, fee_kind=FeeKind.SERVICE, session_started_at=periods[0].started_at)


def version_of(*tariffs: Tariff) -> TariffVersion:
    return TariffVersion(
        1, "yuquan", 1, datetime(2026, 1, 1, tzinfo=UTC), dict(zip(FeeKind, tariffs, strict=False))
    )


@given(tariffs(), sessions())
def test_every_metered_unit_is_on_exactly_one_line(tariff: Tariff, periods: list[ChargingPeriod]) -> None:
    fee = rate(tariff, periods)
    priced = {component.type.value for component in tariff.elements[-1].price_components}
    used = {
        "ENERGY": sum(period.energy_dwh for period in periods),
        "TIME": sum(period.duration_s for period in periods if not period.parked),
        "PARKING_TIME": sum(period.duration_s for period in periods if period.parked),
        "FLAT": 1,
    }
    for dimension in ("ENERGY", "TIME", "PARKING_TIME", "FLAT"):
        metered = sum(line.metered for line in fee.lines if line.kind.value == dimension)
        assert metered == (used[dimension] if dimension in priced else 0), dimension


@given(tariffs(), sessions())
def test_lines_explain_the_total(tariff: Tariff, periods: list[ChargingPeriod]) -> None:
    fee = rate(tariff, periods)
    assert fee.total_fen == sum(line.amount_fen for line in fee.lines) >= 0
    units = {"ENERGY": 10_000, "TIME": 3600, "PARKING_TIME": 3600, "FLAT": 1}
    for line in fee.lines:
        if line.kind.value in units:
            exact_fen = Fraction(line.price_yuan) * 100 * line.billed / units[line.kind.value]
            assert -Fraction(1, 2) < line.amount_fen - exact_fen <= Fraction(1, 2)
            assert line.billed >= line.metered


@given(
    prices=st.lists(st.tuples(PRICES, PRICES), min_size=24, max_size=24),
    start=STARTS,
    minutes=st.lists(st.integers(0, 200), min_size=1, max_size=300),
)
def test_hourly_prices_agree_with_a_sum_minute_by_minute(
    prices: list[tuple[str, str]], start: datetime, minutes: list[int]
) -> None:
    """Energy per minute, priced by the hour of the local day: the oracle never cuts a period."""
    start = start.replace(second=0, microsecond=0)
    elements = [
        {
            "price_components": [
                {"type": "ENERGY", "price": energy_price, "step_size": 1},
                {"type": "TIME", "price": time_price, "step_size": 1},
            ],
            "restrictions": {"start_time": f"{hour:02}:00", "end_time": f"{(hour + 1) % 24:02}:00"},
        }
        for hour, (energy_price, time_price) in enumerate(prices)
    ]
    minutes = [10 * dwh for dwh in minutes]  # whole Wh, which the step size of 1 Wh leaves alone
    tariff = tariff_objects.parse(
        {"id": "t", "currency": "CNY", "elements": elements, "last_updated": "2026-01-01T00:00:00Z"}
    )
    periods = [
        ChargingPeriod(start + timedelta(minutes=index), 60, energy_dwh, 0)
        for index, energy_dwh in enumerate(minutes)
    ]
    exact: dict[tuple[int, int], Fraction] = {}
    for index, energy_dwh in enumerate(minutes):
        hour = (start + timedelta(minutes=index)).astimezone(LOCAL).hour
        for slot, part in enumerate(
            (
                Fraction(prices[hour][0]) * energy_dwh / 100,
                Fraction(prices[hour][1]) * 60 / 36,
            )
        ):
            exact[hour, slot] = exact.get((hour, slot), Fraction(0)) + part
    assert rate(tariff, periods).total_fen == sum(
        (fen + Fraction(1, 2)).__floor__() for fen in exact.values()
    )


@given(tariffs(), sessions(), st.data())
def test_cutting_a_period_at_an_even_second_changes_no_quantity_by_more_than_rounding(
    tariff: Tariff, periods: list[ChargingPeriod], data: st.DataObject
) -> None:
    """A meter that reports twice as often bills the same energy, to the 0.1 Wh a band edge may shift."""
    whole = periods[0]
    assume(whole.duration_s > 1)
    cut_s = data.draw(st.integers(1, whole.duration_s - 1))
    first_dwh = whole.energy_dwh * cut_s // whole.duration_s
    halves = [
        ChargingPeriod(whole.started_at, cut_s, first_dwh, whole.power_dw, whole.parked),
        ChargingPeriod(
            whole.started_at + timedelta(seconds=cut_s),
            whole.duration_s - cut_s,
            whole.energy_dwh - first_dwh,
            whole.power_dw,
            whole.parked,
        ),
    ]

    def metered(fee: rating.RatedFee) -> dict[tuple[str, str, Decimal], int]:
        sums: dict[tuple[str, str, Decimal], int] = {}
        for line in fee.lines:
            key = (line.kind.value, line.band, line.price_yuan)
            sums[key] = sums.get(key, 0) + line.metered
        return sums

    once, twice = metered(rate(tariff, [whole])), metered(rate(tariff, halves))
    for key in {*once, *twice} - {key for key in {*once, *twice} if key[0].endswith("PRICE")}:
        assert abs(once.get(key, 0) - twice.get(key, 0)) <= 2, key


@given(tariffs(steps=False, limits=False), sessions())
def test_charging_longer_never_costs_less(tariff: Tariff, periods: list[ChargingPeriod]) -> None:
    assert rate(tariff, periods[:-1] or periods).total_fen <= rate(tariff, periods).total_fen


@given(
    st.lists(tariffs(), min_size=1, max_size=3),
    sessions(most_power_dw=8000),
    st.integers(10, 3000),
    st.booleans(),
)
def test_a_session_within_its_limits_never_costs_more_than_was_prepaid(
    each: list[Tariff], periods: list[ChargingPeriod], amount_fen: int, knows_start: bool
) -> None:
    version = version_of(*each)
    start = periods[0].started_at
    limits = affordability.affordable(
        version,
        amount_fen=amount_fen,
        longest_s=36_000,
        at=start if knows_start else None,
        most_power_dw=8000,
    )
    assume(limits.energy_dwh > 0 and limits.duration_s > 0)
    within: list[ChargingPeriod] = []
    energy_dwh = duration_s = 0
    for period in periods:
        energy_dwh += period.energy_dwh
        duration_s += period.duration_s
        if energy_dwh > limits.energy_dwh or duration_s > limits.duration_s:
            break
        within.append(period)
    bill = bills.make(version, within, session_started_at=start, prepaid_fen=amount_fen)
    assert bill.waived_fen == 0


@given(st.lists(tariffs(), min_size=1, max_size=3), sessions(), st.integers(1, 500))
def test_a_bill_never_exceeds_the_prepayment_and_waives_electricity_last(
    each: list[Tariff], periods: list[ChargingPeriod], prepaid_fen: int
) -> None:
    bill = bills.make(
        version_of(*each), periods, session_started_at=periods[0].started_at, prepaid_fen=prepaid_fen
    )
    assert bill.charged_fen + bill.refund_fen == prepaid_fen
    assert bill.refund_fen >= 0
    fees = {fee.rated.fee_kind: fee for fee in bill.fees}
    assert all(0 <= fee.charged_fen <= fee.rated.total_fen for fee in bill.fees)
    electricity = fees[FeeKind.ELECTRICITY]
    assert electricity.charged_fen == min(electricity.rated.total_fen, prepaid_fen)
    if bill.waived_fen:
        assert bill.refund_fen == 0


@given(tariffs(), STARTS)
def test_the_price_card_shows_one_price_now_for_each_dimension(tariff: Tariff, now: datetime) -> None:
    (fee,) = price_cards.describe(version_of(tariff), now).fees
    begin_with = [price.dimension for price in fee.prices if price.applies_now]
    assert sorted(begin_with) == sorted({price.dimension for price in fee.prices})
