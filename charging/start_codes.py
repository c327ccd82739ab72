"""Start codes: how a rider who has paid starts a port that we cannot reach, by typing ten digits in at it.

Platform and pile make the same code and the same session id from the device secret, so that whatever the pile tells
later finds the rider's money. How a code is made is the protocol's affair; here it is kept, shown and given up.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from charging import ports, sessions
from charging.enrolment import SecretVault
from charging.session_states import SessionState

SEEN_WITHIN = timedelta(hours=24)
"""A pile not heard of for longer may have no power at all, and is not sold by code."""
LEAST_VALID = timedelta(minutes=5)
"""What must be left of a code's life when it is paid for."""
LEAST_DWH = 100
MOST_DWH = 999_900
"""A code carries 10 Wh to 99.99 kWh, in steps of 10 Wh."""
_STEP_DWH = 100
_STEPS_TRIED = 20
"""Orders alike within one window would have one code: each later one buys a step less."""


class MadeCode(Protocol):
    """What the protocol makes of a secret, a port, an energy and a time."""

    @property
    def digits(self) -> str: ...
    @property
    def session_id(self) -> UUID: ...
    @property
    def limit_dwh(self) -> int: ...


class MakeCode(Protocol):
    """Makes the code of a port for so much energy (0.1 Wh) at a time (s since 1970)."""

    def __call__(self, secret: bytes, *, epoch: int, port: int, limit_dwh: int, at_s: int) -> MadeCode: ...


@dataclass(frozen=True)
class CodeDesk:
    """What selling codes needs: the vault of the secrets, the protocol's recipe, and until when (s) a code is taken."""

    vault: SecretVault
    make: MakeCode
    valid_until_s: Callable[[int], int]


@dataclass(frozen=True)
class StartCode:
    """A code and its session; `limit_dwh` is in 0.1 Wh."""

    session_id: UUID
    digits: str
    key_epoch: int
    limit_dwh: int
    made_at: datetime
    valid_until: datetime


@dataclass(frozen=True)
class CodeLife:
    """A session's code and what became of it; `lapsed_at` since when nobody expects it to be used."""

    session_id: UUID
    digits: str
    valid_until: datetime
    lapsed_at: datetime | None
    given_up: bool


def offered(conn: Connection[TupleRow], pile_id: str, *, now: datetime) -> bool:
    """Whether a pile that cannot be reached can be sold by code: heard of lately, and not told to take none."""
    row = conn.execute(
        """
        SELECT coalesce((pile_care.config_settings ->> 'code_mode')::int, 1) <> 0
          FROM pile LEFT JOIN pile_care USING (pile_id)
         WHERE pile_id = %(pile_id)s AND last_seen_at >= %(since)s
        """,
        {"pile_id": pile_id, "since": now - SEEN_WITHIN},
    ).fetchone()
    return row is not None and bool(row[0])


def make(
    conn: Connection[TupleRow],
    desk: CodeDesk,
    *,
    pile_id: str,
    port_no: int,
    limit_dwh: int,
    now: datetime,
) -> StartCode | None:
    """A code no order has yet, for at most so much energy; None where the energy is too little for one.

    Raises SecretUnreadable.
    """
    ports.lock(conn, pile_id=pile_id, port_no=port_no)
    key = conn.execute(
        """
        SELECT epoch, wrapped_secret FROM pile_key
         WHERE pile_id = %(pile_id)s AND retired_at IS NULL AND first_used_at IS NOT NULL
         ORDER BY epoch DESC LIMIT 1
        """,
        {"pile_id": pile_id},
    ).fetchone()
    if key is None:
        return None
    secret = desk.vault.unwrap(bytes(key[1]), pile_id=pile_id, epoch=key[0])
    at_s = int(now.timestamp())
    most_dwh = min(limit_dwh, MOST_DWH)
    for energy_dwh in range(most_dwh, most_dwh - _STEPS_TRIED * _STEP_DWH, -_STEP_DWH):
        if energy_dwh < LEAST_DWH:
            break
        code = desk.make(secret, epoch=key[0], port=port_no, limit_dwh=energy_dwh, at_s=at_s)
        if not _taken(conn, code.session_id):
            valid_until = datetime.fromtimestamp(desk.valid_until_s(at_s), UTC)
            return StartCode(code.session_id, code.digits, key[0], code.limit_dwh, now, valid_until)
    return None


def keep(conn: Connection[TupleRow], code: StartCode) -> None:
    """Write down the code of a session that is ordered."""
    conn.execute(
        """
        INSERT INTO start_code (session_id, digits, key_epoch, made_at, valid_until)
        VALUES (%(session_id)s, %(digits)s, %(key_epoch)s, %(made_at)s, %(valid_until)s)
        """,
        {
            "session_id": code.session_id,
            "digits": code.digits,
            "key_epoch": code.key_epoch,
            "made_at": code.made_at,
            "valid_until": code.valid_until,
        },
    )


def of_session(conn: Connection[TupleRow], session_id: UUID) -> CodeLife | None:
    """The code of a session; None for one that has none."""
    with conn.cursor(row_factory=class_row(CodeLife)) as cursor:
        return cursor.execute(
            """
            SELECT session_id, digits, valid_until, lapsed_at, given_up
              FROM start_code WHERE session_id = %(session_id)s
            """,
            {"session_id": session_id},
        ).fetchone()


def usable(conn: Connection[TupleRow], session_id: UUID, *, now: datetime) -> bool:
    """Whether a session has a code that a rider still has the time to type in."""
    code = of_session(conn, session_id)
    return code is not None and code.lapsed_at is None and now + LEAST_VALID <= code.valid_until


def give_up(conn: Connection[TupleRow], session_id: UUID, *, now: datetime) -> None:
    """The rider will not use the code: the port is free, and the money goes back once that is sure, or long enough ago.

    Anything but a session that waits for its code stays as it is.
    """
    session = sessions.lock_with_port(conn, session_id)
    if session is None or session.state not in (SessionState.AWAITING_CODE, SessionState.CODE_LAPSED):
        return
    lapse(conn, session, given_up=True, now=now)


def lapse(
    conn: Connection[TupleRow], session: sessions.ChargingSession, *, given_up: bool, now: datetime
) -> None:
    """Expect no use of a locked session's code any more."""
    conn.execute(
        """
        UPDATE start_code SET lapsed_at = coalesce(lapsed_at, %(now)s), given_up = given_up OR %(given_up)s
         WHERE session_id = %(session_id)s
        """,
        {"now": now, "given_up": given_up, "session_id": session.session_id},
    )
    cause = "given_up" if given_up else "code_expired"
    sessions.move(conn, session, SessionState.CODE_LAPSED, cause=cause, now=now)


def _taken(conn: Connection[TupleRow], session_id: UUID) -> bool:
    row = conn.execute(
        "SELECT session_id FROM charging_session WHERE session_id = %(session_id)s",
        {"session_id": session_id},
    ).fetchone()
    return row is not None
