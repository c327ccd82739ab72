"""What the samples tell of a session: its curve, its half hours, its highest readings.

Samples are found by pile and time. A session's span is a little wider than the session: within it lie all samples of a
pile whose clock is right. A pile whose clock is wrong by hours dates them elsewhere, so whoever bills looks everywhere
before samples are held to be missing.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from billing.rating import ChargingPeriod
from charging import pile_clocks
from charging.half_hours import SLOT, SLOT_EPOCH
from charging.sessions import ChargingSession

SLACK = timedelta(hours=1)
"""Six times what a pile's clock may be off before it counts as wrong."""
NEWEST_SAMPLES = 40
"""A pile's last two frames with all of 20 ports: who charges has a sample among them. Asked for a session's newest
sample without such a bound, the server gathers all of the pile's hours and sorts them."""


@dataclass(frozen=True)
class SampleSpan:
    """Where a session's samples are looked for: those of its pile, from `since` until before `until`."""

    session_id: UUID
    pile_id: str
    since: datetime
    until: datetime


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


def span_of(session: ChargingSession) -> SampleSpan:
    """From the order to the end, or to the latest end there can be, with SLACK on both sides."""
    begin = session.started_at or session.paid_at or session.created_at
    end = session.ended_at or begin + timedelta(seconds=session.limit_s)
    return SampleSpan(
        session.session_id,
        session.pile_id,
        since=min(begin, session.created_at) - SLACK,
        until=max(begin, end) + SLACK,
    )


def everywhere(session: ChargingSession, *, now: datetime) -> SampleSpan:
    """All instants a sample of the session can bear: slow, and right whatever the pile's clock said."""
    begin = min(session.created_at, session.started_at or session.created_at)
    return SampleSpan(
        session.session_id,
        session.pile_id,
        since=begin - pile_clocks.OLDEST,
        until=now + pile_clocks.FARTHEST_AHEAD,
    )


def curve(conn: Connection[TupleRow], span: SampleSpan, *, most_points: int) -> list[CurvePoint]:
    """A session's curve in time order, thinned evenly to at most `most_points`; the last sample always stays."""
    with conn.cursor(row_factory=class_row(CurvePoint)) as cursor:
        return cursor.execute(
            """
            WITH numbered AS (
                SELECT sampled_at, elapsed_s, power_dw, voltage_dv, current_ma, energy_dwh, temperature_dc, phase,
                       row_number() OVER (ORDER BY sampled_at DESC) - 1 AS from_end, count(*) OVER () AS total
                  FROM meter_sample
                 WHERE session_id = %(session_id)s AND pile_id = %(pile_id)s
                   AND sampled_at >= %(since)s AND sampled_at < %(until)s)
            SELECT sampled_at, elapsed_s, power_dw, voltage_dv, current_ma, energy_dwh, temperature_dc, phase
              FROM numbered
             WHERE from_end %% greatest(1, (total + %(most_points)s - 1) / %(most_points)s) = 0
             ORDER BY sampled_at
            """,
            {**_where(span), "most_points": most_points},
        ).fetchall()


def slots(conn: Connection[TupleRow], span: SampleSpan) -> list[SlotReading]:
    """A session's readings at the end of each half-hour slot it touched, in time order."""
    with conn.cursor(row_factory=class_row(SlotReading)) as cursor:
        return cursor.execute(
            """
            SELECT date_bin(%(slot)s, sampled_at, %(epoch)s) AS slot_at,
                   max(energy_dwh) AS energy_dwh, max(elapsed_s) AS elapsed_s
              FROM meter_sample
             WHERE session_id = %(session_id)s AND pile_id = %(pile_id)s
               AND sampled_at >= %(since)s AND sampled_at < %(until)s
             GROUP BY 1 ORDER BY 1
            """,
            {**_where(span), "slot": SLOT, "epoch": SLOT_EPOCH},
        ).fetchall()


def slots_of_many(conn: Connection[TupleRow], spans: Collection[SampleSpan]) -> dict[UUID, list[SlotReading]]:
    """The same of many sessions in one query; a session without samples has no slots."""
    found: dict[UUID, list[SlotReading]] = defaultdict(list)
    if not spans:
        return found
    # The outermost bounds are known when the query is planned, so that chunks beyond them are left out.
    rows = conn.execute(
        """
        SELECT span.session_id, slot.slot_at, slot.energy_dwh, slot.elapsed_s
          FROM unnest(%(session_ids)s::uuid[], %(pile_ids)s::text[], %(sinces)s::timestamptz[],
                      %(untils)s::timestamptz[]) AS span (session_id, pile_id, since, until)
         CROSS JOIN LATERAL (
            SELECT date_bin(%(slot)s, sampled_at, %(epoch)s) AS slot_at,
                   max(energy_dwh) AS energy_dwh, max(elapsed_s) AS elapsed_s
              FROM meter_sample
             WHERE meter_sample.session_id = span.session_id AND meter_sample.pile_id = span.pile_id
               AND sampled_at >= span.since AND sampled_at < span.until
               AND sampled_at >= %(since)s AND sampled_at < %(until)s
             GROUP BY 1) AS slot
         ORDER BY 1, 2
        """,
        {
            "session_ids": [span.session_id for span in spans],
            "pile_ids": [span.pile_id for span in spans],
            "sinces": [span.since for span in spans],
            "untils": [span.until for span in spans],
            "since": min(span.since for span in spans),
            "until": max(span.until for span in spans),
            "slot": SLOT,
            "epoch": SLOT_EPOCH,
        },
    )
    for session_id, slot_at, energy_dwh, elapsed_s in rows:
        found[session_id].append(SlotReading(slot_at, energy_dwh, elapsed_s))
    return found


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


def highest_energy_dwh(conn: Connection[TupleRow], span: SampleSpan) -> int:
    """The most energy any sample of the session showed, in 0.1 Wh; 0 without samples."""
    row = conn.execute(
        """
        SELECT coalesce(max(energy_dwh), 0) FROM meter_sample
         WHERE session_id = %(session_id)s AND pile_id = %(pile_id)s
           AND sampled_at >= %(since)s AND sampled_at < %(until)s
        """,
        _where(span),
    ).fetchone()
    return int(row[0]) if row else 0


def highest_power_dw(conn: Connection[TupleRow], span: SampleSpan) -> int:
    """The most power any sample of the session showed, in 0.1 W; 0 without samples."""
    row = conn.execute(
        """
        SELECT coalesce(max(greatest(power_dw, power_max_dw)), 0) FROM meter_sample
         WHERE session_id = %(session_id)s AND pile_id = %(pile_id)s
           AND sampled_at >= %(since)s AND sampled_at < %(until)s
        """,
        _where(span),
    ).fetchone()
    return int(row[0]) if row else 0


def _where(span: SampleSpan) -> dict[str, object]:
    return {
        "session_id": span.session_id,
        "pile_id": span.pile_id,
        "since": span.since,
        "until": span.until,
    }
