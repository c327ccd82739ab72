"""A flood is caught within its seconds and dropped; a backlog, a busy street and a broker's leftovers are not."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.flood_guard import MAX_UNSERVED_S, FloodGuard, FloodLimits, pile_of

BACKLOG = 20_000
"""Frames a pile keeps at least."""


class Door:
    """A guard with a clock moved by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.caught: list[str] = []
        limits = FloodLimits(frames_per_s=50, seconds=5, catching_up_s=60)
        self.guard = FloodGuard(limits, caught=self.caught.append, seconds=lambda: self.now_s)

    def second(self, frames: int, *, pile_id: str = "p") -> int:
        """Let that many frames arrive within one second; how many were let in."""
        admitted = sum(self.guard.admits(pile_id) for _ in range(frames))
        self.now_s += 1
        return admitted


def test_a_flood_is_caught_after_its_seconds_told_once_and_dropped_from_then_on() -> None:
    door = Door()
    for _ in range(5):
        assert door.second(51) == 51
    assert door.caught == []
    assert door.second(51) == 1
    assert door.second(200) == 0
    assert door.caught == ["p"]
    assert door.guard.take_dropped() == 250
    assert door.guard.take_dropped() == 0


def test_as_much_as_the_limit_is_no_flood_however_long() -> None:
    door = Door()
    for _ in range(100):
        assert door.second(50) == 50


def test_a_backlog_that_comes_at_once_is_no_flood() -> None:
    door = Door()
    for _ in range(20):
        for _ in range(4):
            assert door.second(2000) == 2000
        door.now_s += 10
    assert door.caught == []


def test_pausing_for_a_second_now_and_then_does_not_hide_a_flood() -> None:
    door = Door()
    for _ in range(5):
        for _ in range(4):
            door.second(500)
        door.now_s += 1
    assert door.caught == ["p"]


def test_one_piles_flood_is_not_its_neighbours() -> None:
    door = Door()
    for _ in range(8):
        door.second(100)
        door.now_s -= 1
        assert door.second(10, pile_id="q") == 10
    assert door.caught == ["p"]


def test_what_waited_while_nobody_took_it_is_excused_as_far_as_it_could_have_been_said_meanwhile() -> None:
    door = Door()
    door.guard.catching_up(600)
    for _ in range(66):
        assert door.second(500) == 500
    for _ in range(7):
        door.second(500)
    assert door.caught == ["p"]


def test_a_short_break_excuses_no_flood() -> None:
    door = Door()
    door.guard.catching_up(2)
    for _ in range(7):
        door.second(500)
    assert door.caught == ["p"]


def test_a_flood_long_after_a_break_is_caught_like_any_other() -> None:
    door = Door()
    door.guard.catching_up(600)
    door.now_s += 600 + 60
    for _ in range(6):
        door.second(51)
    assert door.caught == ["p"]


@settings(max_examples=30, deadline=None)
@given(
    unserved_s=st.integers(0, 3 * int(MAX_UNSERVED_S)),
    drained_per_s=st.integers(21, 5000),
    backlog_before=st.integers(0, 20_000),
)
def test_a_pile_that_keeps_the_pace_is_never_caught_however_long_we_were_away(
    unserved_s: int, drained_per_s: int, backlog_before: int
) -> None:
    """It sends 20 a second of what it has; what waited at the broker comes as fast as it is drained."""
    door = Door()
    door.guard.catching_up(unserved_s)
    left = backlog_before + BACKLOG
    waiting = min(20 * unserved_s, left)
    left -= waiting
    while waiting:
        sent = min(20, left)
        left -= sent
        arriving = min(drained_per_s, waiting + sent)
        waiting += sent - arriving
        assert door.second(arriving) == arriving
    assert door.caught == []


def test_a_forgiven_pile_is_counted_afresh() -> None:
    door = Door()
    for _ in range(7):
        door.second(100)
    door.guard.forgive("p")
    assert door.guard.flooding == []
    assert door.second(100) == 100


def test_the_pile_is_read_from_the_topic_and_rubbish_counts_together() -> None:
    assert pile_of("v1/7/YQ-01/up/meter") == "YQ-01"
    assert pile_of("rubbish") == pile_of("") == ""
