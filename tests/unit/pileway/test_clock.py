"""The accelerated clock: one anchor, any speed."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pileway.clock import Clock

ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)
START = datetime(2026, 6, 1, 10, tzinfo=UTC)


@given(speed=st.floats(0.1, 10_000), real_s=st.floats(0, 86_400))
def test_clock_runs_as_fast_as_it_says(speed: float, real_s: float) -> None:
    clock = Clock(speed=speed, anchor=ANCHOR, start=START)
    shown = clock.at(ANCHOR + timedelta(seconds=real_s))
    assert abs((shown - START).total_seconds() - real_s * speed) < 0.01 + 1e-6 * real_s * speed
    assert shown.tzinfo is UTC


@given(speed=st.floats(0.1, 10_000), clock_s=st.floats(0.1, 86_400))
def test_waiting_the_real_seconds_shows_the_clock_seconds(speed: float, clock_s: float) -> None:
    clock = Clock(speed=speed, anchor=ANCHOR, start=START)
    shown = clock.at(ANCHOR + timedelta(seconds=clock.real_s(clock_s)))
    assert abs((shown - START).total_seconds() - clock_s) < 0.02 + 1e-6 * speed


def test_real_clock_shows_the_time_on_the_wall() -> None:
    assert abs(Clock.real().now() - datetime.now(UTC)) < timedelta(seconds=1)
