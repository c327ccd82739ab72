"""More time or energy for a running session: asked of its pile, and true once the pile has said so.

Limits only grow. The rider's prepayment caps the money whatever the limits are.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from charging import commands, sessions
from charging.commands import CommandKind
from charging.errors import ExtensionRefused, SessionUnknown
from charging.session_states import SessionState
from charging.sessions import ChargingSession
from charging.waits import Waits

LONGEST_SESSION_S = 7 * 86_400
MOST_ENERGY_DWH = 1 << 40
_RUNNING = frozenset({SessionState.PENDING_PLUG, SessionState.CHARGING})
_EXTENDED = "extended"


@dataclass(frozen=True)
class ExtensionAnswer:
    """A pile's answer: its word, and the limits that hold there (seconds, 0.1 Wh; 0 where it has no such session)."""

    pile_id: str
    session_id: UUID
    command_id: UUID
    result: str
    limit_s: int
    limit_dwh: int


def extend(
    conn: Connection[TupleRow],
    *,
    session_id: UUID,
    limit_s: int | None,
    limit_dwh: int | None,
    waits: Waits,
    now: datetime,
) -> UUID | None:
    """Ask the pile for these limits; what is None stays as it is. Returns the command, None if they hold already.

    Asking again for what is under way changes nothing; asking for something else replaces it. Raises SessionUnknown
    and ExtensionRefused.
    """
    session = sessions.lock(conn, session_id)
    if session is None:
        raise SessionUnknown(session_id)
    if session.state not in _RUNNING:
        raise ExtensionRefused(session_id, "session_not_running")
    wanted = (
        session.limit_s if limit_s is None else limit_s,
        session.limit_dwh if limit_dwh is None else limit_dwh,
    )
    if wanted[0] < session.limit_s or wanted[1] < session.limit_dwh:
        raise ExtensionRefused(session_id, "below_present")
    if wanted[0] > LONGEST_SESSION_S or wanted[1] > MOST_ENERGY_DWH:
        raise ExtensionRefused(session_id, "too_long")
    if wanted == (session.limit_s, session.limit_dwh):
        return None
    under_way = commands.live_of_session(conn, session_id, CommandKind.EXTEND)
    if under_way is not None and wanted == (under_way.body["limit_s"], under_way.body["limit_dwh"]):
        return under_way.command_id
    return _ask(conn, session, limit_s=wanted[0], limit_dwh=wanted[1], waits=waits, now=now)


def answered(conn: Connection[TupleRow], answer: ExtensionAnswer, *, now: datetime) -> None:
    """The pile has said which limits hold. They count whenever it says so: energy flows by them."""
    commands.answered(
        conn,
        command_id=answer.command_id,
        pile_id=answer.pile_id,
        done=answer.result == _EXTENDED,
        result={"result": answer.result, "limit_s": answer.limit_s, "limit_dwh": answer.limit_dwh},
        now=now,
        kind=CommandKind.EXTEND,
    )
    grown = conn.execute(
        """
        UPDATE charging_session
           SET limit_s = greatest(limit_s, %(limit_s)s), limit_dwh = greatest(limit_dwh, %(limit_dwh)s)
         WHERE session_id = %(session_id)s AND pile_id = %(pile_id)s AND state = ANY(%(running)s)
           AND (limit_s < %(limit_s)s OR limit_dwh < %(limit_dwh)s)
           AND EXISTS (SELECT FROM command
                        WHERE command_id = %(command_id)s AND kind = 'extend'
                          AND command.session_id = %(session_id)s AND command.pile_id = %(pile_id)s)
        """,
        {
            "limit_s": min(answer.limit_s, LONGEST_SESSION_S),
            "limit_dwh": min(answer.limit_dwh, MOST_ENERGY_DWH),
            "session_id": answer.session_id,
            "pile_id": answer.pile_id,
            "command_id": answer.command_id,
            "running": sorted(_RUNNING | {SessionState.STOPPING}),
        },
    ).rowcount
    if grown:
        conn.execute(
            "SELECT pg_notify('session_live', %(session_id)s)", {"session_id": str(answer.session_id)}
        )


def _ask(
    conn: Connection[TupleRow],
    session: ChargingSession,
    *,
    limit_s: int,
    limit_dwh: int,
    waits: Waits,
    now: datetime,
) -> UUID:
    commands.supersede(conn, pile_id=session.pile_id, kind=CommandKind.EXTEND, port_no=session.port_no)
    return commands.enqueue(
        conn,
        pile_id=session.pile_id,
        kind=CommandKind.EXTEND,
        body={"port_no": session.port_no, "limit_s": limit_s, "limit_dwh": limit_dwh},
        session_id=session.session_id,
        expires_at=now + waits.service,
        now=now,
    )
