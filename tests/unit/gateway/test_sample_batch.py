"""A batch closes by count or age, at once for a frame somebody waits for, and never grows beyond its room."""

from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest

from gateway.errors import BrokerUrlInvalid
from gateway.link import Frame, Link, LinkLimits, TlsFiles
from gateway.sample_batch import BatchLimits, SampleBatch

_NO_FILE = Path("/nonexistent")


def _now() -> datetime:
    return datetime(2026, 3, 2, tzinfo=UTC)


def _link(client_id: str = "gw-0", broker_url: str = "mqtts://broker:8883") -> Link:
    return Link(
        client_id=client_id,
        broker_url=broker_url,
        tls=TlsFiles(broker_ca=_NO_FILE, certificate=_NO_FILE, key=_NO_FILE),
        topic_filters=["v1/0/+/up/+"],
        limits=LinkLimits(),
        clock=_now,
        deliver=lambda _frames: (),
        resumed=lambda _link, _generation: None,
    )


LINK = _link()


def _frame(
    mid: int, *, message: str = "meter", link: Link = LINK, generation: int = 1, qos: int = 1
) -> Frame:
    topic = f"v1/0/p/up/{message}"
    return Frame(link, generation, mid, qos, redelivered=False, topic=topic, payload=b"", received_at=_now())


class Seconds:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def _batch(seconds: Seconds, *, max_frames: int = 3, capacity: int = 10) -> SampleBatch:
    limits = BatchLimits(max_frames=max_frames, max_age_s=0.05)
    return SampleBatch(limits=limits, capacity_frames=capacity, seconds=seconds)


def _mids(frames: list[Frame]) -> list[int]:
    return [frame.mid for frame in frames]


def _put(batch: SampleBatch, frame: Frame) -> bool:
    """Whether it found room."""
    return not batch.put_many([frame])


def test_a_full_count_closes_a_batch_in_order_of_arrival() -> None:
    batch = _batch(Seconds())
    for mid in range(1, 6):
        _put(batch, _frame(mid))
    assert _mids(batch.take(timeout_s=0)) == [1, 2, 3]
    assert batch.take(timeout_s=0) == []
    assert len(batch) == 2


def test_age_closes_a_batch_that_is_not_full() -> None:
    seconds = Seconds()
    batch = _batch(seconds)
    _put(batch, _frame(1))
    assert batch.take(timeout_s=0) == []
    seconds.now_s += 0.06
    assert _mids(batch.take(timeout_s=0)) == [1]


@pytest.mark.parametrize("message", ["boot", "start_ack", "settlement", "gone"])
def test_a_frame_somebody_waits_for_closes_a_batch_at_once(message: str) -> None:
    batch = _batch(Seconds())
    _put(batch, _frame(1))
    _put(batch, _frame(2, message=message))
    assert _mids(batch.take(timeout_s=0)) == [1, 2]
    _put(batch, _frame(3))
    assert batch.take(timeout_s=0) == []


def test_a_writer_that_waits_is_woken() -> None:
    limits = BatchLimits(max_frames=10, max_age_s=0.01)
    batch = SampleBatch(limits=limits, capacity_frames=10)
    taken: list[int] = []
    writer = Thread(target=lambda: taken.extend(_mids(batch.take(timeout_s=10))))
    writer.start()
    _put(batch, _frame(1))
    writer.join(5)
    assert taken == [1]


def test_beyond_its_room_a_frame_waits_until_some_are_taken() -> None:
    limits = BatchLimits(max_frames=2, max_age_s=0.05)
    batch = SampleBatch(limits=limits, capacity_frames=2, room_wait_s=10, seconds=Seconds())
    found: list[bool] = []

    def bring() -> None:
        found.extend(_put(batch, _frame(mid)) for mid in range(1, 7))

    link = Thread(target=bring)
    link.start()
    taken: list[int] = []
    while link.is_alive() or len(batch):
        taken += _mids(batch.take(timeout_s=0))
    link.join(5)
    assert (taken, found) == ([1, 2, 3, 4, 5, 6], [True] * 6)


def test_a_link_that_waits_for_room_is_let_go_when_the_batch_closes() -> None:
    limits = BatchLimits(max_frames=2, max_age_s=0.05)
    batch = SampleBatch(limits=limits, capacity_frames=1, room_wait_s=60)
    assert _put(batch, _frame(1))
    link = Thread(target=lambda: _put(batch, _frame(2)))
    link.start()
    batch.close()
    link.join(5)
    assert not link.is_alive()


def test_a_frame_nobody_was_promised_waits_for_no_room() -> None:
    limits = BatchLimits(max_frames=2, max_age_s=0.05)
    batch = SampleBatch(limits=limits, capacity_frames=1, room_wait_s=60)
    assert _put(batch, _frame(1))
    assert not _put(batch, _frame(2, qos=0))


def test_a_frame_for_which_no_room_is_made_in_time_is_refused() -> None:
    limits = BatchLimits(max_frames=3, max_age_s=0.05)
    batch = SampleBatch(limits=limits, capacity_frames=2, room_wait_s=0.01, seconds=Seconds())
    assert _put(batch, _frame(1))
    assert _put(batch, _frame(2))
    assert not _put(batch, _frame(3))
    batch.take(timeout_s=0)
    assert len(batch) == 2


def test_of_a_group_those_without_room_are_given_back_in_order() -> None:
    limits = BatchLimits(max_frames=10, max_age_s=0.05)
    batch = SampleBatch(limits=limits, capacity_frames=2, room_wait_s=0.01, seconds=Seconds())
    group = [_frame(1, qos=0), _frame(2), _frame(3), _frame(4, qos=0), _frame(5)]
    refused = batch.put_many(group)
    assert [frame.mid for frame in refused] == [3, 4, 5]
    batch.close()
    assert _mids(batch.take(timeout_s=0)) == [1, 2]


def test_a_group_larger_than_the_room_goes_in_as_room_is_made() -> None:
    limits = BatchLimits(max_frames=2, max_age_s=60)
    batch = SampleBatch(limits=limits, capacity_frames=3, room_wait_s=10)
    refused: list[Frame] = []
    link = Thread(target=lambda: refused.extend(batch.put_many([_frame(mid) for mid in range(1, 10)])))
    link.start()
    taken: list[int] = []
    while len(taken) < 8:
        taken += _mids(batch.take(timeout_s=10))
    link.join(5)
    batch.close()
    assert taken + _mids(batch.take(timeout_s=0)) == list(range(1, 10))
    assert refused == []


def test_a_group_s_age_is_that_of_what_is_left_of_it() -> None:
    seconds = Seconds()
    batch = _batch(seconds, max_frames=3)
    batch.put_many([_frame(1), _frame(2)])
    seconds.now_s += 0.03
    batch.put_many([_frame(3), _frame(4)])
    assert _mids(batch.take(timeout_s=0)) == [1, 2, 3]
    seconds.now_s += 0.04
    assert batch.take(timeout_s=0) == []
    seconds.now_s += 0.02
    assert _mids(batch.take(timeout_s=0)) == [4]


def test_an_urgent_frame_behind_a_full_batch_is_urgent_still() -> None:
    batch = _batch(Seconds(), max_frames=2)
    batch.put_many([_frame(1), _frame(2), _frame(3, message="boot"), _frame(4)])
    assert _mids(batch.take(timeout_s=0)) == [1, 2]
    assert _mids(batch.take(timeout_s=0)) == [3, 4]
    _put(batch, _frame(5))
    assert batch.take(timeout_s=0) == []


def test_frames_the_broker_repeats_on_a_new_connection_are_dropped() -> None:
    batch = _batch(Seconds(), max_frames=10)
    other = _link("gw-1")
    _put(batch, _frame(1))
    _put(batch, _frame(2, qos=0))
    _put(batch, _frame(3, link=other))
    _put(batch, _frame(4, message="boot"))
    batch.forget_unacknowledged(LINK, 2)
    _put(batch, _frame(5, generation=2))
    assert batch.take(timeout_s=0) == []
    batch.close()
    assert _mids(batch.take(timeout_s=0)) == [2, 3, 5]


def test_a_lane_taken_anew_drops_what_its_former_link_brought() -> None:
    batch = _batch(Seconds(), max_frames=10)
    _put(batch, _frame(1, generation=5))
    again = _link()
    batch.forget_unacknowledged(again, 1)
    _put(batch, _frame(2, link=again))
    batch.close()
    assert _mids(batch.take(timeout_s=0)) == [2]


def test_a_closed_batch_hands_out_what_waits_and_lets_the_rest_go() -> None:
    batch = _batch(Seconds())
    _put(batch, _frame(1))
    batch.close()
    assert _put(batch, _frame(2))
    assert _mids(batch.take(timeout_s=0)) == [1]
    assert batch.take(timeout_s=60) == []


@pytest.mark.parametrize(
    "url", ["mqtt://broker:1883", "broker", "mqtts://", "mqtts://broker:port", "mqtts://broker:8883/path", ""]
)
def test_a_link_refuses_an_address_without_tls_or_host(url: str) -> None:
    with pytest.raises(BrokerUrlInvalid):
        _link(broker_url=url)


def test_a_batch_that_took_the_writer_long_is_told_and_a_quick_one_is_not() -> None:
    seconds, told = Seconds(), list[float]()
    batch = SampleBatch(limits=BatchLimits(), capacity_frames=10, held_up=told.append, seconds=seconds)
    for busy_s in (0.5, 600.0):
        _put(batch, _frame(1, message="started"))
        assert batch.take(timeout_s=0)
        seconds.now_s += busy_s
        assert batch.take(timeout_s=0) == []
        seconds.now_s += 60
    assert told == [600.0]
