"""Meter samples: written once per frame, whatever comes twice.

A frame is keyed (pile, sampled_at); its samples come and go with it, so no key per sample is needed. Integers in the
device's units: 0.1 W, 0.1 Wh, 0.1 V, mA, 0.1 °C, thousandths.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from charging import events, live_readings, meter_rows
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

    A frame without a date, or with an unbelievable one, belongs where its first known session, begun at an instant we
    know, was so many seconds old; without such a session, where it arrived.
    A sample is proof that power flows, so a session that was still starting is charging from then on.

    `takes_copy` is false only for a server without COPY FROM STDIN; the rows are the same.
    """
    fresh = meter_rows.claim(conn, _dated(conn, _doubted(conn, frames)))
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


def _dated(conn: Connection[TupleRow], frames: Sequence[MeterFrame]) -> Sequence[MeterFrame]:
    undated = [frame for frame in frames if not frame.dated]
    if not undated:
        return frames
    rows = conn.execute(
        """
        SELECT session_id, started_at FROM charging_session
         WHERE session_id = ANY(%(session_ids)s) AND pile_id = ANY(%(pile_ids)s) AND started_at IS NOT NULL
        """,
        {
            "session_ids": [sample.session_id for frame in undated for sample in frame.samples],
            "pile_ids": [frame.pile_id for frame in undated],
        },
    ).fetchall()
    started_at: dict[UUID, datetime] = dict(rows)

    def instant(frame: MeterFrame) -> datetime:
        if frame.dated:
            return frame.sampled_at
        known = (sample for sample in frame.samples if sample.session_id in started_at)
        sample = next(known, None)
        if sample is None:
            return frame.received_at
        at = started_at[sample.session_id] + timedelta(seconds=sample.elapsed_s)
        return at if believable(at, now=frame.received_at) else frame.received_at

    return [frame._replace(sampled_at=instant(frame)) for frame in frames]
