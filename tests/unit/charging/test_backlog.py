"""Which frames of a batch are written together: those of now, and those of one day long ago."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from charging import backlog, pile_clocks
from charging.meter_rows import MeterFrame

NOW = datetime(2026, 5, 4, 3, tzinfo=UTC)


def _frames(*ages: timedelta, dated: bool = True) -> list[MeterFrame]:
    return [
        MeterFrame(f"pile-{number}", NOW - age, NOW, samples=[], dated=dated)
        for number, age in enumerate(ages)
    ]


def _names(parts: Sequence[Sequence[MeterFrame]]) -> list[list[str]]:
    return [[frame.pile_id for frame in part] for part in parts]


def test_frames_of_now_stay_as_they_came() -> None:
    frames = _frames(timedelta(0), -timedelta(minutes=9), backlog.LIVE_FOR)
    assert backlog.apart(frames) == ([], frames)


def test_each_day_of_long_ago_is_a_part_and_the_live_frames_another() -> None:
    frames = _frames(
        timedelta(0),
        timedelta(days=30),
        timedelta(hours=4),
        timedelta(hours=2.5),
        timedelta(days=30, hours=2),
    )
    older, live = backlog.apart(frames)
    assert _names(older) == [["pile-1", "pile-4"], ["pile-2"], ["pile-3"]]
    assert _names([live]) == [["pile-0"]]


def test_frames_without_a_date_to_believe_stay_with_those_of_now() -> None:
    frames = [
        *_frames(timedelta(0), timedelta(days=1), dated=False),
        *_frames(timedelta(0), timedelta(days=1), pile_clocks.OLDEST + timedelta(days=1)),
    ]
    older, others = backlog.apart(frames)
    assert older == [[frames[3]]]
    assert others == [*frames[:3], frames[4]]


def test_frames_that_are_all_of_one_day_are_not_stored_apart() -> None:
    frames = _frames(timedelta(days=3), timedelta(days=3, hours=1))
    assert backlog.apart(frames) == ([], frames)


def test_a_batch_of_very_many_days_is_a_bounded_number_of_parts() -> None:
    frames = _frames(*(timedelta(days=age) for age in range(40)))
    older, live = backlog.apart(frames)
    assert [len(part) for part in older] == [1] * (backlog.MOST_DAYS - 1) + [40 - backlog.MOST_DAYS]
    assert [frame.pile_id for part in older for frame in part] == [f"pile-{age}" for age in range(39, 0, -1)]
    assert len(live) == 1
