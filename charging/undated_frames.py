"""Where meter frames without a date belong: in the same place however often they are said.

A frame is known by its pile and its instant alone, and what is said again arrives later than at first. So nothing but
what stays may place it: the start of its session, which is set before its first frame is placed by it. A session by
card, or one that nobody knows, may get its start after its first frames: there the first copy counts, which is looked
for among the samples, and without a start its arrival.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from charging import starts
from charging.meter_frames import MeterFrame
from charging.pile_clocks import FARTHEST_AHEAD, believable
from charging.session_states import BEFORE_CHARGE, SessionSource

SAID_AGAIN_FOR = timedelta(days=8)
"""As long as a pile keeps frames when it charges without a pause, and a day: so old a first copy can be."""

_Session = tuple[str, UUID]
_Mark = tuple[str, UUID, int, int]


class _Start(NamedTuple):
    at: datetime
    by_card: bool


def placed(conn: Connection[TupleRow], frames: Sequence[MeterFrame]) -> Sequence[MeterFrame]:
    """The frames, those without a date where their first session with a start was so many seconds old.

    A session that was still to begin begins here, as early as any of these frames lets it.
    """
    undated = [frame for frame in frames if not frame.dated]
    if not undated:
        return frames
    begun = _begun(conn, undated)
    stored = _first_copies(conn, [frame for frame in undated if _may_lie_elsewhere(frame, begun)])
    arrived = {_mark(frame): frame.received_at for frame in reversed(undated)}

    def instant(frame: MeterFrame) -> datetime:
        if frame.dated:
            return frame.sampled_at
        mark = _mark(frame)
        return stored.get(mark) or _by_start(frame, begun) or arrived[mark]

    return [frame._replace(sampled_at=instant(frame)) for frame in frames]


def _by_start(frame: MeterFrame, begun: dict[_Session, _Start]) -> datetime | None:
    known = (sample for sample in frame.samples if (frame.pile_id, sample.session_id) in begun)
    sample = next(known, None)
    if sample is None:
        return None
    at = begun[frame.pile_id, sample.session_id].at + timedelta(seconds=sample.elapsed_s)
    return at if believable(at, now=frame.received_at) else None


def _may_lie_elsewhere(frame: MeterFrame, begun: dict[_Session, _Start]) -> bool:
    """Whether a copy that came earlier may not have been placed by the start that places this one."""
    starts_known = [begun.get((frame.pile_id, sample.session_id)) for sample in frame.samples]
    return _by_start(frame, begun) is None or any(
        start is not None and start.by_card for start in starts_known
    )


def _begun(conn: Connection[TupleRow], frames: Sequence[MeterFrame]) -> dict[_Session, _Start]:
    """When these frames' sessions began, those that had not begun before among them."""
    claims: dict[_Session, tuple[datetime, datetime]] = {}
    for frame in frames:
        for sample in frame.samples:
            key = frame.pile_id, sample.session_id
            claim = frame.received_at - timedelta(seconds=sample.elapsed_s), frame.received_at
            claims[key] = min(claims.get(key, claim), claim)
    begun, waiting = _starts(conn, claims)
    for pile_id, session_id in sorted(waiting, key=lambda key: key[1]):
        claimed_at, received_at = claims[pile_id, session_id]
        starts.started(
            conn,
            pile_id=pile_id,
            session_id=session_id,
            command_id=None,
            claimed_at=claimed_at,
            now=received_at,
        )
    return begun | _starts(conn, waiting)[0] if waiting else begun


def _starts(
    conn: Connection[TupleRow], of: Iterable[_Session]
) -> tuple[dict[_Session, _Start], list[_Session]]:
    """When these sessions began, and which are still to begin; those of other piles are in neither."""
    pile_ids, session_ids = zip(*of, strict=True)
    rows = conn.execute(
        """
        SELECT pile_id, session_id, started_at, source = %(card)s, state = ANY(%(before)s)
          FROM charging_session
          JOIN unnest(%(pile_ids)s::text[], %(session_ids)s::uuid[]) AS said (pile_id, session_id)
         USING (pile_id, session_id)
        """,
        {
            "pile_ids": list(pile_ids),
            "session_ids": list(session_ids),
            "card": SessionSource.CARD,
            "before": sorted(BEFORE_CHARGE),
        },
    ).fetchall()
    begun = {(pile, session): _Start(at, by_card) for pile, session, at, by_card, _ in rows if at is not None}
    return begun, [(pile, session) for pile, session, at, _, to_begin in rows if at is None and to_begin]


def _first_copies(conn: Connection[TupleRow], frames: Sequence[MeterFrame]) -> dict[_Mark, datetime]:
    """The instants of those of these frames that are stored already."""
    if not frames:
        return {}
    pile_ids, session_ids, elapsed_s, energies_dwh = zip(*{_mark(frame) for frame in frames}, strict=True)
    arrivals = [frame.received_at for frame in frames]
    rows = conn.execute(
        """
        SELECT pile_id, session_id, elapsed_s, energy_dwh, min(sampled_at)
          FROM meter_sample
          JOIN unnest(%(pile_ids)s::text[], %(session_ids)s::uuid[], %(elapsed_s)s::int4[], %(energies_dwh)s::int8[])
               AS said (pile_id, session_id, elapsed_s, energy_dwh)
         USING (pile_id, session_id, elapsed_s, energy_dwh)
         WHERE sampled_at BETWEEN %(since)s AND %(until)s
         GROUP BY 1, 2, 3, 4
        """,
        {
            "pile_ids": list(pile_ids),
            "session_ids": list(session_ids),
            "elapsed_s": list(elapsed_s),
            "energies_dwh": list(energies_dwh),
            "since": min(arrivals) - SAID_AGAIN_FOR,
            "until": max(arrivals) + FARTHEST_AHEAD,
        },
    ).fetchall()
    return {(pile, session, s, dwh): at for pile, session, s, dwh, at in rows}


def _mark(frame: MeterFrame) -> _Mark:
    """What a frame has in common with its repetitions and with hardly any other."""
    sample = frame.samples[0]
    return frame.pile_id, sample.session_id, sample.elapsed_s, sample.energy_dwh
