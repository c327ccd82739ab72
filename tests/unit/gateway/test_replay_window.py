"""The replay window is exact about what it remembers, and forgets the oldest first."""

from hypothesis import given
from hypothesis import strategies as st

from gateway import replay_window
from gateway.replay_window import ReplayWindow


def _commit(
    window: ReplayWindow, seq: int, *, boot: int = 1, epoch: int = 1, pile_id: str = "p", mark: int = 0
) -> None:
    window.commit(pile_id, epoch=epoch, boot=boot, seq=seq, mark=mark)


def _seen(window: ReplayWindow, seq: int, *, boot: int = 1, epoch: int = 1, pile_id: str = "p") -> bool:
    return window.seen(pile_id, epoch=epoch, boot=boot, seq=seq)


@given(st.lists(st.integers(min_value=0, max_value=60), max_size=80))
def test_exactly_the_committed_numbers_are_seen(seqs: list[int]) -> None:
    window = ReplayWindow()
    for seq in seqs:
        _commit(window, seq)
    assert {seq for seq in range(62) if _seen(window, seq)} == set(seqs)


@given(st.lists(st.integers(min_value=0, max_value=2**32 - 1), max_size=300))
def test_what_was_never_committed_is_never_seen(seqs: list[int]) -> None:
    window = ReplayWindow()
    for seq in seqs:
        _commit(window, seq)
    neighbours = {seq + 1 for seq in seqs} - set(seqs)
    assert not any(_seen(window, seq) for seq in neighbours)


def test_boots_epochs_and_piles_are_told_apart() -> None:
    window = ReplayWindow()
    _commit(window, 7)
    assert _seen(window, 7)
    assert not _seen(window, 7, boot=2)
    assert not _seen(window, 7, epoch=2)
    assert not _seen(window, 7, pile_id="q")


def test_a_last_will_sealed_long_before_is_not_taken_for_seen() -> None:
    window = ReplayWindow()
    for seq in range(2, 100_000):
        _commit(window, seq)
    assert not _seen(window, 1)
    assert _seen(window, 2)


def test_with_too_many_gaps_the_oldest_run_is_forgotten() -> None:
    window = ReplayWindow()
    for seq in range(0, 2 * (replay_window.MAX_RUNS + 1), 2):
        _commit(window, seq)
    assert not _seen(window, 0)
    assert _seen(window, 2)
    assert _seen(window, 2 * replay_window.MAX_RUNS)


def test_the_oldest_boot_and_the_longest_silent_pile_are_forgotten() -> None:
    window = ReplayWindow(max_piles=2)
    for boot in range(replay_window.MAX_BOOTS + 1):
        _commit(window, 1, boot=boot)
    assert not _seen(window, 1, boot=0)
    assert _seen(window, 1, boot=1)
    _commit(window, 1, pile_id="q")
    _commit(window, 2, boot=1)
    _commit(window, 1, pile_id="r")
    assert not _seen(window, 1, pile_id="q")
    assert _seen(window, 2)


def _differs(window: ReplayWindow, seq: int, *, mark: int) -> bool:
    return window.differs("p", epoch=1, boot=1, seq=seq, mark=mark)


def test_another_content_under_a_seen_number_is_told_from_a_repeat() -> None:
    window = ReplayWindow()
    _commit(window, 7, mark=111)
    assert not _differs(window, 7, mark=111)
    assert _differs(window, 7, mark=222)
    assert not _differs(window, 8, mark=222)


def test_contents_are_remembered_of_the_newest_numbers_only() -> None:
    window = ReplayWindow()
    for seq in range(2 * replay_window.MARKS):
        _commit(window, seq, mark=seq)
    _commit(window, 0, mark=5)
    assert not _differs(window, 0, mark=9)
    assert _differs(window, replay_window.MARKS, mark=9)
