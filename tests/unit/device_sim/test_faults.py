"""Faults are ordered by name, with numbers behind a colon, and say what must come of them."""

import pytest

from device_sim.errors import FaultUnknown
from device_sim.faults import FAULTS, read_order

NAMED = {
    "duplicate_identity",
    "clock_1970",
    "register_reset",
    "register_jump",
    "power_cut",
    "settlement_late",
    "settlement_missing",
    "settlement_orphan",
    "offline",
    "flood",
    "mass_reconnect",
    "smoke",
    "fire",
    "leakage",
    "relay_welded",
    "flapping_fault",
}


def test_every_fault_of_the_street_is_there_and_says_what_must_come_of_it() -> None:
    assert set(FAULTS) == NAMED
    for fault in FAULTS.values():
        summary, _, outcome = fault.description.partition("\n\n")
        assert summary.endswith(".")
        assert len(outcome) > 40, fault.name


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("offline", "offline", (3_600, 0)),
        ("offline:600", "offline", (600, 0)),
        ("power_cut:60,10", "power_cut", (60, 10)),
        ("settlement_missing", "settlement_missing", ()),
    ],
)
def test_an_order_takes_defaults_for_what_is_not_said(
    text: str, name: str, values: tuple[float, ...]
) -> None:
    order = read_order(text)
    assert (order.fault.name, order.values) == (name, values)


@pytest.mark.parametrize(
    ("text", "pile_id"), [("smoke@P-2:1,5", "P-2"), ("smoke@P-2", "P-2"), ("smoke:1,5", None)]
)
def test_an_order_may_name_its_pile(text: str, pile_id: str | None) -> None:
    order = read_order(text)
    assert (order.fault.name, order.values[0], order.pile_id) == ("smoke", 1, pile_id)


@pytest.mark.parametrize(
    "text", ["earthquake", "offline:soon", "offline:1,2,3", "offline:-5", "flood:inf", ""]
)
def test_an_order_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(FaultUnknown):
        read_order(text)
