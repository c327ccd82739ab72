"""What a prepayment buys, by hand."""

from datetime import UTC, datetime
from typing import Any

import pytest

from billing import affordability, price_cards, tariff_objects
from billing.affordability import Affordable
from billing.tariff_objects import FeeKind, TariffVersion

TEN_HOURS_S = 36_000
NOON = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)


def version(**elements: list[dict[str, Any]]) -> TariffVersion:
    return TariffVersion(
        1,
        "yuquan",
        1,
        datetime(2026, 1, 1, tzinfo=UTC),
        {
            FeeKind(kind): tariff_objects.parse(
                {
                    "id": kind,
                    "currency": "CNY",
                    "elements": each,
                    "last_updated": "2026-01-01T00:00:00Z",
                }
            )
            for kind, each in elements.items()
        },
    )


def priced(dimension: str, price: str, *, step: int = 1, **restrictions: Any) -> dict[str, Any]:
    return {
        "price_components": [{"type": dimension, "price": price, "step_size": step}],
        "restrictions": restrictions,
    }


BY_ENERGY = version(
    electricity=[
        priced("ENERGY", "0.60", start_time="08:00", end_time="22:00"),
        priced("ENERGY", "0.30", start_time="22:00", end_time="08:00"),
    ],
    service=[priced("ENERGY", "0.40")],
)


def test_energy_is_bought_at_the_dearest_band_with_a_margin_for_rounding() -> None:
    """2.983 kWh: 178.98 and 119.32 fen, which with half a fen for each of three lines are 180 and 120."""
    limits = affordability.affordable(BY_ENERGY, amount_fen=300, longest_s=TEN_HOURS_S)
    assert limits == Affordable(energy_dwh=29_830, duration_s=TEN_HOURS_S)


def test_a_band_out_of_reach_does_not_count() -> None:
    """From 22:30 for an hour only the valley price can apply: 0.983 kWh are 30 and 40 fen."""
    late = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)
    limits = affordability.affordable(BY_ENERGY, amount_fen=70, longest_s=3600, at=late)
    assert limits == Affordable(energy_dwh=9_830, duration_s=3600)


def test_time_is_bought_when_only_time_costs() -> None:
    """199 minutes are 99.5 fen, and half a fen may come on top by rounding."""
    by_time = version(service=[priced("TIME", "0.30", step=60)])
    limits = affordability.affordable(by_time, amount_fen=100, longest_s=TEN_HOURS_S)
    assert limits == Affordable(energy_dwh=33_166, duration_s=11_940)
    assert (
        affordability.most_fen(by_time, energy_dwh=0, duration_s=11_941, at=None, most_power_dw=10_000) > 100
    )


def test_money_is_divided_as_a_usual_charger_would_use_it() -> None:
    """0.10 yuan/h and 0.50 yuan/kWh at 200 W is 0.20 yuan/h: 2 yuan last just under ten hours."""
    both = version(electricity=[priced("ENERGY", "0.50")], service=[priced("TIME", "0.10")])
    limits = affordability.affordable(both, amount_fen=180, longest_s=TEN_HOURS_S)
    assert 31_000 < limits.duration_s < 32_400
    assert limits.energy_dwh == pytest.approx(limits.duration_s * 2000 / 3600, rel=0.02)


def test_an_amount_below_the_minimum_price_buys_nothing() -> None:
    tariff = version(service=[priced("FLAT", "1"), priced("ENERGY", "0.4")])
    assert affordability.affordable(tariff, amount_fen=50, longest_s=TEN_HOURS_S).energy_dwh == 0


def test_a_maximum_price_that_is_paid_buys_everything() -> None:
    tariff = version(service=[priced("TIME", "1")])
    capped = TariffVersion(
        1,
        "yuquan",
        1,
        tariff.effective_from,
        {
            FeeKind.SERVICE: tariff_objects.parse(
                tariff.tariffs[FeeKind.SERVICE].model_dump(mode="json") | {"max_price": {"excl_vat": "2"}}
            )
        },
    )
    limits = affordability.affordable(capped, amount_fen=200, longest_s=TEN_HOURS_S, most_power_dw=8000)
    assert limits == Affordable(energy_dwh=80_000, duration_s=TEN_HOURS_S)


def test_power_tiers_above_what_a_socket_gives_do_not_count() -> None:
    tiers = version(service=[priced("TIME", "0.30", max_power="0.8"), priced("TIME", "9", min_power="0.8")])
    hours = {
        power_dw: affordability.affordable(
            tiers, amount_fen=301, longest_s=TEN_HOURS_S, most_power_dw=power_dw
        ).duration_s
        for power_dw in (7_999, 8_000)
    }
    assert hours[7_999] == TEN_HOURS_S
    assert hours[8_000] < 1300


def test_the_price_card_keeps_the_order_and_says_what_applies_now() -> None:
    card = price_cards.describe(BY_ENERGY, NOON)
    assert [
        (fee.fee_kind.value, str(price.price_yuan), price.band, price.applies_now)
        for fee in card.fees
        for price in fee.prices
    ] == [
        ("electricity", "0.60", "08:00-22:00", True),
        ("electricity", "0.30", "22:00-08:00", False),
        ("service", "0.40", "", True),
    ]
