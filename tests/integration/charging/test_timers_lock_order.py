"""What time brings about waits for others as they wait for each other: it holds nothing they come to later."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import LiteralString

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow

from charging import safety_timers, timers
from charging.ports import PortState
from charging.waits import Waits
from tests.integration.charging.alarm_stand import say_port
from tests.integration.charging.stand import PILE, Stand
from tests.waiting import wait_until

WAITS = Waits()
BLOCKED = """
    SELECT pid FROM pg_stat_activity
     WHERE datname = current_database() AND wait_event_type = 'Lock' AND backend_type = 'client backend'
"""

Step = Callable[[Connection[TupleRow], Waits, datetime], bool]


def _step_beside_one_who_holds(
    dsn: str, step: Step, now: datetime, *, holds: LiteralString, then: LiteralString
) -> bool:
    """What the step says that waits for one who holds something and then takes more, which must be free."""
    with psycopg.connect(dsn) as other, psycopg.connect(dsn) as own, ThreadPoolExecutor(1) as threads:
        assert other.execute(holds).fetchone()
        stepping = threads.submit(step, own, WAITS, now)
        with psycopg.connect(dsn, autocommit=True) as watch:
            wait_until(lambda: watch.execute(BLOCKED).fetchone())
        assert other.execute(then).fetchone()
        other.commit()
        return stepping.result(timeout=20)


def test_a_start_s_deadline_waits_for_who_hears_its_answer_without_the_command(
    stand: Stand, dsn: str
) -> None:
    session = stand.paid()
    stand.conn.commit()
    assert _step_beside_one_who_holds(
        dsn,
        timers.expire_command,
        stand.now + WAITS.start,
        holds="SELECT session_id FROM charging_session FOR NO KEY UPDATE",
        then="SELECT command_id FROM command FOR UPDATE NOWAIT",
    )
    row = stand.conn.execute(
        "SELECT state FROM command WHERE session_id = %s", (session.session_id,)
    ).fetchone()
    assert row == ("expired",)


def test_a_lasting_fault_waits_for_who_takes_the_pile_s_ports_without_its_own(stand: Stand, dsn: str) -> None:
    say_port(stand, PortState.FAULT, fault="smoke", seq=2, port_no=2)
    stand.conn.commit()
    assert _step_beside_one_who_holds(
        dsn,
        safety_timers.open_lasting_fault,
        stand.now + WAITS.settlement,
        holds=f"SELECT port_no FROM pile_port WHERE pile_id = '{PILE}' AND port_no = 1 FOR UPDATE",
        then=f"SELECT port_no FROM pile_port WHERE pile_id = '{PILE}' AND port_no = 2 FOR UPDATE NOWAIT",
    )
    assert stand.count("alarm") == 1
