"""Locks: why nothing may start on a port or a whole pile. None goes away by itself; a person lifts it (clearing.py).

A pile that was told to release its latch with a lock refuses every start until it has; so a lifted lock still stands in
the way of orders while the pile owes its answer.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from charging import events
from charging.errors import LockUnknown
from charging.events import EventKind
from charging.session_states import StartFailure


class LockCause(StrEnum):
    """Why a lock was put on: an alarm here or at another pile of the site, a pile that says it is latched, or starts
    that failed again and again."""

    ALARM = "alarm"
    SITE_ALARM = "site_alarm"
    LATCHED = "latched"
    FAILED_STARTS = "failed_starts"


@dataclass(frozen=True)
class Lock:
    """A lock on a port, or on the pile where `port_no` is None."""

    lock_id: int
    pile_id: str
    port_no: int | None
    cause: LockCause
    kind: str | None
    episode_id: int | None
    stop_reason: str | None
    locked_at: datetime
    lifted_at: datetime | None
    lifted_by: str | None
    lift_reason: str | None
    overrode: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "cause", LockCause(self.cause))


def put_on(
    conn: Connection[TupleRow],
    *,
    pile_id: str,
    port_no: int | None,
    cause: LockCause,
    now: datetime,
    kind: str | None = None,
    episode_id: int | None = None,
    stop_reason: str | None = None,
) -> bool:
    """Lock a port, or the pile where `port_no` is None; False where the same cause locks it already."""
    row = conn.execute(
        """
        INSERT INTO start_lock (pile_id, port_no, cause, kind, episode_id, stop_reason, locked_at)
        VALUES (%(pile_id)s, %(port_no)s, %(cause)s, %(kind)s, %(episode_id)s, %(stop_reason)s, %(now)s)
        ON CONFLICT DO NOTHING RETURNING lock_id
        """,
        {
            "pile_id": pile_id,
            "port_no": port_no,
            "cause": cause,
            "kind": kind,
            "episode_id": episode_id,
            "stop_reason": stop_reason,
            "now": now,
        },
    ).fetchone()
    if row is None:
        return False
    detail = {"lock_id": row[0], "port_no": port_no, "cause": cause, "kind": kind}
    events.record(conn, pile_id=pile_id, kind=EventKind.STARTS_LOCKED, now=now, detail=detail)
    return True


def obstacles(conn: Connection[TupleRow], pile_id: str, port_nos: Iterable[int]) -> dict[int, StartFailure]:
    """What a lock, a latch not released yet, or an alarm that has tripped and lasts, says against starts on ports."""
    found = conn.execute(
        """
        SELECT cause, port_no FROM start_lock
         WHERE pile_id = %(pile_id)s AND lifted_at IS NULL
         UNION ALL
        SELECT start_lock.cause, start_lock.port_no
          FROM command JOIN start_lock ON start_lock.clear_command_id = command.command_id
         WHERE command.pile_id = %(pile_id)s AND command.kind = 'fault_clear'
           AND command.state IN ('pending', 'sent')
         UNION ALL
        SELECT 'tripped', port_no FROM alarm
         WHERE pile_id = %(pile_id)s AND cleared_at IS NULL AND closed_at IS NULL AND level = 'trip'
        """,
        {"pile_id": pile_id},
    ).fetchall()
    judged = {
        port_no: _gravest({(cause, place is None) for cause, place in found if place in (None, port_no)})
        for port_no in port_nos
    }
    return {port_no: failure for port_no, failure in judged.items() if failure is not None}


def locked_since(conn: Connection[TupleRow], *, pile_id: str, port_no: int) -> datetime | None:
    """Since when a lock, or a latch not released yet, has kept starts from a port; None where none does."""
    row = conn.execute(
        """
        SELECT min(locked_at) FROM start_lock
         WHERE pile_id = %(pile_id)s AND (port_no IS NULL OR port_no = %(port_no)s)
           AND (lifted_at IS NULL
                OR clear_command_id IN (SELECT command_id FROM command
                                         WHERE command.pile_id = %(pile_id)s AND kind = 'fault_clear'
                                           AND state IN ('pending', 'sent')))
        """,
        {"pile_id": pile_id, "port_no": port_no},
    ).fetchone()
    return None if row is None else row[0]


def get(conn: Connection[TupleRow], lock_id: int) -> Lock:
    """The lock with this id, held until the transaction ends. Raises LockUnknown."""
    with conn.cursor(row_factory=class_row(Lock)) as cursor:
        lock = cursor.execute(
            """
            SELECT lock_id, pile_id, port_no, cause, kind, episode_id, stop_reason, locked_at, lifted_at, lifted_by,
                   lift_reason, overrode
              FROM start_lock WHERE lock_id = %(lock_id)s FOR UPDATE
            """,
            {"lock_id": lock_id},
        ).fetchone()
    if lock is None:
        raise LockUnknown(lock_id)
    return lock


def held(conn: Connection[TupleRow], pile_ids: Sequence[str]) -> dict[str, list[Lock]]:
    """The locks in force on these piles, oldest first."""
    found: dict[str, list[Lock]] = defaultdict(list)
    with conn.cursor(row_factory=class_row(Lock)) as cursor:
        cursor.execute(
            """
            SELECT lock_id, pile_id, port_no, cause, kind, episode_id, stop_reason, locked_at, lifted_at, lifted_by,
                   lift_reason, overrode
              FROM start_lock WHERE pile_id = ANY(%(pile_ids)s) AND lifted_at IS NULL ORDER BY lock_id
            """,
            {"pile_ids": list(pile_ids)},
        )
        for lock in cursor:
            found[lock.pile_id].append(lock)
    return dict(found)


def of_episode(conn: Connection[TupleRow], episode_id: int) -> list[Lock]:
    """Every lock that an episode of alarms put on, in force or lifted, oldest first."""
    with conn.cursor(row_factory=class_row(Lock)) as cursor:
        return cursor.execute(
            """
            SELECT lock_id, pile_id, port_no, cause, kind, episode_id, stop_reason, locked_at, lifted_at, lifted_by,
                   lift_reason, overrode
              FROM start_lock WHERE episode_id = %(episode_id)s ORDER BY lock_id
            """,
            {"episode_id": episode_id},
        ).fetchall()


def _gravest(causes: Set[tuple[str, bool]]) -> StartFailure | None:
    """What to say of causes against a start, each with whether it holds the whole pile."""
    if any(whole_pile for cause, whole_pile in causes if cause != "tripped"):
        return StartFailure.PILE_LOCKED
    if causes & {(LockCause.ALARM, False), (LockCause.LATCHED, False)}:
        return StartFailure.PORT_LOCKED
    if (LockCause.FAILED_STARTS, False) in causes:
        return StartFailure.STARTS_KEPT_FAILING
    return StartFailure.ALARM_LASTS if causes else None
