"""Figures as riders read them never say more than was delivered, nor lose a fen."""

from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rider_web import formats, sockets
from rider_web.problems import AmountUnreadable


@given(amount_fen=st.integers(-10_000_000, 10_000_000))
def test_yuan_reads_back_to_the_same_fen(amount_fen: int) -> None:
    assert Decimal(formats.yuan(amount_fen)) * 100 == amount_fen
    assert Decimal(formats.yuan_short(amount_fen)) * 100 == amount_fen


@given(amount_fen=st.integers(0, 10_000_000))
def test_what_a_rider_types_is_read_as_it_is_written(amount_fen: int) -> None:
    assert sockets.read_amount(formats.yuan(amount_fen)) == amount_fen
    assert sockets.read_amount(f" ¥{formats.yuan_short(amount_fen)} ") == amount_fen


@given(typed=st.text(max_size=16))
def test_anything_else_typed_is_an_amount_or_unreadable(typed: str) -> None:
    with suppress(AmountUnreadable):
        assert isinstance(sockets.read_amount(typed), int)


@given(energy_dwh=st.integers(0, 10**9))
def test_energy_is_cut_and_never_rounded_up(energy_dwh: int) -> None:
    exact = Decimal(energy_dwh) / 10_000
    assert 0 <= exact - Decimal(formats.kilowatt_hours(energy_dwh)) < Decimal("0.001")
    assert Decimal(formats.kilowatt_hours_exact(energy_dwh)) == exact
    assert 0 <= exact - Decimal(formats.kilowatt_hours_short(energy_dwh)) < Decimal("0.1")


@pytest.mark.parametrize(
    ("price", "shown"),
    [("0.5103", "0.5103"), ("0.45", "0.45"), ("1", "1.00"), ("0.610", "0.61"), ("0.82030", "0.8203")],
)
def test_a_price_keeps_its_digits(price: str, shown: str) -> None:
    assert formats.price(Decimal(price)) == shown


def test_times_are_those_of_shanghai() -> None:
    at = datetime(2026, 3, 1, 16, 5, tzinfo=UTC)
    assert formats.local_time(at) == "2026-03-02 00:05"
    assert formats.local_time_short(at) == "03-02 00:05"
    assert formats.duration(5025) == "1:23:45"
    assert formats.minute_of_day(1440) == "24:00"
    assert formats.watts(1825) == "183"
