"""Live readings: what the samples of a batch mean to those who look now. Nothing is stored for them.

A session's newest reading is its newest sample, read by index where somebody asks. Whoever wants to be told says so
with a watch; a batch tells only of watched sessions, many in one notification, by the channel READINGS. A change of a
session's state, or anything else a reading does not tell, goes by the channel CHANGES: there the session's id.
"""

import base64
import struct
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from charging import half_hours, session_curves, starts
from charging.meter_frames import MeterFrame, PortSample
from charging.session_states import UNDER_WAY
from charging.sessions import ChargingSession
from database.packed_arrays import TextArray

CHANGES = "session_live"
"""NOTIFY at commit, with the id of a session: whoever shows it loads it anew."""
READINGS = "session_readings"
"""NOTIFY at commit, with packed readings."""

_PACKED = struct.Struct("!16sqiqiB")
_PAYLOAD_BYTES = 7_900
"""PostgreSQL takes payloads of less than 8,000 bytes."""
_MOST_PACKED = _PAYLOAD_BYTES * 3 // 4 // _PACKED.size
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_Told = list[tuple[MeterFrame, PortSample]]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one sample tells of a session: power in 0.1 W, energy since start in 0.1 Wh, time since start in s."""

    session_id: UUID
    sampled_at: datetime
    elapsed_s: int
    power_dw: int
    energy_dwh: int
    phase: int

    @property
    def slot_at(self) -> datetime:
        """When the half-hour slot of the sample begins."""
        return half_hours.slot_at(self.sampled_at)


def tell(conn: Connection[TupleRow], frames: Sequence[MeterFrame]) -> None:
    """Begin the sessions that the samples of these new frames prove to be charging, and tell of those watched.

    Costs one look-up by pile, and nothing more for sessions that nobody watches.
    """
    rows = (
        conn.cursor(binary=True)
        .execute(
            """
            SELECT pile_id, session_id, true AS begins
              FROM charging_session
             WHERE pile_id = ANY(%(pile_ids)s)
               AND state IN ('paid', 'awaiting_code', 'code_lapsed', 'starting', 'pending_plug')
             UNION ALL
            SELECT pile_id, session_id, false
              FROM session_watch WHERE pile_id = ANY(%(pile_ids)s) AND watched_until > statement_timestamp()
            """,
            {"pile_ids": TextArray.of(list({frame.pile_id for frame in frames}))},
        )
        .fetchall()
    )
    if not rows:
        return
    told = _of_sessions(frames, rows)
    _begin(conn, [told[key] for _, session_id, begins in rows if begins and (key := session_id.int) in told])
    _notify(
        conn, [told[key] for _, session_id, begins in rows if not begins and (key := session_id.int) in told]
    )


def watch(conn: Connection[TupleRow], session_ids: Collection[UUID], *, life_s: float) -> None:
    """Have these sessions told of for `life_s` seconds from now, by the database's clock, and sweep lapsed watches.

    A batch that looked before this is committed tells nothing.
    """
    conn.execute(
        """
        WITH swept AS (
            DELETE FROM session_watch
             WHERE (pile_id, session_id) IN (
                   SELECT pile_id, session_id FROM session_watch
                    WHERE watched_until < statement_timestamp() - make_interval(secs => %(life_s)s)
                      AND session_id <> ALL(%(session_ids)s)
                      FOR UPDATE SKIP LOCKED))
        INSERT INTO session_watch (pile_id, session_id, watched_until)
        SELECT pile_id, session_id, statement_timestamp() + make_interval(secs => %(life_s)s)
          FROM charging_session WHERE session_id = ANY(%(session_ids)s)
         ORDER BY pile_id, session_id
            ON CONFLICT (pile_id, session_id) DO UPDATE
               SET watched_until = greatest(session_watch.watched_until, EXCLUDED.watched_until)
        """,
        {"session_ids": list(session_ids), "life_s": life_s},
    )


def newest(conn: Connection[TupleRow], sessions: Iterable[ChargingSession]) -> dict[UUID, Reading]:
    """The newest reading of each of these sessions that is under way and has one.

    Most are among their pile's newest samples; only who is not there is looked for in all of its hours.
    """
    running = [session for session in sessions if session.state in UNDER_WAY]
    if not running:
        return {}
    spans = [session_curves.span_of(session) for session in running]
    with conn.cursor(row_factory=class_row(Reading)) as cursor:
        found = cursor.execute(
            """
            SELECT running.session_id, newest.sampled_at, elapsed_s, power_dw, energy_dwh, phase
              FROM unnest(%(session_ids)s::uuid[], %(pile_ids)s::text[], %(sinces)s::timestamptz[])
                   AS running (session_id, pile_id, since)
             CROSS JOIN LATERAL (
                (SELECT sampled_at, elapsed_s, power_dw, energy_dwh, phase
                   FROM (SELECT session_id, sampled_at, elapsed_s, power_dw, energy_dwh, phase FROM meter_sample
                          WHERE meter_sample.pile_id = running.pile_id
                            AND sampled_at >= running.since AND sampled_at >= %(since)s
                          ORDER BY sampled_at DESC LIMIT %(newest)s) AS told
                  WHERE told.session_id = running.session_id LIMIT 1)
                 UNION ALL
                (SELECT sampled_at, elapsed_s, power_dw, energy_dwh, phase FROM meter_sample
                  WHERE meter_sample.session_id = running.session_id AND meter_sample.pile_id = running.pile_id
                    AND sampled_at >= running.since AND sampled_at >= %(since)s
                  ORDER BY sampled_at DESC LIMIT 1)
                 LIMIT 1) AS newest
            """,
            {
                "session_ids": [session.session_id for session in running],
                "pile_ids": [session.pile_id for session in running],
                "sinces": [span.since for span in spans],
                "since": min(span.since for span in spans),
                "newest": session_curves.NEWEST_SAMPLES,
            },
        ).fetchall()
    return {reading.session_id: reading for reading in found}


def unpack(payload: str) -> list[Reading]:
    """The readings of one notification. Raises ValueError for what was not sent here."""
    try:
        rows = list(_PACKED.iter_unpack(base64.b64decode(payload, validate=True)))
    except struct.error as error:
        raise ValueError(str(error)) from None
    return [
        Reading(UUID(bytes=session), _EPOCH + at * _MICROSECOND, elapsed_s, power_dw, energy_dwh, phase)
        for session, at, power_dw, energy_dwh, elapsed_s, phase in rows
    ]


def _of_sessions(frames: Sequence[MeterFrame], rows: Iterable[tuple[str, UUID, bool]]) -> dict[int, _Told]:
    """The samples of these sessions from their own piles, oldest first, by a number that is cheap to hash."""
    by_pile: dict[str, set[int]] = {}
    for pile_id, session_id, _ in rows:
        by_pile.setdefault(pile_id, set()).add(session_id.int)
    told: dict[int, _Told] = {}
    for frame in frames:
        if wanted := by_pile.get(frame.pile_id):
            for sample in frame.samples:
                if (key := sample.session_id.int) in wanted:
                    told.setdefault(key, []).append((frame, sample))
    for pairs in told.values():
        if len(pairs) > 1:
            pairs.sort(key=lambda pair: pair[0].sampled_at)
    return told


def _begin(conn: Connection[TupleRow], told: Iterable[_Told]) -> None:
    """The pile's word for the start was lost with a broker, or is still on its way."""
    for pairs in sorted(told, key=lambda pairs: pairs[-1][1].session_id):
        frame, sample = pairs[-1]
        starts.started(
            conn,
            pile_id=frame.pile_id,
            session_id=sample.session_id,
            command_id=None,
            claimed_at=frame.sampled_at - timedelta(seconds=sample.elapsed_s),
            now=frame.received_at,
        )


def _notify(conn: Connection[TupleRow], told: Iterable[_Told]) -> None:
    """Tell the newest reading of each; where samples of several slots came at once, that the session changed."""
    packed: list[bytes] = []
    notes: list[tuple[str, str]] = []
    for pairs in told:
        frame, sample = pairs[-1]
        if len(pairs) == 1 or half_hours.slot_at(pairs[0][0].sampled_at) == half_hours.slot_at(
            frame.sampled_at
        ):
            packed.append(_packed(frame, sample))
        else:
            notes.append((CHANGES, str(sample.session_id)))
    for first in range(0, len(packed), _MOST_PACKED):
        piece = b"".join(packed[first : first + _MOST_PACKED])
        notes.append((READINGS, base64.b64encode(piece).decode()))
    if notes:
        conn.execute(
            """
            SELECT pg_notify(channel, payload)
              FROM unnest(%(channels)s, %(payloads)s) AS note (channel, payload)
            """,
            {
                "channels": TextArray.of([channel for channel, _ in notes]),
                "payloads": TextArray.of([payload for _, payload in notes]),
            },
        )


def _packed(frame: MeterFrame, sample: PortSample) -> bytes:
    return _PACKED.pack(
        sample.session_id.bytes,
        (frame.sampled_at - _EPOCH) // _MICROSECOND,
        sample.power_dw,
        sample.energy_dwh,
        sample.elapsed_s,
        sample.phase,
    )
