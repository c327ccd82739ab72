"""What was metered so far, as periods to rate: nothing overlaps, nothing is invented."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from billing import metered_slices
from charging import session_curves
from charging.half_hours import SLOT
from charging.session_curves import SlotReading

MIDNIGHT = datetime(2026, 3, 1, 16, 0, tzinfo=UTC)


@st.composite
def charges(draw: st.DrawFn) -> tuple[datetime, list[SlotReading]]:
    """A start and the readings at the end of each slot it touched, some slots without any."""
    started_at = MIDNIGHT + timedelta(seconds=draw(st.integers(0, 86_400)))
    first = MIDNIGHT + (started_at - MIDNIGHT) // SLOT * SLOT
    readings: list[SlotReading] = []
    energy_dwh = 0
    for index in range(draw(st.integers(0, 20))):
        slot_at = first + index * SLOT
        last = slot_at + timedelta(seconds=draw(st.integers(0, 1799)))
        if last < started_at or draw(st.integers(0, 9)) == 0:
            continue
        energy_dwh += draw(st.integers(0, 5000))
        readings.append(SlotReading(slot_at, energy_dwh, int((last - started_at).total_seconds())))
    return started_at, readings


@given(charge=charges())
def test_periods_can_always_be_rated_and_hold_no_more_energy_than_was_metered(
    charge: tuple[datetime, list[SlotReading]],
) -> None:
    started_at, readings = charge
    periods = session_curves.periods(readings, started_at=started_at)
    metered_slices.check(periods)
    metered_dwh = readings[-1].energy_dwh if readings else 0
    assert sum(period.energy_dwh for period in periods) <= metered_dwh
    assert sum(period.duration_s for period in periods) <= (readings[-1].elapsed_s if readings else 0)
    for period in periods:
        slot_at = MIDNIGHT + (period.started_at - MIDNIGHT) // SLOT * SLOT
        assert period.started_at + timedelta(seconds=period.duration_s) <= slot_at + SLOT


@given(energy_dwh=st.integers(0, 100_000), minutes=st.integers(1, 29))
def test_a_charge_within_one_slot_is_one_period(energy_dwh: int, minutes: int) -> None:
    [period] = session_curves.periods(
        [SlotReading(MIDNIGHT, energy_dwh, minutes * 60)], started_at=MIDNIGHT + timedelta(seconds=30)
    )
    assert (period.energy_dwh, period.duration_s) == (energy_dwh, minutes * 60)
