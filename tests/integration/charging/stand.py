"""A site with everything a charge needs, and the moves that bring a session where a test wants it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from billing import payments
from billing.payments import PaidOutcome
from charging import command_outbox, meter, piles, sessions, settlements, starts, timers
from charging.commands import Command
from charging.meter_frames import MeterFrame, PortSample
from charging.payment_hooks import session_hooks
from charging.piles import BootReport, shard_of
from charging.sessions import ChargingSession
from charging.settlements import Outcome, SettledSlot, Settlement
from charging.waits import Waits
from database.pool import Connection

NOW = datetime(2026, 3, 2, 4, 10, tzinfo=UTC)  # 12:10 in Shanghai, a peak hour
WAITS = Waits()
PILE = "YQ-01"


@dataclass
class Stand:
    """Pile YQ-01 at 玉泉新村, active and online."""

    conn: Connection
    now: datetime = NOW

    def order(self, *, port_no: int = 1, amount_fen: int = 300) -> ChargingSession:
        return starts.order(
            self.conn,
            pile_id=PILE,
            port_no=port_no,
            amount_fen=amount_fen,
            rail="wechat_pay",
            waits=WAITS,
            now=self.now,
        ).session

    def pay(self, session_id: UUID) -> PaidOutcome:
        """Book the money and run the hooks, as a notification does."""
        payment = payments.of_session(self.conn, session_id)
        assert payment is not None
        outcome = payments.mark_paid(
            self.conn,
            out_trade_no=payment.out_trade_no,
            rail_transaction_id=f"T{payment.out_trade_no}",
            amount_fen=payment.amount_fen,
            paid_at=self.now,
            now=self.now,
        )
        if outcome.first and not outcome.too_late:
            session_hooks(WAITS).on_paid(self.conn, outcome.payment, self.now)
        return outcome

    def paid(self, *, port_no: int = 1, amount_fen: int = 300) -> ChargingSession:
        session = self.order(port_no=port_no, amount_fen=amount_fen)
        self.pay(session.session_id)
        return sessions.get(self.conn, session.session_id)

    def due(self) -> list[Command]:
        """What goes to the pile now, which is noted as sent."""
        due = command_outbox.due(self.conn, shards=[shard_of(PILE)], limit=10, now=self.now)
        tries = dict.fromkeys([command.command_id for command in due], True)
        command_outbox.note_tries(self.conn, tries, resend=WAITS.resend, now=self.now)
        return due

    def charging(self, *, port_no: int = 1, amount_fen: int = 300) -> ChargingSession:
        session = self.paid(port_no=port_no, amount_fen=amount_fen)
        [command] = self.due()
        starts.accepted(
            self.conn,
            pile_id=PILE,
            session_id=session.session_id,
            command_id=command.command_id,
            plugged=True,
            now=self.now,
        )
        starts.started(
            self.conn,
            pile_id=PILE,
            session_id=session.session_id,
            command_id=command.command_id,
            claimed_at=self.now,
            now=self.now,
        )
        return sessions.get(self.conn, session.session_id)

    def sweep(self) -> None:
        """Take every timed step as often as it finds a case."""
        for step in timers.STEPS:
            while step(self.conn, WAITS, self.now):
                pass

    def settlement(
        self,
        session: ChargingSession,
        *,
        slots: Sequence[tuple[int, int]] = ((1200, 600), (1800, 900), (600, 300)),
        pile_id: str = PILE,
        started_at: datetime | None = None,
        registers_dwh: int | None = None,
        max_power_dw: int = 10_000,
    ) -> Settlement:
        """A settlement with (seconds, 0.1 Wh) per half hour, from `started_at` on."""
        begin = started_at or session.started_at or self.now
        first_slot = datetime.fromtimestamp(begin.timestamp() // 1800 * 1800, UTC)
        settled = [
            SettledSlot(first_slot + index * timedelta(minutes=30), energy_dwh, duration_s)
            for index, (duration_s, energy_dwh) in enumerate(slots)
        ]
        energy_dwh = sum(slot.energy_dwh for slot in settled)
        duration_s = sum(slot.duration_s for slot in settled)
        return Settlement(
            pile_id=pile_id,
            session_id=session.session_id,
            port_no=session.port_no,
            started_at=begin,
            ended_at=begin + timedelta(seconds=duration_s),
            duration_s=duration_s,
            start_register_dwh=5000,
            end_register_dwh=5000 + (energy_dwh if registers_dwh is None else registers_dwh),
            energy_dwh=energy_dwh,
            max_power_dw=max_power_dw,
            slots=settled,
            stop_reason="full",
            body={"energy_dwh": energy_dwh, "duration_s": duration_s},
        )

    def settle(self, settlement: Settlement) -> Outcome:
        return settlements.settle(self.conn, settlement, now=self.now + timedelta(hours=1))

    def count(self, table: str) -> int:
        row = self.conn.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
        assert row is not None
        return row[0]


def bring_up(conn: Connection, *, boot: int) -> None:
    piles.booted(
        conn,
        BootReport(
            pile_id=PILE,
            boot=boot,
            seq=1,
            connection=1,
            firmware="1.0",
            hardware="a",
            port_count=10,
            signal_dbm=-71,
            reason="power",
            unsent=0,
        ),
        now=NOW,
    )
    piles.seen(conn, {PILE: (boot, 1)}, now=NOW)


def meter_for(
    stand: Stand,
    session_id: UUID,
    *,
    minutes: int,
    power_dw: int,
    received_at: datetime | None = None,
    dated: bool = True,
    pile_id: str = PILE,
) -> None:
    """Store a sample a minute of constant power, from now on."""
    frames = [
        MeterFrame(
            pile_id=pile_id,
            sampled_at=stand.now + timedelta(minutes=minute),
            received_at=received_at or stand.now + timedelta(minutes=minute),
            dated=dated,
            samples=[
                PortSample(
                    session_id=session_id,
                    port_no=1,
                    elapsed_s=minute * 60,
                    window_s=60,
                    voltage_dv=2200,
                    current_ma=900,
                    power_dw=power_dw,
                    power_min_dw=power_dw,
                    power_max_dw=power_dw,
                    power_mean_dw=power_dw,
                    power_factor_milli=600,
                    energy_dwh=power_dw * minute // 60,
                    temperature_dc=300,
                    phase=0,
                )
            ],
        )
        for minute in range(1, minutes + 1)
    ]
    meter.write_batch(stand.conn, frames)
