"""Which ports of a pile can be started, and how: one rule for whoever lists them and whoever starts one."""

from dataclasses import dataclass
from datetime import datetime

from psycopg import Connection
from psycopg.rows import TupleRow

from charging import locks, piles, ports, start_codes
from charging.errors import PortUnknown
from charging.piles import PileState
from charging.ports import FREE, PortState
from charging.session_states import SessionState, StartFailure

START_ALLOWANCE_DW = 3000
"""Headroom a new start must find on its pile: 300 W, what an ordinary charger draws."""

_DRAWS_SOON = frozenset({SessionState.PAID, SessionState.STARTING, SessionState.PENDING_PLUG})


@dataclass(frozen=True)
class WayToStart:
    """`obstacle` is what keeps a port from starting; `by_code` that its rider has to type a code in."""

    obstacle: StartFailure | None
    by_code: bool = False


def of_pile(
    conn: Connection[TupleRow], pile_id: str, *, codes_sold: bool, now: datetime
) -> dict[int, WayToStart]:
    """How each port of a pile can be started now, or what keeps it from that. Raises PileUnknown."""
    away = not piles.get(conn, pile_id).online
    by_code = away and codes_sold and start_codes.offered(conn, pile_id, now=now)
    return {
        port_no: WayToStart(obstacle, by_code=by_code and obstacle is None)
        for port_no, obstacle in _obstacles(conn, pile_id, by_code=by_code).items()
    }


def of_port(
    conn: Connection[TupleRow], *, pile_id: str, port_no: int, codes_sold: bool, now: datetime
) -> WayToStart:
    """The same for one port. Raises PileUnknown, PortUnknown."""
    ways = of_pile(conn, pile_id, codes_sold=codes_sold, now=now)
    if port_no not in ways:
        raise PortUnknown(pile_id, port_no)
    return ways[port_no]


def obstacle(
    conn: Connection[TupleRow], *, pile_id: str, port_no: int, by_code: bool = False
) -> StartFailure | None:
    """What keeps a port from starting now, None if nothing does; by code it needs no link to its pile.

    Raises PileUnknown, PortUnknown.
    """
    obstacles = _obstacles(conn, pile_id, by_code=by_code)
    if port_no not in obstacles:
        raise PortUnknown(pile_id, port_no)
    return obstacles[port_no]


def held_ports(conn: Connection[TupleRow], pile_id: str) -> dict[int, SessionState]:
    """The ports of a pile that a session holds, and how far that is."""
    rows = conn.execute(
        """
        SELECT port_no, state FROM charging_session
         WHERE pile_id = %(pile_id)s
           AND state IN ('paid', 'awaiting_code', 'starting', 'pending_plug', 'charging', 'stopping')
        """,
        {"pile_id": pile_id},
    ).fetchall()
    return {port_no: SessionState(state) for port_no, state in rows}


def _obstacles(conn: Connection[TupleRow], pile_id: str, *, by_code: bool) -> dict[int, StartFailure | None]:
    """What keeps each port of a pile from starting, the gravest reason first."""
    pile = piles.get(conn, pile_id)
    own = ports.of_pile(conn, pile_id)
    locked = locks.obstacles(conn, pile_id, [port.port_no for port in own])
    held = held_ports(conn, pile_id)
    starting = sum(state in _DRAWS_SOON for state in held.values())
    needed_dw = sum(port.power_dw for port in own) + START_ALLOWANCE_DW * (starting + 1)
    found: dict[int, StartFailure | None] = {}
    for port in own:
        if pile.state is not PileState.ACTIVE:
            found[port.port_no] = StartFailure.PILE_OUT_OF_SERVICE
        elif port.port_no in locked:
            found[port.port_no] = locked[port.port_no]
        elif not pile.online and not by_code:
            found[port.port_no] = StartFailure.PILE_OFFLINE
        elif port.state in (PortState.FAULT, PortState.DISABLED):
            found[port.port_no] = StartFailure.PORT_FAULT
        elif port.state not in FREE or port.port_no in held:
            found[port.port_no] = StartFailure.PORT_BUSY
        elif needed_dw > pile.power_limit_w * 10:
            found[port.port_no] = StartFailure.PILE_OVER_POWER
        else:
            found[port.port_no] = None
    return found
