"""What an operator watches of the street: few numbers, each from a small index or a table the size of the fleet."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from charging.pile_states import PileState
from charging.session_states import SessionState


@dataclass(frozen=True)
class PileCount:
    """Piles in one state of their lives; `online` counts those of them that are connected."""

    state: PileState
    piles: int
    online: int


@dataclass(frozen=True)
class SessionCount:
    """Sessions in one state that is not final."""

    state: SessionState
    sessions: int


@dataclass(frozen=True)
class Waiting:
    """How many wait, and since when the longest; None when nobody does."""

    count: int
    since: datetime | None


def pile_counts(conn: Connection[TupleRow]) -> list[PileCount]:
    """The fleet by state."""
    with conn.cursor(row_factory=class_row(PileCount)) as cursor:
        return cursor.execute(
            "SELECT state, count(*) AS piles, count(*) FILTER (WHERE online) AS online FROM pile GROUP BY state"
        ).fetchall()


def open_sessions(conn: Connection[TupleRow]) -> list[SessionCount]:
    """Sessions whose story is not over, by state."""
    with conn.cursor(row_factory=class_row(SessionCount)) as cursor:
        return cursor.execute(
            """
            SELECT state, count(*) AS sessions FROM charging_session
             WHERE state NOT IN ('closed', 'failed', 'cancelled') GROUP BY state
            """
        ).fetchall()


def overdue_settlements(conn: Connection[TupleRow], *, patience: timedelta, now: datetime) -> Waiting:
    """Sessions that have waited longer than `patience` for their pile's record: the rider's money is held."""
    return _waiting(
        conn.execute(
            """
            SELECT count(*), min(told.at)
              FROM charging_session JOIN session_transition AS told USING (session_id)
             WHERE charging_session.state = 'awaiting_settlement' AND told.state = 'awaiting_settlement'
               AND told.at < %(before)s
            """,
            {"before": now - patience},
        ).fetchone()
    )


def open_commands(conn: Connection[TupleRow], *, now: datetime) -> Waiting:
    """Commands that are neither answered nor given up, and may still be sent."""
    return _waiting(
        conn.execute(
            """
            SELECT count(*), min(created_at) FROM command
             WHERE state IN ('pending', 'sent') AND expires_at > %(now)s
            """,
            {"now": now},
        ).fetchone()
    )


def open_alarms(conn: Connection[TupleRow]) -> Waiting:
    """Alarms that nobody closed and no pile took back."""
    return _waiting(
        conn.execute(
            "SELECT count(*), min(received_at) FROM alarm WHERE cleared_at IS NULL AND closed_at IS NULL"
        ).fetchone()
    )


def _waiting(row: TupleRow | None) -> Waiting:
    assert row is not None, "an aggregate gives a row"
    return Waiting(row[0], row[1])
