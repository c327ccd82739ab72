"""Meter samples: written once per frame, whatever comes twice.

A frame is keyed (pile, sampled_at); its samples come and go with it, so no key per sample is needed. Integers in the
device's units: 0.1 W, 0.1 Wh, 0.1 V, mA, 0.1 °C, thousandths.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from billing.rating import ChargingPeriod
from charging import events, live_readings, meter_rows
from charging.half_hours import SLOT, SLOT_EPOCH
from charging.meter_rows import MeterFrame
from charging.pile_clocks import believable


@dataclass(frozen=True)
class Written:
    """What a batch added: frames that were new, and their samples."""

    frames: int
    samples: int


@dataclass(frozen=True)
class CurvePoint:
    """One point of a session's curve; energy since start in 0.1 Wh, power in 0.1 W."""

    sampled_at: datetime
    elapsed_s: int
    power_dw: int
    voltage_dv: int
    current_ma: int
    energy_dwh: int
    temperature_dc: int
    phase: int


@dataclass(frozen=True)
class SlotReading:
    """Energy and time of a session up to the end of one half-hour slot, as the samples tell it."""

    slot_at: datetime
    energy_dwh: int
    elapsed_s: int


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


def curve(conn: Connection[TupleRow], session_id: UUID, *, most_points: int) -> list[CurvePoint]:
    """A session's curve in time order, thinned evenly to at most `most_points`; the last sample always stays."""
    with conn.cursor(row_factory=class_row(CurvePoint)) as cursor:
        return cursor.execute(
            """
            WITH numbered AS (
                SELECT sampled_at, elapsed_s, power_dw, voltage_dv, current_ma, energy_dwh, temperature_dc, phase,
                       row_number() OVER (ORDER BY sampled_at DESC) - 1 AS from_end, count(*) OVER () AS total
                  FROM meter_sample WHERE session_id = %(session_id)s)
            SELECT sampled_at, elapsed_s, power_dw, voltage_dv, current_ma, energy_dwh, temperature_dc, phase
              FROM numbered
             WHERE from_end %% greatest(1, (total + %(most_points)s - 1) / %(most_points)s) = 0
             ORDER BY sampled_at
            """,
            {"session_id": session_id, "most_points": most_points},
        ).fetchall()


def slots(conn: Connection[TupleRow], session_id: UUID, *, pile_id: str | None = None) -> list[SlotReading]:
    """A session's readings at the end of each half-hour slot it touched, in time order; of one pile, if it is given."""
    with conn.cursor(row_factory=class_row(SlotReading)) as cursor:
        return cursor.execute(
            """
            SELECT date_bin(%(slot)s, sampled_at, %(epoch)s) AS slot_at,
                   max(energy_dwh) AS energy_dwh, max(elapsed_s) AS elapsed_s
              FROM meter_sample
             WHERE session_id = %(session_id)s AND (%(pile_id)s::text IS NULL OR pile_id = %(pile_id)s)
             GROUP BY 1 ORDER BY 1
            """,
            {"slot": SLOT, "epoch": SLOT_EPOCH, "session_id": session_id, "pile_id": pile_id},
        ).fetchall()


def periods(slots: Sequence[SlotReading], *, started_at: datetime) -> list[ChargingPeriod]:
    """Cumulative slot readings as periods to rate; each stays within its slot, so that its price is that slot's."""
    found: list[ChargingPeriod] = []
    energy_dwh = elapsed_s = 0
    for slot in slots:
        begin = max(slot.slot_at, started_at)
        room_s = int((slot.slot_at + SLOT - begin).total_seconds())
        duration_s = max(0, min(slot.elapsed_s - elapsed_s, room_s))
        added_dwh = max(0, slot.energy_dwh - energy_dwh)
        if duration_s:
            found.append(
                ChargingPeriod(
                    started_at=begin,
                    duration_s=duration_s,
                    energy_dwh=added_dwh,
                    power_dw=added_dwh * 3600 // duration_s,
                )
            )
            energy_dwh, elapsed_s = max(energy_dwh, slot.energy_dwh), max(elapsed_s, slot.elapsed_s)
    return found


def highest_energy_dwh(conn: Connection[TupleRow], session_id: UUID, *, pile_id: str | None = None) -> int:
    """The most energy any sample of the session showed, in 0.1 Wh; 0 without samples; of one pile, if it is given."""
    row = conn.execute(
        """
        SELECT coalesce(max(energy_dwh), 0) FROM meter_sample
         WHERE session_id = %(session_id)s AND (%(pile_id)s::text IS NULL OR pile_id = %(pile_id)s)
        """,
        {"session_id": session_id, "pile_id": pile_id},
    ).fetchone()
    return int(row[0]) if row else 0


def highest_power_dw(conn: Connection[TupleRow], session_id: UUID, *, pile_id: str) -> int:
    """The most power any sample of the session from this pile showed, in 0.1 W; 0 without samples."""
    row = conn.execute(
        """
        SELECT coalesce(max(greatest(power_dw, power_max_dw)), 0) FROM meter_sample
         WHERE session_id = %(session_id)s AND pile_id = %(pile_id)s
        """,
        {"session_id": session_id, "pile_id": pile_id},
    ).fetchone()
    return int(row[0]) if row else 0


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
