"""Read-only queries for pages and the operator's API over charging's own tables."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from billing.rating import ChargingPeriod
from charging import live_readings, session_curves
from charging.live_readings import Reading
from charging.piles import Pile
from charging.ports import Port
from charging.session_curves import SlotReading
from charging.session_states import UNDER_WAY, SessionState
from charging.sessions import ChargingSession


@dataclass(frozen=True)
class WatchedSession:
    """A session as its live page needs it: the newest reading while it is under way, and each slot's by time."""

    session: ChargingSession
    site_name: str
    reading: Reading | None
    slots: tuple[SlotReading, ...]

    @property
    def elapsed_s(self) -> int:
        """Charging time so far in seconds, as the newest sample tells it."""
        return self.slots[-1].elapsed_s if self.slots else 0

    @property
    def periods(self) -> list[ChargingPeriod]:
        """What was metered so far, by half-hour slot, ready to be rated for a preview."""
        begin = self.session.started_at
        return [] if begin is None else session_curves.periods(self.slots, started_at=begin)

    def with_readings(self, readings: Iterable[Reading]) -> "WatchedSession | None":
        """The session with what was metered since; None where only its samples can tell, which then must be read.

        Readings are the newest of their batches, in the order these were committed. One that is older than what is
        known came late: others of its slot may have come with it.
        """
        if self.session.state not in UNDER_WAY:
            return self
        if self.session.started_at is None:
            return None
        known, slots = self.reading, list(self.slots)
        for reading in readings:
            if known is not None and reading.sampled_at <= known.sampled_at:
                if reading.slot_at < known.slot_at:
                    return None
                continue
            _meter(slots, reading)
            known = reading
        return self if known is self.reading else replace(self, reading=known, slots=tuple(slots))


@dataclass(frozen=True)
class PageKey:
    """Where a page of sessions ended; the next page holds what is older."""

    created_at: datetime
    session_id: UUID


def watched(conn: Connection[TupleRow], session_ids: Sequence[UUID]) -> dict[UUID, WatchedSession]:
    """The sessions among `session_ids` that exist, with their readings, in four queries however many they are."""
    found = _sessions(conn, session_ids)
    if not found:
        return {}
    names: dict[str, str] = dict(
        conn.execute(
            "SELECT site_id, name FROM site WHERE site_id = ANY(%(site_ids)s)",
            {"site_ids": list({session.site_id for session in found})},
        ).fetchall()
    )
    readings = live_readings.newest(conn, found)
    slots = session_curves.slots_of_many(conn, [session_curves.span_of(session) for session in found])
    return {
        session.session_id: WatchedSession(
            session,
            names[session.site_id],
            readings.get(session.session_id),
            tuple(slots.get(session.session_id, ())),
        )
        for session in found
    }


def session_page(
    conn: Connection[TupleRow],
    *,
    limit: int,
    site_id: str | None = None,
    pile_id: str | None = None,
    state: SessionState | None = None,
    after: PageKey | None = None,
) -> list[ChargingSession]:
    """Sessions newest first, at most `limit`, those older than `after` if given."""
    with conn.cursor(row_factory=class_row(ChargingSession)) as cursor:
        return cursor.execute(
            """
            SELECT session_id, pile_id, port_no, site_id, state, prepaid_fen, tariff_version_id, agreement_version_id,
                   limit_s, limit_dwh, created_at, paid_at, started_at, ended_at, settled_at, closed_at, failure,
                   stop_reason, energy_dwh, duration_s, source, card_id
              FROM charging_session
             WHERE (%(site_id)s::text IS NULL OR site_id = %(site_id)s)
               AND (%(pile_id)s::text IS NULL OR pile_id = %(pile_id)s)
               AND (%(state)s::text IS NULL OR state = %(state)s)
               AND (%(created_at)s::timestamptz IS NULL
                    OR (created_at, session_id) < (%(created_at)s, %(session_id)s::uuid))
             ORDER BY created_at DESC, session_id DESC LIMIT %(limit)s
            """,
            {
                "site_id": site_id,
                "pile_id": pile_id,
                "state": state,
                "created_at": after.created_at if after else None,
                "session_id": after.session_id if after else None,
                "limit": limit,
            },
        ).fetchall()


def pile_page(
    conn: Connection[TupleRow], *, limit: int, site_id: str | None = None, after: str | None = None
) -> list[Pile]:
    """Piles by id, at most `limit`, those after pile `after` if given."""
    with conn.cursor(row_factory=class_row(Pile)) as cursor:
        return cursor.execute(
            """
            SELECT pile_id, site_id, model, port_count, power_limit_w, shard, state, online, boot, heartbeat_s,
                   sample_s, reconnect_jitter_s, firmware, hardware, signal_dbm, last_seen_at, registered_at,
                   parent_pile_id
              FROM pile
             WHERE (%(site_id)s::text IS NULL OR site_id = %(site_id)s)
               AND (%(after)s::text IS NULL OR pile_id > %(after)s)
             ORDER BY pile_id LIMIT %(limit)s
            """,
            {"site_id": site_id, "after": after, "limit": limit},
        ).fetchall()


def ports_of(conn: Connection[TupleRow], pile_ids: Sequence[str]) -> dict[str, list[Port]]:
    """The ports of several piles by number."""
    found: dict[str, list[Port]] = {pile_id: [] for pile_id in pile_ids}
    with conn.cursor(row_factory=class_row(Port)) as cursor:
        cursor.execute(
            """
            SELECT pile_id, port_no, state, fault, plugged, power_dw, reported_at
              FROM pile_port WHERE pile_id = ANY(%(pile_ids)s) ORDER BY pile_id, port_no
            """,
            {"pile_ids": list(pile_ids)},
        )
        for port in cursor:
            found[port.pile_id].append(port)
    return found


def _sessions(conn: Connection[TupleRow], session_ids: Sequence[UUID]) -> list[ChargingSession]:
    with conn.cursor(row_factory=class_row(ChargingSession)) as cursor:
        return cursor.execute(
            """
            SELECT session_id, pile_id, port_no, site_id, state, prepaid_fen, tariff_version_id, agreement_version_id,
                   limit_s, limit_dwh, created_at, paid_at, started_at, ended_at, settled_at, closed_at, failure,
                   stop_reason, energy_dwh, duration_s, source, card_id
              FROM charging_session WHERE session_id = ANY(%(session_ids)s)
            """,
            {"session_ids": list(session_ids)},
        ).fetchall()


def _meter(slots: list[SlotReading], reading: Reading) -> None:
    """Let a slot end with this reading, as far as it is the most."""
    place = bisect_left(slots, reading.slot_at, key=lambda slot: slot.slot_at)
    energy_dwh, elapsed_s = reading.energy_dwh, reading.elapsed_s
    if place < len(slots) and slots[place].slot_at == reading.slot_at:
        held = slots[place]
        energy_dwh, elapsed_s = max(energy_dwh, held.energy_dwh), max(elapsed_s, held.elapsed_s)
        slots[place] = SlotReading(reading.slot_at, energy_dwh, elapsed_s)
    else:
        slots.insert(place, SlotReading(reading.slot_at, energy_dwh, elapsed_s))
