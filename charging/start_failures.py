"""Starts that fail again and again: riders find a bad socket before anybody else, so their failures take it away.

Only what lies on the pile's side counts. One good charge forgives all; so does the person who puts the port back.
"""

from datetime import datetime, timedelta

from psycopg import Connection
from psycopg.rows import TupleRow

from charging import commands, locks, notices, ports, safety_rules, safety_words
from charging.alarm_kinds import Severity
from charging.commands import CommandKind
from charging.locks import LockCause
from charging.notices import NoticeKind, Telling
from charging.safety_words import Words
from charging.sessions import ChargingSession

PORT_SET_LASTS = timedelta(days=7)
"""How long a pile that is away is still told that a port is out of service; the lock holds without it."""
GOOD_CHARGE_DWH = 100
"""A charge of 10 Wh proves the socket."""

_LATCHED = frozenset({"not_cleared"})
_LATCHED_WHOLE = frozenset({"smoke"})
_REFUSALS = frozenset(
    {
        "port_fault",
        "storage_fault",
        "relay_dead",
        "relay_welded",
        "short_circuit",
        "clock_unknown",
        "out_of_service",
        "unknown",
    }
)
"""Causes of a refusal that lie with the pile; a plug that is missing or a port that is taken is nobody's fault."""
_NOTHING_FLOWED = frozenset({"no_load", "no_power_midway", "relay_dead_or_fuse"})
"""Ends that mean a bad socket where something is plugged in and no energy flowed."""


def refused(conn: Connection[TupleRow], session: ChargingSession, *, cause: str, now: datetime) -> None:
    """The pile refused a start. One that says it is latched is locked here as well, until a person clears both."""
    if cause in _LATCHED or cause in _LATCHED_WHOLE:
        locks.put_on(
            conn,
            pile_id=session.pile_id,
            port_no=None if cause in _LATCHED_WHOLE else session.port_no,
            cause=LockCause.LATCHED,
            now=now,
        )
    elif cause in _REFUSALS:
        _count(conn, session, cause=cause, now=now)


def unanswered(conn: Connection[TupleRow], session: ChargingSession, *, now: datetime) -> None:
    """The pile was told to start and said nothing."""
    _count(conn, session, cause="no_answer", now=now)


def ended(
    conn: Connection[TupleRow],
    session: ChargingSession,
    *,
    stop_reason: str,
    energy_dwh: int,
    now: datetime,
) -> None:
    """A charge was settled: a good one forgives, one in which nothing flowed though plugged in counts."""
    if energy_dwh >= GOOD_CHARGE_DWH:
        forgive(conn, pile_id=session.pile_id, port_no=session.port_no, now=now)
    elif stop_reason in _NOTHING_FLOWED:
        port = ports.get(conn, pile_id=session.pile_id, port_no=session.port_no)
        if port.plugged:
            _count(conn, session, cause=stop_reason, now=now)


def forgive(conn: Connection[TupleRow], *, pile_id: str, port_no: int, now: datetime) -> None:
    """Begin to count anew."""
    conn.execute(
        """
        UPDATE start_failure SET forgiven_at = %(now)s
         WHERE pile_id = %(pile_id)s AND port_no = %(port_no)s AND forgiven_at IS NULL
        """,
        {"now": now, "pile_id": pile_id, "port_no": port_no},
    )


def score(conn: Connection[TupleRow], *, pile_id: str, port_no: int, since: datetime) -> int:
    """How many starts in a row have failed on a port after `since`."""
    row = conn.execute(
        """
        SELECT count(*) FROM start_failure
         WHERE pile_id = %(pile_id)s AND port_no = %(port_no)s AND forgiven_at IS NULL AND failed_at > %(since)s
        """,
        {"pile_id": pile_id, "port_no": port_no, "since": since},
    ).fetchone()
    return int(row[0]) if row else 0


def _count(conn: Connection[TupleRow], session: ChargingSession, *, cause: str, now: datetime) -> None:
    conn.execute(
        """
        INSERT INTO start_failure (session_id, pile_id, port_no, cause, failed_at)
        VALUES (%(session_id)s, %(pile_id)s, %(port_no)s, %(cause)s, %(now)s)
        ON CONFLICT DO NOTHING
        """,
        {
            "session_id": session.session_id,
            "pile_id": session.pile_id,
            "port_no": session.port_no,
            "cause": cause,
            "now": now,
        },
    )
    rules = safety_rules.of_site(conn, session.site_id)
    failures = score(conn, pile_id=session.pile_id, port_no=session.port_no, since=now - rules.failed_within)
    if failures >= rules.failed_starts:
        _disable(conn, session, failures=failures, cause=cause, now=now)


def _disable(
    conn: Connection[TupleRow], session: ChargingSession, *, failures: int, cause: str, now: datetime
) -> None:
    new = locks.put_on(
        conn, pile_id=session.pile_id, port_no=session.port_no, cause=LockCause.FAILED_STARTS, now=now
    )
    if not new:
        return
    commands.enqueue(
        conn,
        pile_id=session.pile_id,
        kind=CommandKind.PORT_SET,
        body={"port": session.port_no, "enabled": False},
        session_id=None,
        expires_at=now + PORT_SET_LASTS,
        now=now,
    )
    words = safety_words.of_disabled_port(pile_id=session.pile_id, port_no=session.port_no, failures=failures)
    notices.tell_parties(conn, _telling(session, words, failures=failures, cause=cause), now=now)
    said = safety_words.for_rider_port_disabled()
    notices.tell_riders(
        conn, [session.session_id], _telling(session, said, failures=failures, cause=cause), now=now
    )


def _telling(session: ChargingSession, words: Words, *, failures: int, cause: str) -> Telling:
    return Telling(
        cause_key=f"failed_starts:{session.session_id}",
        kind=NoticeKind.PORT_DISABLED,
        severity=Severity.WARNING,
        site_id=session.site_id,
        pile_id=session.pile_id,
        port_no=session.port_no,
        zh=words.zh,
        en=words.en,
        facts={"failures": failures, "cause": cause},
    )
