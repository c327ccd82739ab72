"""Ports that only say `fault`: a fault that lasts becomes an alarm, a short one is nothing.

Many piles tell of a defect by a port's state alone, and many faults last a minute. What reports smoke, fire or leakage
is waited for just long enough to let the pile's own alarm come first.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from charging import alarm_records, alarms, ports
from charging.alarm_kinds import LIFE_FAULTS, RULES, AlarmAction, Reach, of_port_fault
from charging.alarm_records import AlarmSource, Said
from charging.alarms import Report
from charging.safety_rules import USUAL_RULES

LIFE_WAIT = timedelta(seconds=5)
"""A pile sends its own alarm of smoke or fire within 2 s."""
SAME_CAUSE = timedelta(minutes=5)
"""An alarm heard so shortly before a port's fault began is what the fault is about."""

_PILE_WIDE = sorted(kind for kind, rule in RULES.items() if rule.reach is Reach.PILE)


@dataclass(frozen=True)
class _Fault:
    pile_id: str
    port_no: int
    fault: str | None
    fault_since: datetime


def open_lasting(conn: Connection[TupleRow], *, now: datetime) -> bool:
    """Turn one port's fault that has lasted into an alarm, or find the alarm it belongs to; False without one."""
    fault = _next_lasting(conn, now=now)
    if fault is None:
        return False
    # All ports of the pile in their order, as whoever hears an alarm takes them; then it may be another's already.
    ports.lock_pile(conn, fault.pile_id)
    if _next_lasting(conn, now=now) != fault:
        return True
    alarm_id = _known_alarm(conn, fault) or _raise(conn, fault, now=now)
    conn.execute(
        """
        UPDATE pile_port SET fault_alarm_id = %(alarm_id)s WHERE pile_id = %(pile_id)s AND port_no = %(port_no)s
        """,
        {"alarm_id": alarm_id, "pile_id": fault.pile_id, "port_no": fault.port_no},
    )
    return True


def clear_gone(conn: Connection[TupleRow], *, now: datetime) -> bool:
    """End the alarm of one port whose fault is gone; False without one."""
    row = conn.execute(
        """
        SELECT pile_id, port_no, fault_alarm_id FROM pile_port
         WHERE fault_alarm_id IS NOT NULL AND fault_since IS NULL
         LIMIT 1 FOR UPDATE SKIP LOCKED
        """
    ).fetchone()
    if row is None:
        return False
    pile_id, port_no, alarm_id = row
    alarm = alarm_records.find(conn, pile_id=pile_id, alarm_id=alarm_id)
    if alarm is not None and alarm.source is AlarmSource.PORT_STATE and alarm.cleared_at is None:
        over = replace(alarm.said, cleared_at=max(now, alarm.raised_at))
        alarms.heard(
            conn,
            Report(
                pile_id=pile_id,
                alarm_id=alarm_id,
                kind=alarm.kind,
                port_no=alarm.port_no,
                said=over,
                raw={"port_no": port_no, "fault": None},
                source=AlarmSource.PORT_STATE,
            ),
            now=now,
        )
    conn.execute(
        "UPDATE pile_port SET fault_alarm_id = NULL WHERE pile_id = %(pile_id)s AND port_no = %(port_no)s",
        {"pile_id": pile_id, "port_no": port_no},
    )
    return True


def _next_lasting(conn: Connection[TupleRow], *, now: datetime) -> _Fault | None:
    with conn.cursor(row_factory=class_row(_Fault)) as cursor:
        return cursor.execute(
            """
            SELECT pile_port.pile_id, port_no, fault, fault_since
              FROM pile_port JOIN pile USING (pile_id) LEFT JOIN site_safety USING (site_id)
             WHERE fault_since IS NOT NULL AND fault_alarm_id IS NULL
               AND fault_since + CASE WHEN fault = ANY(%(life)s) THEN %(life_wait)s
                                      ELSE coalesce(fault_lasts_s, %(usual_s)s) * interval '1 second' END <= %(now)s
             ORDER BY fault_since, pile_id, port_no LIMIT 1
            """,
            {
                "life": sorted(LIFE_FAULTS),
                "life_wait": LIFE_WAIT,
                "usual_s": USUAL_RULES.fault_lasts_s,
                "now": now,
            },
        ).fetchone()


def _known_alarm(conn: Connection[TupleRow], fault: _Fault) -> UUID | None:
    """The pile's own alarm that this fault is about: of the port, or of the whole pile."""
    row = conn.execute(
        """
        SELECT alarm_id FROM alarm
         WHERE pile_id = %(pile_id)s AND (port_no IS NULL OR port_no = %(port_no)s OR kind = ANY(%(pile_wide)s))
           AND (cleared_at IS NULL AND closed_at IS NULL OR changed_at >= %(since)s)
         ORDER BY received_at DESC LIMIT 1
        """,
        {
            "pile_id": fault.pile_id,
            "port_no": fault.port_no,
            "pile_wide": _PILE_WIDE,
            "since": fault.fault_since - SAME_CAUSE,
        },
    ).fetchone()
    return None if row is None else row[0]


def _raise(conn: Connection[TupleRow], fault: _Fault, *, now: datetime) -> UUID:
    kind = of_port_fault(fault.fault)
    alarm_id = uuid4()
    said = Said(
        level=RULES[kind].by_port_state,
        action=AlarmAction.NONE,
        value=1,
        limit=0,
        code=0,
        raised_at=fault.fault_since,
        cleared_at=None,
    )
    report = ports.get(conn, pile_id=fault.pile_id, port_no=fault.port_no)
    raw = {"port_no": fault.port_no, "fault": report.fault, "reported_at": report.reported_at.isoformat()}
    alarms.heard(
        conn,
        Report(
            pile_id=fault.pile_id,
            alarm_id=alarm_id,
            kind=kind,
            port_no=fault.port_no,
            said=said,
            raw=raw,
            source=AlarmSource.PORT_STATE,
        ),
        now=now,
    )
    return alarm_id
