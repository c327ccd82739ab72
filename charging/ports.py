"""Ports: the sockets of a pile and the newest state each reported."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from charging.errors import PortUnknown


class PortState(StrEnum):
    """What a port can say of itself; `offline` is not among them: that is the pile's."""

    DISABLED = "disabled"
    IDLE = "idle"
    PLUGGED = "plugged"
    RESERVED = "reserved"
    STARTING = "starting"
    CHARGING = "charging"
    FLOAT = "float"
    FULL_PLUGGED = "full_plugged"
    STOPPING = "stopping"
    FAULT = "fault"


FREE = frozenset({PortState.IDLE, PortState.PLUGGED, PortState.FULL_PLUGGED})
"""States in which a rider can start."""


@dataclass(frozen=True)
class Port:
    pile_id: str
    port_no: int
    state: PortState
    fault: str | None
    plugged: bool
    power_dw: int
    reported_at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", PortState(self.state))


@dataclass(frozen=True, kw_only=True)
class PortReport:
    """What a pile says of one port, ordered by the message's (boot, seq). Power in 0.1 W."""

    pile_id: str
    port_no: int
    state: PortState
    fault: str | None
    plugged: bool
    power_dw: int
    boot: int
    seq: int


def get(conn: Connection[TupleRow], *, pile_id: str, port_no: int) -> Port:
    """One port. Raises PortUnknown."""
    with conn.cursor(row_factory=class_row(Port)) as cursor:
        port = cursor.execute(
            """
            SELECT pile_id, port_no, state, fault, plugged, power_dw, reported_at
              FROM pile_port WHERE pile_id = %(pile_id)s AND port_no = %(port_no)s
            """,
            {"pile_id": pile_id, "port_no": port_no},
        ).fetchone()
    if port is None:
        raise PortUnknown(pile_id, port_no)
    return port


def lock(conn: Connection[TupleRow], *, pile_id: str, port_no: int) -> None:
    """Hold a port until the transaction ends: starts on one port happen one after the other."""
    conn.execute(
        "SELECT port_no FROM pile_port WHERE pile_id = %(pile_id)s AND port_no = %(port_no)s FOR UPDATE",
        {"pile_id": pile_id, "port_no": port_no},
    )


def lock_pile(conn: Connection[TupleRow], pile_id: str) -> None:
    """Hold every port of a pile until the transaction ends: no start on it happens meanwhile."""
    conn.execute(
        "SELECT port_no FROM pile_port WHERE pile_id = %(pile_id)s ORDER BY port_no FOR UPDATE",
        {"pile_id": pile_id},
    )


def register_read(
    conn: Connection[TupleRow],
    *,
    pile_id: str,
    port_no: int,
    last_dwh: int,
    began_at: datetime,
    ended_at: datetime,
) -> int | None:
    """Note a port's energy register (0.1 Wh) at the end of a session; gives where it stood before that began.

    None where that is not known: the first session, or one told after a later one.
    """
    values = {
        "pile_id": pile_id,
        "port_no": port_no,
        "last_dwh": last_dwh,
        "began_at": began_at,
        "ended_at": ended_at,
    }
    before = conn.execute(
        """
        SELECT register_dwh FROM pile_port
         WHERE pile_id = %(pile_id)s AND port_no = %(port_no)s AND register_at <= %(began_at)s FOR NO KEY UPDATE
        """,
        values,
    ).fetchone()
    conn.execute(
        """
        UPDATE pile_port SET register_dwh = %(last_dwh)s, register_at = %(ended_at)s
         WHERE pile_id = %(pile_id)s AND port_no = %(port_no)s
           AND (register_at IS NULL OR register_at <= %(ended_at)s)
        """,
        values,
    )
    return None if before is None else int(before[0])


def of_pile(conn: Connection[TupleRow], pile_id: str) -> list[Port]:
    """A pile's ports by number."""
    with conn.cursor(row_factory=class_row(Port)) as cursor:
        return cursor.execute(
            """
            SELECT pile_id, port_no, state, fault, plugged, power_dw, reported_at
              FROM pile_port WHERE pile_id = %(pile_id)s ORDER BY port_no
            """,
            {"pile_id": pile_id},
        ).fetchall()


def hold(conn: Connection[TupleRow], *, session_ids: Collection[UUID], of_piles: Collection[str]) -> None:
    """Hold the ports of these sessions, and all of these piles, until the transaction ends."""
    conn.execute(
        """
        WITH wanted AS (
            SELECT pile_id, port_no FROM charging_session WHERE session_id = ANY(%(session_ids)s)
            UNION
            SELECT pile_id, port_no FROM pile_port WHERE pile_id = ANY(%(pile_ids)s))
        SELECT pile_port.port_no FROM pile_port JOIN wanted USING (pile_id, port_no)
         ORDER BY pile_id, port_no FOR UPDATE OF pile_port
        """,
        {"pile_ids": list(of_piles), "session_ids": list(session_ids)},
    )


def reported(conn: Connection[TupleRow], reports: Sequence[PortReport], *, now: datetime) -> None:
    """Take port states; one that is older than what the port said last changes nothing."""
    if not reports:
        return
    with conn.cursor() as cursor:
        cursor.executemany(
            """
            UPDATE pile_port SET state = %(state)s, fault = %(fault)s, plugged = %(plugged)s, power_dw = %(power_dw)s,
                   boot = %(boot)s, seq = %(seq)s, reported_at = %(now)s,
                   fault_since = CASE WHEN %(state)s <> 'fault' THEN NULL
                                      WHEN state = 'fault' AND fault IS NOT DISTINCT FROM %(fault)s
                                      THEN coalesce(fault_since, %(now)s) ELSE %(now)s END
             WHERE pile_id = %(pile_id)s AND port_no = %(port_no)s AND (boot, seq) < (%(boot)s, %(seq)s)
            """,
            [
                {
                    "pile_id": report.pile_id,
                    "port_no": report.port_no,
                    "state": report.state,
                    "fault": report.fault,
                    "plugged": report.plugged,
                    "power_dw": report.power_dw,
                    "boot": report.boot,
                    "seq": report.seq,
                    "now": now,
                }
                for report in sorted(reports, key=lambda report: (report.pile_id, report.port_no))
            ],
        )
