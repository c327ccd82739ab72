"""Every message of a link arrives at an instant of its own."""

from datetime import UTC, datetime, timedelta

from gateway.arrivals import LARGEST_STEP_BACK, Arrivals

AT = datetime(2026, 3, 2, tzinfo=UTC)
TICK = timedelta(microseconds=1)


def test_messages_of_one_read_are_stamped_apart_in_order() -> None:
    arrivals = Arrivals()
    assert [arrivals.stamp(AT) for _ in range(3)] == [AT, AT + TICK, AT + 2 * TICK]


def test_a_read_that_follows_at_once_is_stamped_after_the_one_before() -> None:
    arrivals = Arrivals()
    before = [arrivals.stamp(AT) for _ in range(5)]
    assert arrivals.stamp(AT + TICK) > before[-1]
    assert arrivals.stamp(AT + timedelta(seconds=1)) == AT + timedelta(seconds=1)


def test_a_clock_set_back_a_little_is_waited_for_and_one_set_back_far_is_followed() -> None:
    arrivals = Arrivals()
    arrivals.stamp(AT)
    assert arrivals.stamp(AT - LARGEST_STEP_BACK / 2) == AT + TICK
    long_ago = AT - timedelta(days=365)
    assert arrivals.stamp(long_ago) == long_ago
