"""The API process on a real port with a real database and a simulated WeChat Pay; the test plays the pile."""

import math
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from psycopg_pool import ConnectionPool

from billing import rail_calls, refunds
from billing.rail_calls import RailDesk
from charging import command_outbox, enrolment, meter, piles, ports, sessions, settlements, starts
from charging.command_waits import CommandWaits
from charging.commands import Command, CommandKind
from charging.enrolment import SecretVault
from charging.meter_frames import MeterFrame, PortSample
from charging.payment_hooks import session_hooks
from charging.piles import BootReport, shard_of
from charging.ports import PortReport, PortState
from charging.session_states import SessionState
from charging.settlements import SettledSlot, Settlement
from database.pool import Connection
from payment_sim import app as payment_sim_app
from payment_sim.app import SimConfig
from pileway import street
from rider_web import app as rider_app
from rider_web.live_hub import LiveHub
from rider_web.session_facts import FactsReader, SessionFacts
from tests.integration.rider_web.street_house import TOKEN, WAITS, StreetHouse, Tenant, serving
from tests.waiting import wait_until

NOON = datetime(2026, 3, 2, 4, 10, tzinfo=UTC)  # 12:10 in Shanghai, a dear hour
PILE = "YQ-01"
PORTS = 10
SAMPLE_S = 60


@dataclass
class TestClock:
    """The platform's clock, moved by the test."""

    __test__ = False
    at: datetime = NOON

    def now(self) -> datetime:
        return self.at

    def forward(self, **by: float) -> None:
        self.at += timedelta(**by)


@dataclass
class StreetStand:
    """玉泉新村 with pile YQ-01 online, riders' pages at `url`, and money at the simulated rail."""

    url: str
    pay_url: str
    http: httpx.Client
    operator: httpx.Client
    pool: ConnectionPool[Connection]
    desk: RailDesk
    hub: LiveHub[SessionFacts]
    clock: TestClock
    dsn: str
    notified: list[int]
    seq: int = 1
    energies: dict[UUID, list[tuple[datetime, int]]] = field(
        default_factory=dict[UUID, list[tuple[datetime, int]]]
    )

    def order(self, *, port_no: int = 1, amount_fen: int = 300) -> UUID:
        """A rider's order through the JSON API."""
        body = {"pile_id": PILE, "port_no": port_no, "amount_fen": amount_fen}
        created = self.http.post("/api/rider/sessions", json=body)
        assert created.status_code == 201, created.text
        return UUID(created.json()["session_id"])

    def pay(self, session_id: UUID) -> None:
        """Pay at the simulated rail and wait until its notification is booked."""
        with self.pool.connection() as conn:
            row = conn.execute(
                "SELECT out_trade_no FROM payment WHERE session_id = %s", (session_id,)
            ).fetchone()
        assert row is not None
        self.http.post(f"{self.pay_url}/sim/orders/{row[0]}/pay").raise_for_status()
        wait_until(lambda: self.state(session_id) is not SessionState.CREATED, what="the notification")

    def state(self, session_id: UUID) -> SessionState:
        with self.pool.connection() as conn:
            return sessions.get(conn, session_id).state

    def command(self, session_id: UUID, kind: CommandKind) -> Command:
        """What the pile is told, as the gateway would take it; waits for whoever causes it."""
        found: list[Command] = []

        def told() -> bool:
            with self.pool.connection() as conn:
                due = command_outbox.due(conn, shards=[shard_of(PILE)], limit=50, now=self.clock.now())
                tries = dict.fromkeys([each.command_id for each in due], True)
                command_outbox.note_tries(conn, tries, resend=timedelta(0), now=self.clock.now())
            found.extend(each for each in due if each.session_id == session_id and each.kind is kind)
            return bool(found)

        wait_until(told, what=f"the command {kind}")
        [command] = found
        return command

    def accept(self, session_id: UUID, *, plugged: bool = True) -> None:
        """The pile takes the start."""
        command = self.command(session_id, CommandKind.START)
        with self.pool.connection() as conn:
            starts.accepted(
                conn,
                pile_id=PILE,
                session_id=session_id,
                command_id=command.command_id,
                plugged=plugged,
                now=self.clock.now(),
            )

    def refuse(self, session_id: UUID, cause: str) -> None:
        """The pile refuses the start."""
        command = self.command(session_id, CommandKind.START)
        with self.pool.connection() as conn:
            starts.refused(
                conn,
                pile_id=PILE,
                session_id=session_id,
                command_id=command.command_id,
                cause=cause,
                now=self.clock.now(),
            )

    def power_flows(self, session_id: UUID) -> None:
        with self.pool.connection() as conn:
            now = self.clock.now()
            starts.started(
                conn, pile_id=PILE, session_id=session_id, command_id=None, claimed_at=now, now=now
            )

    def charging(self, *, port_no: int = 1, amount_fen: int = 300) -> UUID:
        """A session that charges."""
        session_id = self.order(port_no=port_no, amount_fen=amount_fen)
        self.pay(session_id)
        self.accept(session_id)
        self.power_flows(session_id)
        return session_id

    def meter(self, session_id: UUID, *, power_w: float = 180.0, minutes: int = 1, phase: int = 0) -> None:
        """Samples of so many minutes, one a minute, as the pile sends them; the clock goes with them."""
        readings = self.energies.setdefault(session_id, [])
        with self.pool.connection() as conn:
            session = sessions.get(conn, session_id)
            begin = session.started_at or self.clock.now()
            frames: list[MeterFrame] = []
            for _ in range(minutes):
                self.clock.forward(seconds=SAMPLE_S)
                energy_dwh = readings[-1][1] if readings else 0
                energy_dwh += round(power_w * 10 * SAMPLE_S / 3600)
                readings.append((self.clock.now(), energy_dwh))
                frames.append(self._frame(session.port_no, session_id, begin, power_w, energy_dwh, phase))
            meter.write_batch(conn, frames)

    def _frame(
        self, port_no: int, session_id: UUID, begin: datetime, power_w: float, energy_dwh: int, phase: int
    ) -> MeterFrame:
        now = self.clock.now()
        power_dw = round(power_w * 10)
        sample = PortSample(
            session_id=session_id,
            port_no=port_no,
            elapsed_s=math.floor((now - begin).total_seconds()),
            window_s=SAMPLE_S,
            voltage_dv=2231,
            current_ma=900,
            power_dw=power_dw,
            power_min_dw=power_dw,
            power_max_dw=power_dw,
            power_mean_dw=power_dw,
            power_factor_milli=620,
            energy_dwh=energy_dwh,
            temperature_dc=262,
            phase=phase,
        )
        return MeterFrame(pile_id=PILE, sampled_at=now, received_at=now, samples=[sample])

    def settle(self, session_id: UUID, *, reason: str = "full") -> None:
        """The pile's final record of what was metered."""
        slots: dict[datetime, list[int]] = {}
        before = 0
        for at, energy_dwh in self.energies.get(session_id, []):
            begun = (at - timedelta(seconds=SAMPLE_S)).timestamp() // 1800 * 1800
            slot = slots.setdefault(datetime.fromtimestamp(begun, UTC), [0, 0])
            slot[0] += energy_dwh - before
            slot[1] += SAMPLE_S
            before = energy_dwh
        with self.pool.connection() as conn:
            session = sessions.get(conn, session_id)
            begin = session.started_at or self.clock.now()
            duration_s = sum(seconds for _, seconds in slots.values())
            record = Settlement(
                pile_id=PILE,
                session_id=session_id,
                port_no=session.port_no,
                started_at=begin,
                ended_at=begin + timedelta(seconds=duration_s),
                duration_s=duration_s,
                start_register_dwh=70_000,
                end_register_dwh=70_000 + before,
                energy_dwh=before,
                max_power_dw=10_000,
                slots=[SettledSlot(at, energy, seconds) for at, (energy, seconds) in sorted(slots.items())],
                stop_reason=reason,
                body={"energy_dwh": before, "duration_s": duration_s},
            )
            settlements.settle(conn, record, now=self.clock.now())

    def send_refunds(self, session_id: UUID) -> None:
        """What the worker does with the refunds of a session."""
        with self.pool.connection() as conn:
            due = refunds.of_session(conn, session_id)
        for refund in due:
            rail_calls.instruct_refund(self.desk, refund.refund_id)

    def report_port(self, port_no: int, state: PortState, *, fault: str | None = None) -> None:
        self.seq += 1
        report = PortReport(
            pile_id=PILE,
            port_no=port_no,
            state=state,
            fault=fault,
            plugged=state is PortState.CHARGING,
            power_dw=0,
            boot=1,
            seq=self.seq,
        )
        with self.pool.connection() as conn:
            ports.reported(conn, [report], now=self.clock.now())

    def lose_link(self) -> None:
        with self.pool.connection() as conn:
            piles.gone(conn, pile_id=PILE, boot=1, connection=1, now=self.clock.now())

    def view(self, session_id: UUID, **query: str) -> dict[str, Any]:
        return self.http.get(f"/api/rider/sessions/{session_id}", params=query).raise_for_status().json()


@contextmanager
def standing(
    dsn: str, pool: ConnectionPool[Connection], house: StreetHouse, folder: Path, *, codes: bool = False
) -> Generator[StreetStand]:
    """Everything up, at the house's addresses; with `codes` piles without a link are sold by code."""
    clock = TestClock()
    with pool.connection() as conn:
        street.lay_out(conn, now=NOON - timedelta(days=1))
        bring_up(conn, PILE)
    facts = FactsReader(pool)
    hub = rider_app.create_hub(dsn, facts)
    outcomes = CommandWaits(dsn, pool)
    sim = SimConfig(folder, house.keys, public_url=house.pay_url, refund_delay_s=0.05, retry_scale=0.003)
    tenant = Tenant(pool=pool, clock=clock.now, facts=facts, hub=hub, outcomes=outcomes)
    desk = RailDesk(
        pool=pool, rails={house.rail.name: house.rail}, clock=clock.now, hooks=session_hooks(WAITS)
    )
    with ExitStack() as stack:
        stack.enter_context(house.let_to(tenant))
        stack.enter_context(serving(house.app(codes=codes), house.own))
        # Left before the application: what it delivered then would be heard by the next test's.
        stack.enter_context(serving(payment_sim_app.create_app(sim, clock.now), house.rails))
        stack.enter_context(outcomes)
        stack.enter_context(hub)  # left first: it ends the live streams, which would keep the server waiting
        http = stack.enter_context(plain_client(house.url))
        operator = stack.enter_context(plain_client(f"{house.url}/operator/v1"))
        operator.headers["Authorization"] = f"Bearer {TOKEN}"
        yield StreetStand(
            url=house.url,
            pay_url=house.pay_url,
            http=http,
            operator=operator,
            pool=pool,
            desk=desk,
            hub=hub,
            clock=clock,
            dsn=dsn,
            notified=house.notified,
        )


def plain_client(url: str) -> httpx.Client:
    """A client for plain HTTP, which does without the authorities for TLS that others read first."""
    return httpx.Client(base_url=url, timeout=10, verify=False, trust_env=False)


def bring_up(conn: Connection, pile_id: str) -> None:
    """Enrol a pile on the books, which boots and is heard."""
    enrolment.provision(
        conn,
        SecretVault(b"k" * 32),
        pile_id=pile_id,
        secret=b"s" * 32,
        certificate_serial=pile_id,
        certificate_expires_at=NOON + timedelta(days=365),
        now=NOON - timedelta(hours=2),
    )
    report = BootReport(
        pile_id=pile_id,
        boot=1,
        seq=1,
        connection=1,
        firmware="1.0.3",
        hardware="a",
        port_count=PORTS,
        signal_dbm=-71,
        reason="power",
        unsent=0,
    )
    piles.booted(conn, report, now=NOON)
    piles.seen(conn, {pile_id: (1, 1)}, now=NOON)
