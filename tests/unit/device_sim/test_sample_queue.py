"""A pile's record of samples: live ones first, and what a dying broker may have forgotten is said again."""

from device_sim import sample_queue
from device_sim.configuration import UNSENT_FRAMES_MAX
from device_sim.sample_queue import KEPT_S, SampleQueue
from protocol.messages import MeterFrame
from protocol.words import ClockState


def frame(number: int) -> MeterFrame:
    return MeterFrame(number, (), ClockState.SYNCED)


def said_now(queue: SampleQueue, *, real_s: float) -> list[int]:
    """Say everything that waits; the broker takes it at once."""
    numbers: list[int] = []
    while (taken := queue.take()) is not None:
        queue.said(taken, real_s=real_s)
        numbers.append(taken.sampled_at_ms)
    return numbers


def test_a_frame_of_now_goes_before_the_backlog_which_goes_oldest_first() -> None:
    queue = SampleQueue()
    for number in (1, 2, 3):
        queue.put(frame(number), live=False)
    queue.put(frame(4), live=True)
    assert said_now(queue, real_s=0) == [4, 1, 2, 3]


def test_what_the_broker_took_shortly_before_the_link_broke_is_said_again_and_older_is_not() -> None:
    queue = SampleQueue()
    for number, real_s in ((1, 0.0), (2, 10.0), (3, KEPT_S + 5)):
        queue.put(frame(number), live=True)
        said_now(queue, real_s=real_s)
    queue.put(frame(4), live=True)
    queue.link_lost()
    assert len(queue) == 3
    assert said_now(queue, real_s=KEPT_S + 6) == [2, 3, 4]


def test_a_frame_said_again_is_kept_again() -> None:
    queue = SampleQueue()
    queue.put(frame(1), live=True)
    for real_s in (0.0, 1.0, 2.0):
        assert said_now(queue, real_s=real_s) == [1]
        queue.link_lost()


def test_a_frame_the_broker_did_not_take_is_said_once_and_after_those_before_it() -> None:
    queue = SampleQueue()
    for number in (1, 2):
        queue.put(frame(number), live=True)
    first = queue.take()
    assert first is not None
    queue.said(first, real_s=0)
    second = queue.take()
    assert second is not None
    queue.put_back(second)
    queue.link_lost()
    assert said_now(queue, real_s=1) == [1, 2]


def test_what_is_said_again_takes_no_room_from_what_was_never_sent() -> None:
    queue = SampleQueue()
    queue.put(frame(0), live=True)
    said_now(queue, real_s=0)
    for number in range(1, UNSENT_FRAMES_MAX + 1):
        queue.put(frame(number), live=False)
    queue.link_lost()
    assert (len(queue), queue.lost) == (UNSENT_FRAMES_MAX, 0)
    assert said_now(queue, real_s=1)[0] == 1


def test_no_more_is_kept_than_there_is_room_for() -> None:
    queue = SampleQueue()
    for number in range(sample_queue.KEPT_FRAMES_MAX + 10):
        queue.put(frame(number), live=True)
        said_now(queue, real_s=0)
    queue.link_lost()
    assert len(queue) == sample_queue.KEPT_FRAMES_MAX
