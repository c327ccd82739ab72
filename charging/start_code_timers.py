"""What becomes of codes that are not used, with the steps of timers.py.

We cannot see whether an offline pile took a code. Once its own clock is past the code's end, so that it takes the code
no more, and it has nothing left to tell, we can: then the money goes back at once. A pile that stays away is waited
for, also where the rider gave up, as the code can still be typed; then the money goes back all the same. What the pile
tells after that is kept and reported, and moves no money.
"""

from datetime import datetime, timedelta

from psycopg import Connection
from psycopg.rows import TupleRow

from charging import sessions, start_codes, starts
from charging.waits import Waits

SILENT_PILE_WAIT = timedelta(hours=24)
"""After a code has run out; a charge by it lasts twelve hours at most."""


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
           AND (code.valid_until + %(silent)s < %(now)s
                OR EXISTS (SELECT FROM pile_telemetry AS beat
                            WHERE beat.pile_id = session.pile_id AND beat.sampled_at >= code.valid_until
                              AND beat.received_at > code.lapsed_at AND beat.unsent = 0))
         ORDER BY session.created_at LIMIT 1 FOR NO KEY UPDATE OF session SKIP LOCKED
        """,
        {"silent": SILENT_PILE_WAIT, "now": now},
    ).fetchone()
    if row is None:
        return False
    starts.code_unused(conn, row[0], now=now)
    return True
