"""Live readings: what the samples of a batch mean to those who look now. Nothing is stored for them.

A session's newest reading is its newest sample, read by index where somebody asks. Whoever wants to be told says so
with a watch; a batch tells only of watched sessions, many in one notification, by the channel READINGS. A change of a
session's state, or anything else a reading does not tell, goes by the channel CHANGES: there the session's id.
"""

import base64
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from charging import half_hours, starts
from charging.session_states import UNDER_WAY
from charging.sessions import ChargingSession

CHANGES = "session_live"
"""NOTIFY at commit, with the id of a session: whoever shows it loads it anew."""
READINGS = "session_readings"
"""NOTIFY at commit, with packed readings."""
CLOCK_BEHIND = timedelta(days=7)
"""A session's samples are looked for from so long before it was ordered: its pile's clock may be behind."""

_PACKED = struct.Struct("!16sqiqiB")
_PAYLOAD_BYTES = 7_900
"""PostgreSQL takes payloads of less than 8,000 bytes."""
_MOST_PACKED = _PAYLOAD_BYTES * 3 // 4 // _PACKED.size
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


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


class Metered(Protocol):
    """A meter frame, as far as it matters here."""

    @property
    def pile_id(self) -> str: ...
    @property
    def sampled_at(self) -> datetime: ...
    @property
    def received_at(self) -> datetime: ...


class Sampled(Protocol):
    """A sample of one port, as far as it matters here."""

    @property
    def session_id(self) -> UUID: ...
    @property
    def elapsed_s(self) -> int: ...
    @property
    def power_dw(self) -> int: ...
    @property
    def energy_dwh(self) -> int: ...
    @property
    def phase(self) -> int: ...


def tell(conn: Connection[TupleRow], samples: Sequence[tuple[Metered, Sampled]]) -> None:
    """Begin the sessions that these new samples prove to be charging, and tell of those that are watched.

    Costs one look-up by pile, and nothing more for sessions that nobody watches.
    """
    rows = conn.execute(
        """
        SELECT session_id, pile_id, true AS begins
          FROM charging_session
         WHERE pile_id = ANY(%(pile_ids)s)
           AND state IN ('paid', 'awaiting_code', 'code_lapsed', 'starting', 'pending_plug')
         UNION ALL
        SELECT session_id, pile_id, false
          FROM session_watch WHERE pile_id = ANY(%(pile_ids)s) AND watched_until > statement_timestamp()
        """,
        {"pile_ids": list({frame.pile_id for frame, _ in samples})},
    ).fetchall()
    if not rows:
        return
    before_charge: set[UUID] = {session_id for session_id, _, begins in rows if begins}
    watched: set[UUID] = {session_id for session_id, _, begins in rows if not begins}
    told = _of_sessions(samples, {session_id: pile_id for session_id, pile_id, _ in rows})
    for session_id in sorted(before_charge & told.keys()):
        frame, sample = told[session_id][-1]
        # The pile's word for it was lost with a broker, or is still on its way.
        starts.started(
            conn,
            pile_id=frame.pile_id,
            session_id=session_id,
            command_id=None,
            claimed_at=frame.sampled_at - timedelta(seconds=sample.elapsed_s),
            now=frame.received_at,
        )
    _notify(conn, {session_id: told[session_id] for session_id in watched & told.keys()})


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
    """The newest reading of each of these sessions that is under way and has one."""
    running = [session for session in sessions if session.state in UNDER_WAY]
    if not running:
        return {}
    with conn.cursor(row_factory=class_row(Reading)) as cursor:
        found = cursor.execute(
            """
            SELECT running.session_id, newest.sampled_at, elapsed_s, power_dw, energy_dwh, phase
              FROM unnest(%(session_ids)s::uuid[], %(pile_ids)s::text[]) AS running (session_id, pile_id)
             CROSS JOIN LATERAL (
                SELECT sampled_at, elapsed_s, power_dw, energy_dwh, phase FROM meter_sample
                 WHERE meter_sample.session_id = running.session_id AND meter_sample.pile_id = running.pile_id
                   AND sampled_at >= %(since)s
                 ORDER BY sampled_at DESC LIMIT 1) AS newest
            """,
            {
                "session_ids": [session.session_id for session in running],
                "pile_ids": [session.pile_id for session in running],
                "since": min(session.created_at for session in running) - CLOCK_BEHIND,
            },
        ).fetchall()
    return {reading.session_id: reading for reading in found}


def pack(readings: Sequence[Reading]) -> list[str]:
    """Readings as the payloads of as few notifications as will hold them."""
    packed = [
        _PACKED.pack(
            reading.session_id.bytes,
            (reading.sampled_at - _EPOCH) // _MICROSECOND,
            reading.power_dw,
            reading.energy_dwh,
            reading.elapsed_s,
            reading.phase,
        )
        for reading in readings
    ]
    return [
        base64.b64encode(b"".join(packed[first : first + _MOST_PACKED])).decode()
        for first in range(0, len(packed), _MOST_PACKED)
    ]


def unpack(payload: str) -> list[Reading]:
    """The readings of one notification. Raises ValueError for what `pack` did not make."""
    try:
        rows = list(_PACKED.iter_unpack(base64.b64decode(payload, validate=True)))
    except struct.error as error:
        raise ValueError(str(error)) from None
    return [
        Reading(UUID(bytes=session), _EPOCH + at * _MICROSECOND, elapsed_s, power_dw, energy_dwh, phase)
        for session, at, power_dw, energy_dwh, elapsed_s, phase in rows
    ]


def _of_sessions(
    samples: Sequence[tuple[Metered, Sampled]], piles: Mapping[UUID, str]
) -> dict[UUID, list[tuple[Metered, Sampled]]]:
    """The samples of these sessions from their own piles, oldest first."""
    told: dict[UUID, list[tuple[Metered, Sampled]]] = {}
    for frame, sample in samples:
        if piles.get(sample.session_id) == frame.pile_id:
            told.setdefault(sample.session_id, []).append((frame, sample))
    for pairs in told.values():
        pairs.sort(key=lambda pair: pair[0].sampled_at)
    return told


def _notify(conn: Connection[TupleRow], told: Mapping[UUID, list[tuple[Metered, Sampled]]]) -> None:
    """Tell the newest reading of each; where samples of several slots came at once, that the session changed."""
    readings: list[Reading] = []
    notes: list[tuple[str, str]] = []
    for session_id, pairs in told.items():
        first, last = (_reading(*pairs[place]) for place in (0, -1))
        if first.slot_at == last.slot_at:
            readings.append(last)
        else:
            notes.append((CHANGES, str(session_id)))
    notes += [(READINGS, payload) for payload in pack(readings)]
    if notes:
        conn.execute(
            """
            SELECT pg_notify(channel, payload)
              FROM unnest(%(channels)s::text[], %(payloads)s::text[]) AS note (channel, payload)
            """,
            {"channels": [channel for channel, _ in notes], "payloads": [payload for _, payload in notes]},
        )


def _reading(frame: Metered, sample: Sampled) -> Reading:
    return Reading(
        sample.session_id,
        frame.sampled_at,
        sample.elapsed_s,
        sample.power_dw,
        sample.energy_dwh,
        sample.phase,
    )
