"""Moves around start codes and cards, beside those of the stand."""

from datetime import timedelta
from uuid import UUID, uuid4

from billing import ledger, ledger_audit
from charging import local_starts, piles, ports, sessions, starts
from charging.enrolment import SecretVault
from charging.local_starts import LocalStart
from charging.piles import Telemetry
from charging.sessions import ChargingSession
from charging.settlements import SettledSlot, Settlement
from charging.start_codes import CodeDesk
from protocol import start_code
from tests.integration.charging.stand import NOW, PILE, WAITS, Stand

DESK = CodeDesk(SecretVault(b"k" * 32), start_code.make, start_code.valid_until_s)
SECRET = b"s" * 32


def lose_link(stand: Stand) -> None:
    piles.gone(stand.conn, pile_id=PILE, boot=1, connection=1, now=stand.now)


def order(stand: Stand, *, port_no: int = 1, amount_fen: int = 300) -> ChargingSession:
    """An order where codes are sold."""
    return starts.order(
        stand.conn,
        pile_id=PILE,
        port_no=port_no,
        amount_fen=amount_fen,
        rail="wechat_pay",
        waits=WAITS,
        now=stand.now,
        codes=DESK,
    ).session


def paid(stand: Stand, *, port_no: int = 1, amount_fen: int = 300) -> ChargingSession:
    """A session whose rider has paid at a pile without a link."""
    lose_link(stand)
    session = order(stand, port_no=port_no, amount_fen=amount_fen)
    stand.pay(session.session_id)
    return sessions.get(stand.conn, session.session_id)


def beat(stand: Stand, *, unsent: int) -> None:
    """A heartbeat of a pile that is back."""
    piles.seen(stand.conn, {PILE: (1, 1000)}, now=stand.now)
    piles.heartbeat(
        stand.conn,
        Telemetry(
            pile_id=PILE,
            boot=1,
            connection=2,
            sampled_at=stand.now,
            signal_dbm=-70,
            board_temperature_dc=300,
            mains_dv=2300,
            power_dw=0,
            energy_wh=0,
            leakage_ma=0,
            unsent=unsent,
        ),
        now=stand.now,
    )


def tell(
    stand: Stand,
    session_id: UUID | None = None,
    *,
    source: str = "code",
    port_no: int = 1,
    number: str | None = None,
    begun: timedelta = timedelta(0),
) -> tuple[UUID, bool]:
    """The pile's word that a session began, and whether it is taken."""
    told = LocalStart(
        pile_id=PILE,
        session_id=session_id or uuid4(),
        source=source,
        port_no=port_no,
        begun_at=stand.now + begun,
        limit_s=36_000,
        limit_dwh=30_000,
        credential=number,
    )
    return told.session_id, local_starts.told(stand.conn, told, now=stand.now)


def settlement_as_sent(session_id: UUID, *, port_no: int = 1) -> Settlement:
    """A settlement of 1 kWh in one hour, with the body a pile would have sent."""
    slot = int(NOW.timestamp()) // 1800 + 1
    begin = NOW.replace(minute=30)
    body = {
        "port": port_no,
        "started_at_ms": slot * 1_800_000,
        "ended_at_ms": (slot + 2) * 1_800_000,
        "duration_s": 3_600,
        "start_register_dwh": 5_000,
        "end_register_dwh": 15_000,
        "energy_dwh": 10_000,
        "max_power_dw": 10_000,
        "slots": [[slot, 5_000, 1_800], [slot + 1, 5_000, 1_800]],
        "stop_reason": "full",
    }
    return Settlement(
        pile_id=PILE,
        session_id=session_id,
        port_no=port_no,
        started_at=begin,
        ended_at=begin + timedelta(hours=1),
        duration_s=3_600,
        start_register_dwh=5_000,
        end_register_dwh=15_000,
        energy_dwh=10_000,
        max_power_dw=10_000,
        slots=[SettledSlot(begin + timedelta(minutes=30 * part), 5_000, 1_800) for part in range(2)],
        stop_reason="full",
        body=body,
    )


def books_balance(stand: Stand) -> bool:
    """Whether the whole ledger, recomputed, has nothing wrong in it."""
    return ledger_audit.audit(stand.conn).clean


def balance_fen(stand: Stand, code: str) -> int:
    return {each.code: each.balance_fen for each in ledger.balances(stand.conn)}.get(code, 0)


def port_fault(stand: Stand, port_no: int) -> None:
    """The last a pile said of a port before it went away."""
    report = ports.PortReport(
        pile_id=PILE,
        port_no=port_no,
        state=ports.PortState.FAULT,
        fault="short_circuit",
        plugged=False,
        power_dw=0,
        boot=1,
        seq=500,
    )
    ports.reported(stand.conn, [report], now=stand.now)
