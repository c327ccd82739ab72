"""The price card: the day's bands, the band of now, and prices that hang on more than the clock."""

from datetime import UTC, datetime

import pytest

from billing import price_cards, tariff_objects
from billing.tariff_objects import FeeKind, TariffVersion
from rider_web import price_card
from rider_web.languages import CHINESE, ENGLISH
from rider_web.price_card import CardView

NOON = datetime(2026, 3, 2, 4, 10, tzinfo=UTC)  # 12:10 in Shanghai


def energy(price: str, start: str | None = None, end: str | None = None, **more: object) -> dict[str, object]:
    times = {"start_time": start, "end_time": end} if start else {}
    return {
        "price_components": [{"type": "ENERGY", "price": price}],
        "restrictions": times | more,
    }


def card(
    electricity: list[dict[str, object]], service: list[dict[str, object]], at: datetime = NOON
) -> CardView:
    version = TariffVersion(
        tariff_version_id=1,
        site_id="site",
        version=1,
        effective_from=NOON,
        tariffs={
            kind: tariff_objects.parse(
                {"id": kind, "currency": "CNY", "elements": elements, "last_updated": NOON.isoformat()}
            )
            for kind, elements in ((FeeKind.ELECTRICITY, electricity), (FeeKind.SERVICE, service))
        },
    )
    return price_card.build(price_cards.describe(version, at), ENGLISH)


NIGHT_AND_PEAK = [energy("0.3", "23:00", "07:00"), energy("0.8", "10:00", "15:00"), energy("0.5")]


def test_bands_cover_the_day_without_gap_and_one_of_them_is_now() -> None:
    view = card(NIGHT_AND_PEAK, [energy("0.4")])
    assert [band.from_minute for band in view.bands[1:]] == [band.to_minute for band in view.bands[:-1]]
    assert (view.bands[0].from_minute, view.bands[-1].to_minute) == (0, 1440)
    [now] = [band for band in view.bands if band.now]
    assert (now.from_minute, now.to_minute, now.prices) == (600, 900, ("0.80", "0.40"))
    assert (view.now_total, view.now_unit, view.now_minute) == ("1.20", "¥/kWh", 730)


def test_hours_of_one_price_share_a_row_and_the_night_is_whole() -> None:
    view = card(NIGHT_AND_PEAK, [energy("0.4")])
    assert [[span.hours for span in row.spans] for row in view.rows] == [
        ["23:00–07:00"],
        ["07:00–10:00", "15:00–23:00"],
        ["10:00–15:00"],
    ]
    assert [row.level for row in view.rows] == [1, 3, 5]


@pytest.mark.parametrize(
    ("hour_utc", "hours"), [(15, "23:00–07:00"), (20, "23:00–07:00"), (4, "10:00–15:00")]
)
def test_now_is_marked_on_both_sides_of_midnight(hour_utc: int, hours: str) -> None:
    view = card(NIGHT_AND_PEAK, [energy("0.4")], NOON.replace(hour=hour_utc))
    assert [span.hours for row in view.rows for span in row.spans if span.now] == [hours]


def test_one_price_all_day_is_one_band() -> None:
    view = card([energy("0.5")], [energy("0.4")])
    assert (len(view.bands), len(view.rows)) == (1, 1)


def test_prices_by_power_are_written_out() -> None:
    service = [energy("0.9", min_power="0.5"), energy("0.4")]
    view = card([energy("0.5")], service)
    assert view.conditions == ("Service fee ≥500 W: 0.90 ¥/kWh",)
    assert view.now_parts[1].price == "0.40"


def test_fees_of_different_units_are_not_added() -> None:
    hourly: list[dict[str, object]] = [{"price_components": [{"type": "TIME", "price": "0.12"}]}]
    view = card([energy("0.5")], hourly)
    assert view.now_total is None
    assert [column.unit for column in view.columns] == ["¥/kWh", "¥/hour"]
    assert view.formula == ("Electricity = energy (kWh) × price", "Service fee = time (hours) × price")


def test_the_card_speaks_chinese() -> None:
    version = TariffVersion(
        tariff_version_id=1,
        site_id="site",
        version=1,
        effective_from=NOON,
        tariffs={
            FeeKind.ELECTRICITY: tariff_objects.parse(
                {
                    "id": "e",
                    "currency": "CNY",
                    "elements": [energy("0.5")],
                    "last_updated": NOON.isoformat(),
                    "min_price": {"excl_vat": "0.10"},
                }
            )
        },
    )
    view = price_card.build(price_cards.describe(version, NOON), CHINESE)
    assert view.columns[0].name == "电费"
    assert view.conditions == ("电费最低 ¥0.10",)
