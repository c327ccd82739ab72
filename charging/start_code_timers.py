"""What becomes of codes that are not used, with the steps of timers.py.

We cannot see whether an offline pile took a code. Once the pile is heard again with nothing left to tell, we can:
then the money goes back at once. A pile that stays away is waited for, longer for a rider who said nothing (the
charge may be running) than for one who gave up; then the money goes back all the same. What the pile tells after that
is kept and reported, and moves no money.
"""

from datetime import datetime, timedelta

from psycopg import Connection
from psycopg.rows import TupleRow

from charging import sessions, start_codes, starts
from charging.waits import Waits

SILENT_PILE_WAIT = timedelta(hours=24)
"""After a code has run out; a charge by it lasts twelve hours at most."""
GIVEN_UP_WAIT = timedelta(hours=1)
"""The same where the rider has given it up."""
CLOCK_MARGIN = timedelta(minutes=10)
"""A heartbeat may say it is so much older than it is."""


def lapse_code(conn: Connection[TupleRow], waits: Waits, now: datetime) -> bool:
    """Let one code that no pile takes any more free its port."""
    del waits
    row = conn.execute(
        """
        SELECT session_id FROM charging_session JOIN start_code USING (session_id)
         WHERE state = 'awaiting_code' AND valid_until < %(now)s
         ORDER BY valid_until LIMIT 1 FOR NO KEY UPDATE OF charging_session SKIP LOCKED
        """,
        {"now": now},
    ).fetchone()
    if row is None:
        return False
    start_codes.lapse(conn, sessions.get(conn, row[0]), given_up=False, now=now)
    return True


def refund_unused_code(conn: Connection[TupleRow], waits: Waits, now: datetime) -> bool:
    """Give the money of one code back that was not used, or whose pile has stayed silent for long enough."""
    del waits
    row = conn.execute(
        """
        SELECT session_id FROM charging_session AS session JOIN start_code AS code USING (session_id)
         WHERE session.state = 'code_lapsed'
           AND (code.valid_until + CASE WHEN code.given_up THEN %(given_up)s ELSE %(silent)s END < %(now)s
                OR EXISTS (SELECT FROM pile_telemetry AS beat
                            WHERE beat.pile_id = session.pile_id AND beat.sampled_at > code.lapsed_at - %(margin)s
                              AND beat.received_at > code.lapsed_at AND beat.unsent = 0))
         ORDER BY session.created_at LIMIT 1 FOR NO KEY UPDATE OF session SKIP LOCKED
        """,
        {"given_up": GIVEN_UP_WAIT, "silent": SILENT_PILE_WAIT, "now": now, "margin": CLOCK_MARGIN},
    ).fetchone()
    if row is None:
        return False
    starts.code_unused(conn, row[0], now=now)
    return True
