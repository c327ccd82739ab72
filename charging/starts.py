"""From the order to the first watt: order, payment, start command, the pile's answer.

Whatever goes wrong before energy flows gives the whole prepayment back without asking.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from psycopg import Connection
from psycopg.rows import TupleRow

from billing import affordability, agreements, charges, payments, tariffs
from billing.affordability import Affordable
from billing.payments import Payment
from billing.tariff_objects import TariffVersion
from charging import commands, events, piles, sessions, start_codes, start_failures, ways_to_start
from charging.commands import CommandKind
from charging.errors import AmountBuysNothing, AmountRefused, PortUnavailable
from charging.events import EventKind
from charging.session_states import BEFORE_CHARGE, SessionState, StartFailure
from charging.sessions import ChargingSession
from charging.start_codes import CodeDesk
from charging.waits import Waits

LEAST_PREPAID_FEN = 10
MOST_PREPAID_FEN = 10_000
LONGEST_SESSION_S = 10 * 3600
LONGEST_BY_CODE_S = 12 * 3600
"""How long a pile lets a session run that no command limits."""
PORT_POWER_LIMIT_W = 1000
FLOAT_S = 3600
PLUG_WAIT_S = 120


@dataclass(frozen=True)
class Order:
    """A session nobody has paid yet, and the payment that will start it."""

    session: ChargingSession
    payment: Payment


def order(
    conn: Connection[TupleRow],
    *,
    pile_id: str,
    port_no: int,
    amount_fen: int,
    rail: str,
    waits: Waits,
    now: datetime,
    codes: CodeDesk | None = None,
) -> Order:
    """Create a session and its payment, with tariff and agreement frozen as they hold now.

    With `codes` a pile that cannot be reached is sold all the same: its rider will type a code in, made here.

    Raises AmountRefused, AmountBuysNothing, PileUnknown, PortUnknown, PortUnavailable, TariffMissing, AgreementMissing,
    AgreementSilent.
    """
    if not LEAST_PREPAID_FEN <= amount_fen <= MOST_PREPAID_FEN:
        raise AmountRefused(amount_fen, LEAST_PREPAID_FEN, MOST_PREPAID_FEN)
    sold = codes is not None
    way = ways_to_start.of_port(conn, pile_id=pile_id, port_no=port_no, codes_sold=sold, now=now)
    if way.obstacle is not None:
        raise PortUnavailable(pile_id, port_no, way.obstacle)
    site_id = piles.get(conn, pile_id).site_id
    tariff = tariffs.current(conn, site_id=site_id, at=now)
    agreement = agreements.current(conn, site_id=site_id, at=now)
    agreement.require(tariff.tariffs)
    limits = _limits(tariff, amount_fen, by_code=way.by_code, now=now)
    code = None
    if way.by_code and codes is not None:
        most_dwh = limits.energy_dwh
        code = start_codes.make(conn, codes, pile_id=pile_id, port_no=port_no, limit_dwh=most_dwh, now=now)
        if code is None:
            raise AmountBuysNothing(amount_fen)
    session_id = uuid4() if code is None else code.session_id
    conn.execute(
        """
        INSERT INTO charging_session (session_id, pile_id, port_no, site_id, state, prepaid_fen, tariff_version_id,
                                      agreement_version_id, limit_s, limit_dwh, created_at)
        VALUES (%(session_id)s, %(pile_id)s, %(port_no)s, %(site_id)s, 'created', %(amount_fen)s,
                %(tariff_version_id)s, %(agreement_version_id)s, %(limit_s)s, %(limit_dwh)s, %(now)s)
        """,
        {
            "session_id": session_id,
            "pile_id": pile_id,
            "port_no": port_no,
            "site_id": site_id,
            "amount_fen": amount_fen,
            "tariff_version_id": tariff.tariff_version_id,
            "agreement_version_id": agreement.agreement_version_id,
            "limit_s": limits.duration_s if code is None else LONGEST_BY_CODE_S,
            "limit_dwh": limits.energy_dwh if code is None else code.limit_dwh,
            "now": now,
        },
    )
    if code is not None:
        start_codes.keep(conn, code)
    sessions.note(conn, session_id, SessionState.CREATED, cause="ordered", now=now)
    payment = payments.create(
        conn, session_id=session_id, amount_fen=amount_fen, rail=rail, now=now, expires_at=now + waits.payment
    )
    return Order(sessions.get(conn, session_id), payment)


def paid(conn: Connection[TupleRow], payment: Payment, *, waits: Waits, now: datetime) -> None:
    """The rider has paid: tell the pile to start, or give everything back at once. A repeat changes nothing."""
    session = sessions.lock_with_port(conn, payment.session_id)
    if session is None or session.state is not SessionState.CREATED:
        return
    obstacle = ways_to_start.obstacle(conn, pile_id=session.pile_id, port_no=session.port_no)
    conn.execute(
        "UPDATE charging_session SET paid_at = %(now)s WHERE session_id = %(session_id)s",
        {"now": now, "session_id": session.session_id},
    )
    if obstacle is StartFailure.PILE_OFFLINE and start_codes.usable(conn, session.session_id, now=now):
        obstacle = ways_to_start.obstacle(
            conn, pile_id=session.pile_id, port_no=session.port_no, by_code=True
        )
        if obstacle is None:
            _await_code(conn, session, now=now)
            return
    if obstacle is not None:
        _fail(conn, session, obstacle, now=now)
        return
    sessions.move(conn, session, SessionState.PAID, cause="payment_received", now=now)
    session = sessions.get(conn, session.session_id)
    commands.enqueue(
        conn,
        pile_id=session.pile_id,
        kind=CommandKind.START,
        body={
            "port_no": session.port_no,
            "limit_s": session.limit_s,
            "limit_dwh": session.limit_dwh,
            "max_power_w": PORT_POWER_LIMIT_W,
            "stop_when_full": True,
            "float_s": FLOAT_S,
            "plug_wait_s": PLUG_WAIT_S,
            "tariff_version": session.tariff_version_id,
        },
        session_id=session.session_id,
        expires_at=now + waits.start,
        now=now,
    )
    sessions.move(conn, session, SessionState.STARTING, cause="start_sent", now=now)


def accepted(
    conn: Connection[TupleRow],
    *,
    pile_id: str,
    session_id: UUID,
    command_id: UUID,
    now: datetime,
    plugged: bool,
) -> None:
    """The pile will start, at once or when something is plugged in."""
    own_id = _answer(conn, pile_id=pile_id, command_id=command_id, done=True, cause="ok", now=now)
    session = sessions.lock(conn, own_id or session_id)
    if session is not None and session.pile_id == pile_id and not plugged:
        sessions.move(conn, session, SessionState.PENDING_PLUG, cause="not_plugged", now=now)


def refused(
    conn: Connection[TupleRow], *, pile_id: str, session_id: UUID, command_id: UUID, cause: str, now: datetime
) -> None:
    """The pile will not start: everything goes back. `cause` is the pile's word for it."""
    own_id = _answer(conn, pile_id=pile_id, command_id=command_id, done=False, cause=cause, now=now)
    session = sessions.lock(conn, own_id or session_id)
    if session is None or session.pile_id != pile_id:
        return
    if _fail(conn, session, StartFailure.REFUSED_BY_PILE, detail=cause, now=now):
        start_failures.refused(conn, session, cause=cause, now=now)


def started(
    conn: Connection[TupleRow],
    *,
    pile_id: str,
    session_id: UUID,
    command_id: UUID | None,
    claimed_at: datetime,
    now: datetime,
) -> None:
    """Power flows since `claimed_at` by the pile's clock. Counts as the answer to the start if that answer was lost.

    The message may come late, so the claim counts where it can be true; else the clock is wrong and arrival counts.
    """
    if command_id is not None:
        _answer(conn, pile_id=pile_id, command_id=command_id, done=True, cause="started", now=now)
    session = sessions.lock(conn, session_id)
    if session is None or session.pile_id != pile_id:
        return
    conn.execute(
        """
        UPDATE charging_session SET started_at = %(started_at)s
         WHERE session_id = %(session_id)s AND started_at IS NULL AND state NOT IN ('failed', 'cancelled')
        """,
        {
            "started_at": claimed_at if sessions.can_have_begun(session, claimed_at, now=now) else now,
            "session_id": session_id,
        },
    )
    gone_on = session.state is SessionState.CODE_LAPSED and session.port_no in ways_to_start.held_ports(
        conn, session.pile_id
    )
    # A code used before it lapsed, heard of after the port was sold anew: only its settlement is still to come.
    target = SessionState.AWAITING_SETTLEMENT if gone_on else SessionState.CHARGING
    sessions.move(conn, session, target, cause="power_flows", now=now)


def unanswered(
    conn: Connection[TupleRow], session_id: UUID, *, was_sent: bool, wait: timedelta, now: datetime
) -> None:
    """The start's deadline has passed without an answer: everything goes back.

    The pile may have started all the same, so it is told to stop for as long as `wait`: the gateway marks a command as
    sent after it has sent it. Only a start known to be sent counts against the socket.
    """
    session = sessions.lock(conn, session_id)
    if session is None or session.state not in (SessionState.PAID, SessionState.STARTING):
        return
    _fail(conn, session, StartFailure.NO_ANSWER, now=now)
    _stop_all_the_same(conn, session, reason="start_unanswered", wait=wait, now=now)
    if was_sent:
        start_failures.unanswered(conn, session, now=now)


def code_unused(conn: Connection[TupleRow], session_id: UUID, *, now: datetime) -> None:
    """The code of a session was not used as far as anybody can know: everything goes back."""
    session = sessions.lock(conn, session_id)
    if session is not None and session.state is SessionState.CODE_LAPSED:
        _fail(conn, session, StartFailure.CODE_UNUSED, now=now)


def called_off(
    conn: Connection[TupleRow], session_id: UUID, failure: StartFailure, *, wait: timedelta, now: datetime
) -> None:
    """Give everything back for a charge that has not begun, and tell the pile to stop it for as long as `wait`."""
    session = sessions.lock(conn, session_id)
    if session is None or session.state not in BEFORE_CHARGE:
        return
    _fail(conn, session, failure, now=now)
    _stop_all_the_same(conn, session, reason=failure, wait=wait, now=now)


def _await_code(conn: Connection[TupleRow], session: ChargingSession, *, now: datetime) -> None:
    sessions.move(conn, session, SessionState.PAID, cause="payment_received", now=now)
    sessions.came_by_code(conn, session.session_id)
    paid_session = sessions.get(conn, session.session_id)
    sessions.move(conn, paid_session, SessionState.AWAITING_CODE, cause="pile_offline", now=now)


def _stop_all_the_same(
    conn: Connection[TupleRow], session: ChargingSession, *, reason: str, wait: timedelta, now: datetime
) -> None:
    """The pile may have begun what we gave up: it is to stop, whenever it hears of it."""
    commands.enqueue(
        conn,
        pile_id=session.pile_id,
        kind=CommandKind.STOP,
        body={"port_no": session.port_no, "reason": reason},
        session_id=session.session_id,
        expires_at=now + wait,
        now=now,
    )


def _limits(tariff: TariffVersion, amount_fen: int, *, by_code: bool, now: datetime) -> Affordable:
    limits = affordability.affordable(
        tariff,
        amount_fen=amount_fen,
        longest_s=LONGEST_BY_CODE_S if by_code else LONGEST_SESSION_S,
        at=now,
        most_power_dw=PORT_POWER_LIMIT_W * 10,
    )
    if limits.energy_dwh == 0 or limits.duration_s == 0:
        raise AmountBuysNothing(amount_fen)
    return limits


def _fail(
    conn: Connection[TupleRow],
    session: ChargingSession,
    failure: StartFailure,
    *,
    now: datetime,
    detail: str | None = None,
) -> bool:
    if not sessions.move(conn, session, SessionState.FAILED, cause=failure, now=now):
        return False
    conn.execute(
        "UPDATE charging_session SET failure = %(failure)s WHERE session_id = %(session_id)s",
        {"failure": detail or failure, "session_id": session.session_id},
    )
    events.record(
        conn,
        pile_id=session.pile_id,
        kind=EventKind.START_FAILED,
        now=now,
        detail={
            "session_id": str(session.session_id),
            "port_no": session.port_no,
            "cause": detail or failure,
        },
    )
    charges.refund_session(conn, session_id=session.session_id, cause="start_failed", now=now)
    return True


def _answer(
    conn: Connection[TupleRow], *, pile_id: str, command_id: UUID, done: bool, cause: str, now: datetime
) -> UUID | None:
    """The start's own session where this answers it: whatever the pile calls it, nobody else will move it now."""
    result, kind = {"cause": cause}, CommandKind.START
    command = commands.answered(
        conn, command_id=command_id, pile_id=pile_id, done=done, result=result, now=now, kind=kind
    )
    return None if command is None else command.session_id
