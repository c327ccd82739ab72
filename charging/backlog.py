"""Frames of long ago kept apart from those of now, so that each transaction writes samples of one stretch of time.

TimescaleDB notes for every transaction the oldest and the newest instant it wrote to a table, and computes the load
reports anew for all that lies between. A pile that brings frames of last month beside the live ones of others would
have the month computed again, batch after batch. Frames without a date are not kept apart: `apart` says why.
"""

from collections.abc import Sequence
from datetime import timedelta
from itertools import chain

from charging.meter_frames import MeterFrame
from charging.pile_clocks import believable

LIVE_FOR = timedelta(hours=2)
"""What is younger has not been in a refresh, or only in the last one: the newest hour is left out, a new hour is taken
in when it is whole, within half an hour."""
MOST_DAYS = 8
"""As many days as a pile keeps frames of when it charges without a pause, and the begun one. Of more in one batch, the
newest go together."""


def apart(frames: Sequence[MeterFrame]) -> tuple[list[list[MeterFrame]], Sequence[MeterFrame]]:
    """The older frames by the day they are of, oldest first, and the others: each for a transaction of its own.

    Frames without a date that can be believed are among the others, however old: what begins their session must not be
    committed without what follows, or they would be placed elsewhere when the batch is tried again. Frames that are
    all of one day stay together: one that is stored alone is stored or refused as a whole.
    """
    older: list[MeterFrame] = []
    others: list[MeterFrame] = []
    for frame in frames:
        (older if _is_older(frame) else others).append(frame)
    days: dict[int, list[MeterFrame]] = {}
    for frame in older:
        days.setdefault(frame.sampled_at.toordinal(), []).append(frame)
    if not older or (len(days) == 1 and not others):
        return [], frames
    parts = [days[day] for day in sorted(days)]
    if len(parts) > MOST_DAYS:
        parts[MOST_DAYS - 1 :] = [list(chain.from_iterable(parts[MOST_DAYS - 1 :]))]
    return parts, others


def _is_older(frame: MeterFrame) -> bool:
    return (
        frame.dated
        and frame.received_at - frame.sampled_at > LIVE_FOR
        and believable(frame.sampled_at, now=frame.received_at)
    )
