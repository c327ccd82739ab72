"""Frames of long ago kept apart from those of now, so that each transaction writes samples of one stretch of time.

TimescaleDB notes for every transaction the oldest and the newest instant it wrote to a table, and computes the load
reports anew for all that lies between. A pile that brings frames of last month beside the live ones of others would
have the month computed again, batch after batch.
"""

from collections.abc import Sequence
from datetime import timedelta
from itertools import chain

from charging.meter_rows import MeterFrame

LIVE_FOR = timedelta(hours=2)
"""What is younger has not been in a refresh, or only in the last one: the newest hour is left out, a new hour is taken
in when it is whole, within half an hour."""
MOST_DAYS = 8
"""As many days as a pile keeps frames of when it charges without a pause, and the begun one. Of more in one batch, the
newest go together."""


def apart(frames: Sequence[MeterFrame]) -> tuple[list[list[MeterFrame]], Sequence[MeterFrame]]:
    """The older frames by the day they are of, oldest first, and the live ones: each for a transaction of its own.

    Frames without a date are nearly always of before a power cut, so they come before all others, together.
    """
    older = [frame for frame in frames if not frame.dated or frame.received_at - frame.sampled_at > LIVE_FOR]
    if not older:
        return [], frames
    days: dict[int, list[MeterFrame]] = {}
    for frame in older:
        days.setdefault(_day(frame), []).append(frame)
    parts = [days[day] for day in sorted(days)]
    if len(parts) > MOST_DAYS:
        parts[MOST_DAYS - 1 :] = [list(chain.from_iterable(parts[MOST_DAYS - 1 :]))]
    told = {id(frame) for frame in older}
    return parts, [frame for frame in frames if id(frame) not in told]


def _day(frame: MeterFrame) -> int:
    """The day's number, in UTC as the tables are cut; of none for a frame without a date."""
    return frame.sampled_at.toordinal() if frame.dated else -1
