"""What a technician asks of a pile: to tell, to send its log, to start again, to be found, to speak, to test a relay.

Such a command is worth something while somebody waits for it, so its deadline is near. Taking a port out of service
is a state to be reached: it is sent for a day, and a newer order for the port takes its place.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from charging import commands, piles, ports
from charging.commands import CommandKind
from charging.errors import PileOutOfService
from charging.piles import PileState
from charging.waits import Waits

MOST_LOG_LINES = 1000
LONGEST_LOCATE_S = 600
MOST_VOICE_CHARACTERS = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COMMANDED = frozenset({PileState.PROVISIONED, PileState.ACTIVE})


class QueryTopic(StrEnum):
    """What a pile can be asked to tell."""

    STATUS = "status"
    CONFIG = "config"
    TARIFF = "tariff"
    METER = "meter"


def query(
    conn: Connection[TupleRow], *, pile_id: str, topic: QueryTopic, waits: Waits, now: datetime
) -> UUID:
    """Have a pile tell something now. Raises PileUnknown, PileOutOfService."""
    return _ask(conn, pile_id, CommandKind.QUERY, {"topic": topic}, wait=waits.service, now=now)


def fetch_log(
    conn: Connection[TupleRow],
    *,
    pile_id: str,
    since: datetime,
    max_lines: int,
    waits: Waits,
    now: datetime,
) -> UUID:
    """Have a pile send the newest lines of its log. Raises PileUnknown, PileOutOfService."""
    since_ms = max(0, (since - _EPOCH) // timedelta(milliseconds=1))
    body = {"since_ms": since_ms, "max_lines": max_lines}
    return _ask(conn, pile_id, CommandKind.LOG, body, wait=waits.service, now=now)


def reboot(conn: Connection[TupleRow], *, pile_id: str, force: bool, waits: Waits, now: datetime) -> UUID:
    """Have a pile start again, with `force` although sessions run. Raises PileUnknown, PileOutOfService."""
    return _ask(conn, pile_id, CommandKind.REBOOT, {"force": force}, wait=waits.service, now=now)


def locate(
    conn: Connection[TupleRow],
    *,
    pile_id: str,
    duration_s: int,
    port_no: int | None,
    waits: Waits,
    now: datetime,
) -> UUID:
    """Have a pile, or one port of it, blink and beep. Raises PileUnknown, PortUnknown, PileOutOfService."""
    body: dict[str, Any] = {"duration_s": duration_s}
    if port_no is not None:
        ports.get(conn, pile_id=pile_id, port_no=port_no)
        body["port"] = port_no
    return _ask(conn, pile_id, CommandKind.LOCATE, body, wait=waits.service, now=now)


def speak(conn: Connection[TupleRow], *, pile_id: str, text: str, waits: Waits, now: datetime) -> UUID:
    """Have a pile say something aloud. Raises PileUnknown, PileOutOfService."""
    return _ask(conn, pile_id, CommandKind.VOICE, {"text": text}, wait=waits.service, now=now)


def test_relay(
    conn: Connection[TupleRow], *, pile_id: str, port_no: int, waits: Waits, now: datetime
) -> UUID:
    """Have a pile test a free port's relay. Raises PileUnknown, PortUnknown, PileOutOfService."""
    ports.get(conn, pile_id=pile_id, port_no=port_no)
    return _ask(conn, pile_id, CommandKind.RELAY_TEST, {"port": port_no}, wait=waits.service, now=now)


def set_port(
    conn: Connection[TupleRow], *, pile_id: str, port_no: int, enabled: bool, waits: Waits, now: datetime
) -> UUID:
    """Take a port out of service, or back; a running session goes on to its end.

    The port's state changes when the pile reports it. Raises PileUnknown, PortUnknown, PileOutOfService.
    """
    ports.get(conn, pile_id=pile_id, port_no=port_no)
    ports.lock(conn, pile_id=pile_id, port_no=port_no)
    commands.supersede(conn, pile_id=pile_id, kind=CommandKind.PORT_SET, port_no=port_no)
    body = {"port": port_no, "enabled": enabled}
    return _ask(conn, pile_id, CommandKind.PORT_SET, body, wait=waits.care, now=now)


def _ask(
    conn: Connection[TupleRow],
    pile_id: str,
    kind: CommandKind,
    body: Mapping[str, Any],
    *,
    wait: timedelta,
    now: datetime,
) -> UUID:
    pile = piles.get(conn, pile_id)
    if pile.state not in _COMMANDED:
        raise PileOutOfService(pile_id, pile.state)
    return commands.enqueue(
        conn, pile_id=pile_id, kind=kind, body=body, session_id=None, expires_at=now + wait, now=now
    )
