"""A flood is caught within its seconds and dropped; a backlog, a busy street and a broker's leftovers are not."""

from gateway.flood_guard import FloodGuard, FloodLimits, pile_of


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


def test_nobody_is_counted_while_the_broker_hands_over_what_waited() -> None:
    door = Door()
    door.guard.catching_up()
    for _ in range(60):
        assert door.second(500) == 500
    for _ in range(6):
        door.second(500)
    assert door.caught == ["p"]


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
