"""What time makes of alarms: those that last are told, those that are quiet end; faults that last become alarms."""

from datetime import datetime

from psycopg import Connection
from psycopg.rows import TupleRow

from charging import alarms, port_faults, safety_response
from charging.waits import Waits


def open_lasting_fault(conn: Connection[TupleRow], waits: Waits, now: datetime) -> bool:
    """Turn one port's fault that has lasted into an alarm."""
    del waits
    return port_faults.open_lasting(conn, now=now)


def clear_gone_fault(conn: Connection[TupleRow], waits: Waits, now: datetime) -> bool:
    """End the alarm of one port whose fault is gone."""
    del waits
    return port_faults.clear_gone(conn, now=now)


def tell_lasting_alarm(conn: Connection[TupleRow], waits: Waits, now: datetime) -> bool:
    """Tell of one alarm that has lasted long enough to be worth it."""
    del waits
    return alarms.tell_lasting(conn, now=now)


def end_quiet_alarm(conn: Connection[TupleRow], waits: Waits, now: datetime) -> bool:
    """End one episode of alarms that has been quiet long enough."""
    del waits
    return alarms.end_quiet(conn, now=now)


def repeat_safety_stop(conn: Connection[TupleRow], waits: Waits, now: datetime) -> bool:
    """Tell a pile again to end one charge that runs under a lock."""
    del waits
    return safety_response.repeat_stop(conn, now=now)


STEPS = (open_lasting_fault, clear_gone_fault, tell_lasting_alarm, end_quiet_alarm, repeat_safety_stop)
"""In this order: what became an alarm just now can be told in the same sweep."""
