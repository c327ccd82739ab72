"""Readings applied to what was loaded give what a load would give, or ask for one."""

import base64
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging import half_hours, live_readings
from charging.live_readings import Reading
from charging.session_curves import SlotReading
from charging.session_states import SessionState
from charging.views import WatchedSession
from tests import charging_sessions

BEGIN = datetime(2026, 3, 2, 4, 10, tzinfo=UTC)
SESSION = charging_sessions.charging(uuid4(), pile_id="P1", since=BEGIN)
FRESH = WatchedSession(SESSION, "site", None, ())


def reading(elapsed_s: int, *, energy_dwh: int | None = None) -> Reading:
    return Reading(
        SESSION.session_id,
        BEGIN + timedelta(seconds=elapsed_s),
        elapsed_s,
        1_800,
        elapsed_s // 2 if energy_dwh is None else energy_dwh,
        0,
    )


def loaded(readings: Sequence[Reading]) -> tuple[SlotReading, ...]:
    """The slots as a query over all samples finds them."""
    slots: dict[datetime, SlotReading] = {}
    for each in readings:
        at = half_hours.slot_at(each.sampled_at)
        held = slots.get(at, SlotReading(at, 0, 0))
        slots[at] = SlotReading(
            at, max(held.energy_dwh, each.energy_dwh), max(held.elapsed_s, each.elapsed_s)
        )
    return tuple(slots[at] for at in sorted(slots))


@given(st.lists(st.integers(min_value=1, max_value=40_000), min_size=1, max_size=60, unique=True), st.data())
def test_readings_in_their_order_give_what_a_load_gives(elapsed: list[int], data: st.DataObject) -> None:
    readings = [reading(elapsed_s) for elapsed_s in sorted(elapsed)]
    split = data.draw(st.integers(min_value=0, max_value=len(readings)))
    watched: WatchedSession | None = FRESH
    for piece in (readings[:split], readings[split:]):
        assert watched is not None
        watched = watched.with_readings(piece)
    assert watched is not None
    assert watched.slots == loaded(readings)
    assert watched.reading == readings[-1]


def test_a_reading_known_already_changes_nothing() -> None:
    once = FRESH.with_readings([reading(60)])
    assert once is not None
    assert once.with_readings([reading(60)]) is once
    assert once.with_readings([reading(30)]) is once


def test_a_late_reading_of_an_earlier_half_hour_asks_for_a_load() -> None:
    late = FRESH.with_readings([reading(4_000)])
    assert late is not None
    assert late.with_readings([reading(60)]) is None


def test_a_session_that_has_not_begun_asks_for_a_load() -> None:
    starting = replace(FRESH, session=replace(SESSION, state=SessionState.STARTING, started_at=None))
    assert starting.with_readings([reading(60)]) is None


def test_a_settled_session_stays_as_it_was_settled() -> None:
    settled = replace(FRESH, session=replace(SESSION, state=SessionState.SETTLED))
    assert settled.with_readings([reading(60)]) is settled


@pytest.mark.parametrize("payload", ["not base64!", base64.b64encode(b"too short").decode()])
def test_what_holds_no_readings_is_refused(payload: str) -> None:
    with pytest.raises(ValueError, match=r"base64|bytes"):
        live_readings.unpack(payload)
