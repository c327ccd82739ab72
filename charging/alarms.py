"""Alarms: what a pile's word of danger changes, all of it in the transaction that stores the word.

The alarm is kept with its evidence; a trip locks what it reaches, ends the charges there, gives back what was paid for
charges that have not begun, and people are told. The pile has acted by itself before; all this is on top of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from charging import alarm_episodes, alarm_evidence, alarm_records, events, piles, ports, safety_response
from charging.alarm_episodes import Episode, on_our_clock
from charging.alarm_kinds import RULES, AlarmKind, AlarmLevel
from charging.alarm_records import Alarm, AlarmSource, Said
from charging.events import EventKind

MOST_OPEN = 64
"""Open alarms of one pile; an honest one has at most one of a kind at a port, and most of them none."""
MOST_RECENT = 200
RECENT = timedelta(hours=1)
"""A pile that told of MOST_RECENT alarms within this time is counted from then on, not recorded."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a pile says of one alarm, or what a lasting port fault amounts to; `raw` is the message for the books."""

    pile_id: str
    alarm_id: UUID
    kind: AlarmKind
    port_no: int | None
    said: Said
    raw: Mapping[str, Any]
    source: AlarmSource = AlarmSource.ALARM


@dataclass(frozen=True)
class Known:
    """How much of an alarm is committed with this transaction: what the pile is told."""

    level: AlarmLevel
    cleared: bool


def heard(conn: Connection[TupleRow], report: Report, *, now: datetime) -> Known:
    """Take what a pile says of an alarm. A repeat changes nothing, and the order of tellings does not matter.

    Raises PileUnknown.
    """
    pile = piles.get(conn, report.pile_id)
    ports.lock_pile(conn, report.pile_id)
    stored = alarm_records.find(conn, pile_id=report.pile_id, alarm_id=report.alarm_id)
    if stored is None:
        return _first(conn, report, site_id=pile.site_id, now=now)
    if _contradicts(stored, report):
        return _contradicted(conn, stored, report, now=now)
    return _again(conn, stored, report, now=now)


def tell_lasting(conn: Connection[TupleRow], *, now: datetime) -> bool:
    """Tell of one alarm that has lasted long enough to be worth it; False where there is none."""
    episode = alarm_episodes.next_lasting(conn, now=now)
    if episode is None:
        return False
    safety_response.tell(conn, episode, [], now=now)
    return True


def end_quiet(conn: Connection[TupleRow], *, now: datetime) -> bool:
    """End one episode that has been quiet for long enough; False where there is none."""
    episode = alarm_episodes.next_quiet(conn, now=now)
    if episode is None:
        return False
    alarm_episodes.end(conn, episode.episode_id, now=now)
    safety_response.tell_over(conn, episode, now=now)
    return True


def _first(conn: Connection[TupleRow], report: Report, *, site_id: str, now: datetime) -> Known:
    said = report.said
    raised_at = on_our_clock(said.raised_at, now=now)
    quiet_at = None if said.cleared_at is None else max(raised_at, on_our_clock(said.cleared_at, now=now))
    overflows = _overflows(conn, report.pile_id, now=now)
    episode = alarm_episodes.join(
        conn,
        pile_id=report.pile_id,
        site_id=site_id,
        port_no=report.port_no,
        kind=report.kind,
        level=said.level,
        raised_at=raised_at,
        quiet_at=now if overflows and quiet_at is None else quiet_at,
    )
    if overflows:
        _count_overflow(conn, report.pile_id, now=now)
    else:
        _record(conn, report, episode, now=now)
    affected = _respond(conn, report, episode, now=now)
    if episode.is_to_be_told(now):
        safety_response.tell(conn, episode, affected, now=now)
    return Known(said.level, said.cleared_at is not None)


def _record(conn: Connection[TupleRow], report: Report, episode: Episode, *, now: datetime) -> None:
    said = report.said
    alarm_records.add(
        conn,
        Alarm(
            pile_id=report.pile_id,
            alarm_id=report.alarm_id,
            site_id=episode.site_id,
            episode_id=episode.episode_id,
            source=report.source,
            kind=report.kind,
            port_no=report.port_no,
            level=said.level,
            action=said.action,
            value=said.value,
            value_limit=said.limit,
            code=said.code,
            raised_at=said.raised_at,
            cleared_at=said.cleared_at,
            received_at=now,
            closed_at=None,
            closed_by=None,
            close_reason=None,
        ),
        now=now,
    )
    # A flickering warning is one story: its first alarm holds the evidence, the others their figures.
    if episode.flaps == 0 or said.level is AlarmLevel.TRIP or RULES[report.kind].life:
        _keep_evidence(conn, report, now=now)
        _note(conn, report, EventKind.ALARM_RAISED, now=now)


def _again(conn: Connection[TupleRow], stored: Alarm, report: Report, *, now: datetime) -> Known:
    merged = stored.said.merge(report.said)
    known = Known(merged.level, merged.cleared_at is not None)
    if merged == stored.said:
        return known
    alarm_records.change(conn, stored, merged, now=now)
    rises = merged.level.rank > stored.level.rank
    clears = merged.cleared_at is not None and stored.cleared_at is None
    episode = alarm_episodes.get(conn, stored.episode_id)
    if rises or (clears and stored.level is AlarmLevel.TRIP):
        _keep_evidence(conn, report, now=now)
    affected: list[safety_response.Affected] = []
    if rises:
        episode = alarm_episodes.rise(conn, stored.episode_id, merged.level)
        affected = _respond(conn, report, episode, now=now)
    if clears and merged.cleared_at is not None:
        at = on_our_clock(merged.cleared_at, now=now)
        episode = alarm_episodes.cleared(conn, stored.episode_id, at=at)
        _note(conn, report, EventKind.ALARM_CLEARED, now=now)
    if episode.is_to_be_told(now):
        safety_response.tell(conn, episode, affected, now=now)
    return known


def _contradicts(stored: Alarm, report: Report) -> bool:
    """Whether an id stands for two alarms: another kind or place, or raised again after it was over."""
    elsewhere = (stored.kind, stored.port_no) != (report.kind, report.port_no)
    return elsewhere or (stored.cleared_at is not None and report.said.raised_at > stored.cleared_at)


def _contradicted(conn: Connection[TupleRow], stored: Alarm, report: Report, *, now: datetime) -> Known:
    """A pile that breaks the rule of ids may still be in danger: what it says is acted on, and counted."""
    _note(conn, report, EventKind.ALARM_CONTRADICTS, now=now)
    at = on_our_clock(report.said.raised_at, now=now)
    episode = alarm_episodes.join(
        conn,
        pile_id=report.pile_id,
        site_id=stored.site_id,
        port_no=report.port_no,
        kind=report.kind,
        level=report.said.level,
        raised_at=at,
        quiet_at=max(at, now),
    )
    affected = _respond(conn, report, episode, now=now)
    if episode.is_to_be_told(now):
        safety_response.tell(conn, episode, affected, now=now)
    return Known(report.said.level, report.said.cleared_at is not None)


def _respond(
    conn: Connection[TupleRow], report: Report, episode: Episode, *, now: datetime
) -> "list[safety_response.Affected]":
    if report.said.level is not AlarmLevel.TRIP:
        return []
    return safety_response.act(conn, episode, action=report.said.action, now=now)


def _keep_evidence(conn: Connection[TupleRow], report: Report, *, now: datetime) -> None:
    alarm_evidence.keep(
        conn,
        pile_id=report.pile_id,
        alarm_id=report.alarm_id,
        level=report.said.level,
        cleared=report.said.cleared_at is not None,
        raised_at=on_our_clock(report.said.raised_at, now=now),
        said=report.raw,
        now=now,
    )


def _overflows(conn: Connection[TupleRow], pile_id: str, *, now: datetime) -> bool:
    row = conn.execute(
        """
        SELECT (SELECT count(*) FROM alarm
                 WHERE pile_id = %(pile_id)s AND cleared_at IS NULL AND closed_at IS NULL) >= %(open)s
            OR (SELECT count(*) FROM alarm
                 WHERE pile_id = %(pile_id)s AND received_at > %(since)s) >= %(recent)s
        """,
        {"pile_id": pile_id, "open": MOST_OPEN, "recent": MOST_RECENT, "since": now - RECENT},
    ).fetchone()
    return bool(row and row[0])


def _count_overflow(conn: Connection[TupleRow], pile_id: str, *, now: datetime) -> None:
    conn.execute(
        """
        INSERT INTO alarm_overflow (pile_id, alarms, first_at, last_at) VALUES (%(pile_id)s, 1, %(now)s, %(now)s)
        ON CONFLICT (pile_id) DO UPDATE SET alarms = alarm_overflow.alarms + 1, last_at = %(now)s
        """,
        {"pile_id": pile_id, "now": now},
    )


def overflowed(conn: Connection[TupleRow], pile_id: str) -> int:
    """How many alarms of a pile were acted on and counted without a row of their own."""
    row = conn.execute(
        "SELECT alarms FROM alarm_overflow WHERE pile_id = %(pile_id)s", {"pile_id": pile_id}
    ).fetchone()
    return int(row[0]) if row else 0


def _note(conn: Connection[TupleRow], report: Report, kind: EventKind, *, now: datetime) -> None:
    events.record(
        conn,
        pile_id=report.pile_id,
        kind=kind,
        now=now,
        occurred_at=report.said.cleared_at if kind is EventKind.ALARM_CLEARED else report.said.raised_at,
        detail={
            "alarm_id": str(report.alarm_id),
            "kind": report.kind,
            "level": report.said.level,
            "port_no": report.port_no,
        },
    )
