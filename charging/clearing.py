"""A person's look: lifting locks, closing alarms. Nobody else does, neither time nor the pile."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from charging import (
    alarm_episodes,
    alarm_records,
    commands,
    events,
    locks,
    notices,
    piles,
    ports,
    safety_words,
    start_failures,
)
from charging.alarm_kinds import Severity
from charging.alarm_records import Alarm
from charging.command_answers import Answer
from charging.commands import Command, CommandKind
from charging.errors import AlarmStillRaised
from charging.events import EventKind
from charging.locks import Lock, LockCause
from charging.notices import NoticeKind, Telling
from charging.safety_words import Words

CLEAR_LASTS = timedelta(hours=24)
"""How long a pile that is away is still told to release what it has latched."""

_OURS_ALONE = frozenset({LockCause.SITE_ALARM})
"""Locks the pile knows nothing of."""


def lift(
    conn: Connection[TupleRow], *, lock_id: int, by: str, reason: str, override: bool, now: datetime
) -> Lock:
    """Lift one lock and tell the pile; lifting it again changes nothing.

    Raises LockUnknown, and AlarmStillRaised where the alarm behind it lasts and `override` is not stated.
    """
    lock = locks.get(conn, lock_id)
    if lock.lifted_at is not None:
        return lock
    raised = lock.episode_id is not None and bool(alarm_episodes.alarms_of(conn, lock.episode_id))
    if raised and not override:
        raise AlarmStillRaised(lock.pile_id, lock.kind or lock.cause)
    _lift(conn, lock, by=by, reason=reason, overrode=raised, now=now)
    return locks.get(conn, lock_id)


def clear_alarm(
    conn: Connection[TupleRow],
    *,
    pile_id: str,
    alarm_id: UUID,
    by: str,
    reason: str,
    override: bool,
    now: datetime,
) -> Alarm:
    """Lift every lock of an alarm's episode and close what is open of it; clearing it again changes nothing.

    Raises AlarmUnknown, and AlarmStillRaised where the pile still measures it and `override` is not stated.
    """
    ports.lock_pile(conn, pile_id)
    alarm = alarm_records.get(conn, pile_id=pile_id, alarm_id=alarm_id)
    still_raised = alarm_episodes.alarms_of(conn, alarm.episode_id)
    if still_raised and not override:
        raise AlarmStillRaised(pile_id, alarm.kind)
    conn.execute(
        """
        UPDATE alarm SET closed_at = %(now)s, closed_by = %(by)s, close_reason = %(reason)s
         WHERE episode_id = %(episode_id)s AND closed_at IS NULL
           AND (cleared_at IS NULL OR alarm_id = %(alarm_id)s)
        """,
        {
            "now": now,
            "by": by,
            "reason": reason,
            "episode_id": alarm.episode_id,
            "alarm_id": alarm_id,
        },
    )
    alarm_episodes.end(conn, alarm.episode_id, now=now)
    for lock in locks.of_episode(conn, alarm.episode_id):
        if lock.lifted_at is None:
            _lift(conn, lock, by=by, reason=reason, overrode=bool(still_raised), now=now)
    return alarm_records.get(conn, pile_id=pile_id, alarm_id=alarm_id)


def answered(conn: Connection[TupleRow], command: Command, answer: Answer) -> None:
    """The pile's answer to `fault_clear`: where the danger persists, what was lifted is locked again."""
    if answer.done or answer.cause != "fault_persists":
        return
    rows = conn.execute(
        "SELECT lock_id FROM start_lock WHERE clear_command_id = %(command_id)s AND lifted_at IS NOT NULL",
        {"command_id": command.command_id},
    ).fetchall()
    for (lock_id,) in rows:
        lock = locks.get(conn, lock_id)
        locks.put_on(
            conn,
            pile_id=lock.pile_id,
            port_no=lock.port_no,
            cause=LockCause.LATCHED,
            kind=lock.kind,
            now=answer.received_at,
        )
        words = safety_words.of_kept(pile_id=lock.pile_id, port_no=lock.port_no)
        _tell(conn, lock, NoticeKind.LOCK_KEPT, Severity.WARNING, words, now=answer.received_at)


def _lift(
    conn: Connection[TupleRow], lock: Lock, *, by: str, reason: str, overrode: bool, now: datetime
) -> None:
    conn.execute(
        """
        UPDATE start_lock SET lifted_at = %(now)s, lifted_by = %(by)s, lift_reason = %(reason)s,
               overrode = %(overrode)s, clear_command_id = %(command_id)s
         WHERE lock_id = %(lock_id)s
        """,
        {
            "now": now,
            "by": by,
            "reason": reason,
            "overrode": overrode,
            "command_id": _release(conn, lock, now=now),
            "lock_id": lock.lock_id,
        },
    )
    detail = {"lock_id": lock.lock_id, "port_no": lock.port_no, "by": by, "overrode": overrode}
    events.record(conn, pile_id=lock.pile_id, kind=EventKind.LOCK_LIFTED, now=now, detail=detail)
    words = safety_words.of_lifted(pile_id=lock.pile_id, port_no=lock.port_no, by=by, reason=reason)
    _tell(conn, lock, NoticeKind.LOCK_LIFTED, Severity.INFO, words, now=now)


def _release(conn: Connection[TupleRow], lock: Lock, *, now: datetime) -> UUID | None:
    """Tell the pile what its part of the lock is over; None where it has none, or another lock still needs it."""
    others = locks.held(conn, [lock.pile_id]).get(lock.pile_id, [])
    if lock.cause is LockCause.FAILED_STARTS and lock.port_no is not None:
        start_failures.forgive(conn, pile_id=lock.pile_id, port_no=lock.port_no, now=now)
        kind, body = CommandKind.PORT_SET, {"port": lock.port_no, "enabled": True}
    elif lock.cause in _OURS_ALONE or _needed(lock, others):
        return None
    else:
        kind, body = CommandKind.FAULT_CLEAR, {} if lock.port_no is None else {"port": lock.port_no}
    return commands.enqueue(
        conn,
        pile_id=lock.pile_id,
        kind=kind,
        body=body,
        session_id=None,
        expires_at=now + CLEAR_LASTS,
        now=now,
    )


def _needed(lock: Lock, others: Iterable[Lock]) -> bool:
    """Whether another lock of the same reach wants the pile's latch to stay."""
    return any(
        other.port_no == lock.port_no and other.cause in (LockCause.ALARM, LockCause.LATCHED)
        for other in others
        if other.lock_id != lock.lock_id
    )


def _tell(
    conn: Connection[TupleRow],
    lock: Lock,
    kind: NoticeKind,
    severity: Severity,
    words: Words,
    *,
    now: datetime,
) -> None:
    notices.tell_parties(
        conn,
        Telling(
            cause_key=f"lock:{lock.lock_id}:{kind}",
            kind=kind,
            severity=severity,
            site_id=piles.get(conn, lock.pile_id).site_id,
            pile_id=lock.pile_id,
            port_no=lock.port_no,
            zh=words.zh,
            en=words.en,
            facts={"lock_id": lock.lock_id, "cause": lock.cause, "alarm_kind": lock.kind},
        ),
        now=now,
    )
