"""What a tariff may say, and the name of what it may not."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from billing import tariff_objects, tariffs
from billing.errors import TariffInvalid
from billing.tariff_objects import FeeKind

ENERGY: dict[str, Any] = {"type": "ENERGY", "price": "0.5103", "step_size": 1}


def document(*elements: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": "yuquan-electricity",
        "currency": "CNY",
        "elements": list(elements) or [{"price_components": [ENERGY]}],
        "last_updated": "2026-03-01T00:00:00+08:00",
        **fields,
    }


def restricted(**restrictions: Any) -> dict[str, Any]:
    """A restricted element with a fallback behind it."""
    return document(
        {"price_components": [ENERGY], "restrictions": restrictions}, {"price_components": [ENERGY]}
    )


@pytest.mark.parametrize(
    ("tariff", "field"),
    [
        (document(currency="EUR"), "electricity.currency"),
        (document(elements=[]), "electricity.elements"),
        (document(surprise=1), "electricity.surprise"),
        (document(end_date_time="2026-04-01T00:00:00Z"), "electricity.end_date_time"),
        (document(last_updated="2026-03-01T00:00:00"), "electricity.last_updated"),
        (document({"price_components": []}), "electricity.elements[0].price_components"),
        (document({"price_components": [ENERGY, ENERGY]}), "electricity.elements[0].price_components"),
        (
            document({"price_components": [{**ENERGY, "price": "-0.1"}]}),
            "electricity.elements[0].price_components[0].price",
        ),
        (
            document({"price_components": [{**ENERGY, "price": "0.0000001"}]}),
            "electricity.elements[0].price_components[0].price",
        ),
        (
            document({"price_components": [{**ENERGY, "price": "NaN"}]}),
            "electricity.elements[0].price_components[0].price",
        ),
        (
            document({"price_components": [{**ENERGY, "vat": 13}]}),
            "electricity.elements[0].price_components[0].vat",
        ),
        (
            document({"price_components": [{**ENERGY, "step_size": 0}]}),
            "electricity.elements[0].price_components[0].step_size",
        ),
        (
            document({"price_components": [{**ENERGY, "type": "POWER"}]}),
            "electricity.elements[0].price_components[0].type",
        ),
        (document(min_price={"excl_vat": "0.505"}), "electricity.min_price.excl_vat"),
        (document(min_price={"excl_vat": "1", "incl_vat": "1.13"}), "electricity.min_price"),
        (document(min_price={"excl_vat": "3"}, max_price={"excl_vat": "2"}), "electricity"),
        (restricted(start_time="25:00", end_time="26:00"), "electricity.elements[0].restrictions.start_time"),
        (restricted(start_time="08:00"), "electricity.elements[0].restrictions"),
        (restricted(start_time="08:00", end_time="08:00"), "electricity.elements[0].restrictions"),
        (restricted(min_kwh="2", max_kwh="1"), "electricity.elements[0].restrictions"),
        (restricted(min_kwh="0.00001"), "electricity.elements[0].restrictions.min_kwh"),
        (restricted(min_power="0.2", max_power="0.2"), "electricity.elements[0].restrictions"),
        (restricted(min_duration=60, max_duration=30), "electricity.elements[0].restrictions"),
        (
            restricted(start_date="2026-03-02", end_date="2026-03-02"),
            "electricity.elements[0].restrictions",
        ),
        (restricted(min_current=5), "electricity.elements[0].restrictions.min_current"),
        (restricted(reservation="RESERVATION"), "electricity.elements[0].restrictions.reservation"),
        (restricted(day_of_week=["FUNDAY"]), "electricity.elements[0].restrictions.day_of_week[0]"),
        ("a string", "electricity"),
        (None, "electricity"),
    ],
)
def test_what_cannot_be_rated_is_refused_by_its_name(tariff: object, field: str) -> None:
    with pytest.raises(TariffInvalid) as refusal:
        tariff_objects.parse(tariff, field="electricity")
    assert refusal.value.field == field
    assert refusal.value.reason
    assert field in str(refusal.value)


@pytest.mark.parametrize(
    ("restrictions", "moment"),
    [
        ({"start_time": "08:00", "end_time": "22:00"}, "at 00:00"),
        ({"start_time": "22:00", "end_time": "08:00"}, "at 08:00"),
        ({"day_of_week": ["MONDAY", "TUESDAY"]}, "on WEDNESDAY"),
        ({"min_power": "0.2"}, "0 W"),
        ({"max_power": "0.2"}, "200 W"),
        ({"max_kwh": "1"}, "after 1000 Wh"),
        ({"max_duration": 3600}, "and 3600 s"),
        ({"start_date": "2026-01-01"}, "at 00:00"),
    ],
)
def test_a_moment_without_a_price_is_found_and_named(restrictions: dict[str, Any], moment: str) -> None:
    with pytest.raises(TariffInvalid, match=moment) as refusal:
        tariff_objects.parse(document({"price_components": [ENERGY], "restrictions": restrictions}))
    assert refusal.value.field == "elements"


def test_bands_that_cover_the_day_together_need_no_fallback() -> None:
    bands = [("00:00", "08:00"), ("08:00", "22:00"), ("22:00", "00:00")]
    elements = [
        {"price_components": [ENERGY], "restrictions": {"start_time": start, "end_time": end}}
        for start, end in bands
    ]
    assert len(tariff_objects.parse(document(*elements)).elements) == 3


def test_bands_too_many_to_check_need_a_fallback() -> None:
    elements: list[dict[str, Any]] = [
        {
            "price_components": [ENERGY],
            "restrictions": {
                "start_time": f"{index // 2:02}:{index % 2 * 30:02}",
                "end_time": f"{(index + 1) // 2 % 24:02}:{(index + 1) % 2 * 30:02}",
                "min_power": f"{index}.1",
                "min_kwh": f"{index}.1",
                "day_of_week": ["MONDAY"],
            },
        }
        for index in range(48)
    ]
    with pytest.raises(TariffInvalid, match="too many combinations"):
        tariff_objects.parse(document(*elements))
    tariff_objects.parse(document(*elements, {"price_components": [ENERGY]}))


def test_one_tariff_has_one_canonical_text() -> None:
    """However numbers are written and keys ordered; and the text reads back as the same tariff."""
    number: dict[str, Any] = {"step_size": 1, "price": 0.50, "type": "ENERGY"}
    text: dict[str, Any] = {"type": "ENERGY", "price": "0.5", "step_size": 1}
    texts = {
        tariffs.canonical_json(
            {FeeKind.ELECTRICITY: tariff_objects.parse(document({"price_components": [component]}))}
        )
        for component in (number, text)
    }
    (canonical,) = texts
    assert '"price":"0.5"' in canonical
    again = tariff_objects.parse(json.loads(canonical)["electricity"])
    assert tariffs.canonical_json({FeeKind.ELECTRICITY: again}) == canonical


def test_a_band_is_written_in_signs_and_figures() -> None:
    tariff = tariff_objects.parse(
        restricted(
            day_of_week=["MONDAY", "SUNDAY"],
            start_date="2026-03-01",
            end_date="2026-04-01",
            start_time="22:00",
            end_time="06:00",
            min_power="0.2",
            max_power="0.4",
            max_kwh="1.5",
            min_duration=1800,
        )
    )
    assert [element.restrictions.band for element in tariff.elements] == [
        "MON,SUN 2026-03-01/2026-04-01 22:00-06:00 200-400 W <1.5 kWh ≥1800 s",
        "",
    ]
