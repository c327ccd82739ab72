"""Meter samples: written once per frame, whatever comes twice.

A frame is keyed (pile, sampled_at); its samples come and go with it, so no key per sample is needed. Integers in the
device's units: 0.1 W, 0.1 Wh, 0.1 V, mA, 0.1 °C, thousandths.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import Connection
from psycopg.rows import TupleRow

from charging import events, live_readings, meter_rows, undated_frames
from charging.meter_frames import MeterFrame
from charging.pile_clocks import believable


@dataclass(frozen=True)
class Written:
    """What a batch added: frames that were new, and their samples."""

    frames: int
    samples: int


def write_batch(
    conn: Connection[TupleRow], frames: Sequence[MeterFrame], *, takes_copy: bool = True
) -> Written:
    """Store the frames that are new with all their samples, and tell whoever watches the sessions.

    A frame without a date, or with an unbelievable one, belongs where its first session that has a start was so many
    seconds old; without such a session, where its first copy arrived.
    A sample is proof that power flows, so a session that was still starting is charging from then on.

    `takes_copy` is false only for a server without COPY FROM STDIN; the rows are the same.
    """
    fresh = meter_rows.claim(conn, undated_frames.placed(conn, _doubted(conn, frames)))
    samples = sum(len(frame.samples) for frame in fresh)
    if samples:
        (meter_rows.copy if takes_copy else meter_rows.insert)(conn, fresh)
        live_readings.tell(conn, fresh)
    return Written(len(fresh), samples)


def _doubted(conn: Connection[TupleRow], frames: Sequence[MeterFrame]) -> Sequence[MeterFrame]:
    """The frames, those with an unbelievable date as if they had none."""
    wrong = {
        frame.pile_id: frame
        for frame in frames
        if frame.dated and not believable(frame.sampled_at, now=frame.received_at)
    }
    if not wrong:
        return frames
    for pile_id, frame in sorted(wrong.items()):
        events.clock_wrong(conn, pile_id=pile_id, claim=frame.sampled_at, now=frame.received_at)
    return [
        frame if believable(frame.sampled_at, now=frame.received_at) else frame._replace(dated=False)
        for frame in frames
    ]
