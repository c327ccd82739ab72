"""A pile's record of samples: live ones first, kept ones in bursts, each until it is known to be stored."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_sim.configuration import UNSENT_FRAMES_MAX
from device_sim.sample_queue import (
    BURST,
    CALM,
    FIRST_WAIT_S,
    LIVE_WAIT_S,
    LONGEST_WAIT_S,
    OPEN_LIVE_MAX,
    SampleQueue,
)
from protocol.envelope import Counter
from protocol.words import ReceiptWish


class Mouth:
    """A queue with a link: says what may be said, counter by counter, on a clock moved by hand."""

    def __init__(self, kept: int = 0) -> None:
        self.now_s = 1000.0
        self.queue: SampleQueue[int] = SampleQueue((n, n) for n in range(1, kept + 1))
        self.seq = 0
        self.wishes: list[ReceiptWish] = []

    def say(self) -> dict[int, int]:
        """All that may be said now: the frames by the sequence number they left under."""
        said: dict[int, int] = {}
        while (leaving := self.queue.take(real_s=self.now_s)) is not None:
            self.seq += 1
            self.queue.left(leaving, Counter(1, self.seq), real_s=self.now_s)
            self.wishes.append(leaving.wish)
            said[self.seq] = leaving.kept.frame
        return said

    def frames(self) -> list[int]:
        return list(self.say().values())

    def receipt(self, *seqs: int) -> None:
        self.queue.receipted([Counter(1, seq) for seq in seqs], real_s=self.now_s)

    def live(self, *frames: int) -> None:
        for frame in frames:
            self.queue.put(frame, live=True)


def test_a_frame_of_now_goes_before_the_backlog_which_goes_oldest_first() -> None:
    mouth = Mouth(kept=3)
    mouth.live(4)
    assert mouth.frames() == [4, 1, 2, 3]
    assert mouth.wishes == [ReceiptWish.LATER, *[ReceiptWish.NOW] * 3]


def test_no_more_is_said_of_a_backlog_than_one_burst_without_receipts() -> None:
    mouth = Mouth(kept=100)
    said = mouth.say()
    assert len(said) == BURST
    mouth.now_s += FIRST_WAIT_S - 1
    assert mouth.say() == {}
    mouth.receipt(*list(said)[:-1])
    mouth.now_s += 5
    assert mouth.say() == {}
    mouth.receipt(list(said)[-1])


def test_a_burst_follows_after_five_times_the_time_the_last_one_took() -> None:
    mouth = Mouth(kept=100)
    said = mouth.say()
    mouth.now_s += 1.0
    mouth.receipt(*said)
    due_s = mouth.queue.next_s()
    assert due_s is not None
    assert due_s == mouth.now_s - 1.0 + CALM
    mouth.now_s = due_s - 0.01
    assert mouth.say() == {}
    mouth.now_s = due_s
    assert mouth.frames() == list(range(BURST + 1, 2 * BURST + 1))


def test_however_soon_receipts_come_a_backlog_keeps_the_pace() -> None:
    mouth = Mouth(kept=1000)
    frames = 0
    for _ in range(1000):
        said = mouth.say()
        frames += len(said)
        mouth.receipt(*said)
        mouth.now_s += 0.01
    assert 10 * 20 <= frames <= 10 * 20 + BURST


def test_frames_of_now_are_held_back_once_too_many_are_open_and_said_as_kept_ones() -> None:
    mouth = Mouth()
    mouth.live(*range(OPEN_LIVE_MAX + 3))
    said = mouth.say()
    assert len(said) == OPEN_LIVE_MAX + 3
    assert mouth.wishes[-3:] == [ReceiptWish.NOW] * 3
    assert mouth.queue.open_frames == OPEN_LIVE_MAX + 3
    mouth.live(99)
    mouth.receipt(*said)
    mouth.now_s += 60
    assert mouth.frames() == [99]


def test_what_was_said_before_a_receipted_frame_and_has_no_receipt_is_said_again() -> None:
    mouth = Mouth(kept=3)
    mouth.live(4)
    said = mouth.say()
    mouth.receipt(*[seq for seq, frame in said.items() if frame == 2])
    assert sorted(said.values()) == [1, 2, 3, 4]
    mouth.receipt(*[seq for seq, frame in said.items() if frame == 3])
    mouth.now_s += 60
    assert mouth.frames() == [1, 4]


def test_without_any_receipt_one_frame_is_said_again_ever_more_seldom() -> None:
    mouth = Mouth(kept=100)
    mouth.say()
    waits: list[float] = []
    for _ in range(8):
        since_s = mouth.now_s
        due_s = mouth.queue.next_s()
        assert due_s is not None
        mouth.now_s = due_s
        assert len(mouth.frames()) == 1
        waits.append(due_s - since_s)
    assert waits == [10, 20, 40, 80, 160, LONGEST_WAIT_S, LONGEST_WAIT_S, LONGEST_WAIT_S]


def test_a_frame_of_now_that_is_open_for_long_counts_as_kept() -> None:
    mouth = Mouth()
    mouth.live(1, 2)
    mouth.say()
    assert mouth.queue.next_s() == mouth.now_s + LIVE_WAIT_S
    mouth.now_s += LIVE_WAIT_S
    assert mouth.frames() == [1, 2]
    mouth.live(3)
    said = mouth.say()
    assert list(said.values()) == [3]
    assert mouth.wishes[-3:] == [ReceiptWish.NOW] * 3
    mouth.receipt(*said)
    mouth.live(4)
    assert mouth.frames()[0] == 4
    assert ReceiptWish.LATER in mouth.wishes[3:]


def test_a_frame_of_now_counts_as_kept_after_600_s_whatever_else_is_open() -> None:
    mouth = Mouth(kept=1)
    mouth.live(2)
    mouth.say()
    mouth.now_s += LIVE_WAIT_S
    mouth.say()
    assert mouth.queue.open_kept == mouth.queue.open_frames
    due_s = mouth.queue.next_s()
    assert due_s is not None
    assert due_s > mouth.now_s


@pytest.mark.parametrize("charging", [True, False])
@pytest.mark.parametrize("faulty", [1, 3, BURST, 20])
def test_frames_that_never_get_a_receipt_block_no_others_and_are_said_seldom(
    faulty: int, charging: bool
) -> None:
    mouth = Mouth(kept=100)
    at_fault = set(range(1, faulty + 1))
    stored: set[int] = set()
    times = dict.fromkeys(at_fault, 0)
    through_s = None
    for second in range(3600):
        if charging and second % 30 == 0:
            mouth.live(1000 + second)
        said = mouth.say()
        sound = {seq: frame for seq, frame in said.items() if frame not in at_fault}
        for frame in set(said.values()) & at_fault:
            times[frame] += 1
        stored.update(sound.values())
        mouth.now_s += 1
        if sound:
            mouth.receipt(*sound)
        if through_s is None and stored >= set(range(faulty + 1, 101)):
            through_s = second
    assert through_s is not None
    # Where only frames at fault were said the platform is as good as away, and others are tried ever more seldom.
    assert through_s < (300 if charging or faulty <= BURST else 3600)
    assert all(1 <= count <= 24 for count in times.values())
    mouth.now_s += LONGEST_WAIT_S
    for _ in range(faulty):
        said = mouth.say()
        stored.update(said.values())
        mouth.now_s += LONGEST_WAIT_S
        if said:
            mouth.receipt(*said)
    assert stored >= set(range(1, 101))


def test_what_the_broker_did_not_take_is_said_again() -> None:
    mouth = Mouth(kept=2)
    mouth.say()
    mouth.queue.put_back(Counter(1, mouth.seq))
    mouth.receipt(mouth.seq - 1)
    mouth.now_s += 60
    assert mouth.frames() == [2]


def test_after_a_lost_link_all_that_is_open_is_said_again_in_order() -> None:
    mouth = Mouth(kept=20)
    mouth.live(21, 22)
    mouth.say()
    mouth.queue.link_lost()
    assert len(mouth.queue) == 22
    assert mouth.frames() == list(range(1, BURST + 1))


def test_a_receipt_that_comes_twice_or_for_something_else_changes_nothing() -> None:
    mouth = Mouth(kept=2)
    said = mouth.say()
    mouth.receipt(*said)
    mouth.receipt(*said)
    mouth.queue.receipted([Counter(7, 7)], real_s=mouth.now_s)
    assert (len(mouth.queue), mouth.queue.open_frames) == (0, 0)


def test_of_more_than_there_is_room_for_the_oldest_that_is_not_open_goes() -> None:
    mouth = Mouth()
    for frame in range(UNSENT_FRAMES_MAX + 2):
        mouth.queue.put(frame, live=False)
    assert len(mouth.queue) == UNSENT_FRAMES_MAX
    assert mouth.queue.lost == [1, 2]
    assert mouth.frames()[0] == 2
    mouth.queue.put(UNSENT_FRAMES_MAX + 2, live=False)
    assert mouth.queue.lost == [1, 2, 3 + BURST]
    assert len(mouth.queue) + mouth.queue.open_frames == UNSENT_FRAMES_MAX


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_may_not_be_said_yet_is_due_later(data: st.DataObject) -> None:
    """Whatever has happened, a pile that has nothing to say may sleep until the instant it is told."""
    mouth = Mouth(kept=data.draw(st.integers(0, 30)))
    open_seqs: list[int] = []
    for frame in range(data.draw(st.integers(1, 40))):
        if data.draw(st.booleans()):
            mouth.live(1000 + frame)
        open_seqs += mouth.say()
        due_s = mouth.queue.next_s()
        assert due_s is None or due_s > mouth.now_s
        assert due_s is not None or not (len(mouth.queue) or mouth.queue.open_frames)
        event = data.draw(st.sampled_from(["receipt", "sleep", "link", "pass"]))
        if event == "receipt" and open_seqs:
            mouth.receipt(data.draw(st.sampled_from(open_seqs)))
        elif event == "sleep" and due_s is not None:
            mouth.now_s = due_s
        elif event == "link":
            mouth.queue.link_lost()
        mouth.now_s += data.draw(st.sampled_from([0, 0.05, 1, 11, 400, 601]))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_every_frame_gets_through_whatever_is_lost_on_the_way(data: st.DataObject) -> None:
    """Frames, receipts and links are lost at random; nothing is forgotten that the platform does not have."""
    kept = data.draw(st.integers(0, 40))
    mouth = Mouth(kept=kept)
    stored: set[int] = set()
    total = kept
    for _ in range(data.draw(st.integers(0, 60))):
        if data.draw(st.booleans()):
            total += 1
            mouth.live(total)
        said = mouth.say()
        arrived = {seq: frame for seq, frame in said.items() if data.draw(st.booleans())}
        stored.update(arrived.values())
        mouth.now_s += data.draw(st.sampled_from([0.05, 1, 11, 400]))
        if data.draw(st.booleans()):
            mouth.receipt(*arrived)
        if data.draw(st.integers(0, 9)) == 0:
            mouth.queue.link_lost()
    for _ in range(500):
        if not len(mouth.queue) and not mouth.queue.open_frames:
            break
        said = mouth.say()
        stored.update(said.values())
        mouth.now_s += 60
        if said:
            mouth.receipt(*said)
        mouth.now_s = max(mouth.now_s, mouth.queue.next_s() or 0)
    assert stored == set(range(1, total + 1))
    assert (len(mouth.queue), mouth.queue.open_frames) == (0, 0)


@pytest.mark.parametrize("minutes", [10, 60, 24 * 60])
def test_while_nothing_is_stored_a_pile_says_little(minutes: int) -> None:
    mouth = Mouth(kept=1440)
    said = 0
    for minute in range(minutes):
        mouth.live(2000 + minute)
        for _ in range(60):
            said += len(mouth.say())
            mouth.now_s += 1
    assert mouth.queue.open_frames <= OPEN_LIVE_MAX + BURST
    assert said <= OPEN_LIVE_MAX + BURST + 6 + minutes / 5
