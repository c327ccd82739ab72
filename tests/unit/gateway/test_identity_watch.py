"""Two devices under one name are told from one that reconnects, reboots or speaks late."""

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from charging.identity_conflicts import ConflictKind
from gateway import identity_watch
from gateway.identity_watch import IdentityWatch
from protocol.envelope import Counter


class Ear:
    """A watch and the signs it gave."""

    def __init__(self) -> None:
        self.watch = IdentityWatch()
        self.signs: list[ConflictKind] = []
        self.now_s = 0.0

    def beat(self, boot: int, seq: int, connection: int, *, epoch: int = 1) -> None:
        sign = self.watch.heard(
            "p", epoch=epoch, counter=Counter(boot, seq), connection=connection, now_s=self.now_s
        )
        if sign is not None:
            self.signs.append(sign.kind)

    def reuse(self, boot: int, seq: int) -> None:
        found = self.watch.reused("p", epoch=1, counter=Counter(boot, seq), now_s=self.now_s)
        self.signs += [sign.kind for sign in found]


def test_two_boots_that_take_turns_are_two_devices() -> None:
    ear = Ear()
    ear.beat(7, 2, 1)
    ear.beat(5, 90, 4)
    ear.beat(7, 9, 2)
    assert ear.signs == []
    ear.beat(5, 95, 5)
    ear.beat(7, 12, 3)
    ear.beat(5, 99, 6)
    assert ear.signs == [ConflictKind.DUPLICATE_IDENTITY] * 2


def test_two_connections_of_one_boot_that_cross_are_two_devices() -> None:
    ear = Ear()
    ear.beat(3, 10, 2)
    ear.beat(3, 40, 1)
    assert ear.signs == [ConflictKind.DUPLICATE_IDENTITY]


def test_a_later_connection_with_earlier_numbers_is_another_device() -> None:
    ear = Ear()
    ear.beat(3, 100, 2)
    ear.beat(3, 20, 5)
    assert ear.signs == [ConflictKind.DUPLICATE_IDENTITY]


def test_a_late_frame_of_the_connection_or_boot_before_raises_nothing() -> None:
    ear = Ear()
    ear.beat(3, 10, 1)
    ear.beat(3, 14, 2)
    ear.beat(3, 12, 1)
    ear.beat(3, 15, 2)
    ear.beat(4, 2, 1)
    ear.beat(3, 16, 2)
    ear.beat(4, 3, 1)
    assert ear.signs == []


def test_a_pile_that_goes_on_in_an_older_boot_has_lost_its_counter() -> None:
    ear = Ear()
    ear.beat(40, 500, 3)
    for seq in range(2, 2 + identity_watch.BACKS_IN_A_ROW):
        ear.beat(1, seq, 1)
    assert ear.signs == [ConflictKind.COUNTER_WENT_BACK]


def test_a_new_board_enrolled_anew_begins_its_boots_again() -> None:
    ear = Ear()
    ear.beat(40, 500, 3)
    for boot in (1, 2, 3):
        ear.beat(boot, 2, 1, epoch=2)
    ear.beat(40, 501, 3, epoch=1)
    assert ear.signs == []


def test_a_counter_used_twice_is_told_at_once_and_in_turns_means_two_devices() -> None:
    ear = Ear()
    ear.beat(6, 2, 1)
    ear.reuse(6, 1)
    assert ear.signs == [ConflictKind.COUNTER_REUSED]
    ear.beat(6, 3, 2)
    ear.reuse(6, 2)
    assert ear.signs[1:] == [ConflictKind.COUNTER_REUSED, ConflictKind.DUPLICATE_IDENTITY]


def test_signs_far_apart_prove_nothing_together() -> None:
    ear = Ear()
    ear.beat(7, 2, 1)
    ear.beat(5, 90, 4)
    ear.now_s = identity_watch.QUIET_S + 1
    ear.beat(7, 9, 2)
    ear.beat(5, 91, 4)
    assert ear.signs == []


@given(st.lists(st.sampled_from(["beat", "reconnect", "reboot"]), max_size=60), st.data())
def test_one_device_raises_nothing_whatever_it_does_and_with_one_frame_late(
    moves: list[str], data: st.DataObject
) -> None:
    boot, connection, seqs = 1, 1, count(2)
    said: list[tuple[int, int, int]] = []
    for move in moves:
        if move == "reboot":
            boot, connection, seqs = boot + 1, 1, count(2)
        elif move == "reconnect":
            connection += 1
        said.append((boot, next(seqs), connection))
    if len(said) > 1:
        late = said.pop(data.draw(st.integers(0, len(said) - 2)))
        said.append(late)
    ear = Ear()
    for frame in said:
        ear.beat(*frame)
    assert ear.signs == []
