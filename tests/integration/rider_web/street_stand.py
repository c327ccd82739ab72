"""The API process on a real port with a real database and a simulated WeChat Pay; the test plays the pile."""

import math
import socket
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI
from psycopg_pool import ConnectionPool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from billing import rail_calls, refunds
from billing.payment_rails.wechat_pay import WechatMerchant, WechatPay
from billing.rail_calls import RailDesk
from charging import command_outbox, enrolment, meter, piles, ports, sessions, settlements, starts
from charging.command_waits import CommandWaits
from charging.commands import Command, CommandKind
from charging.enrolment import SecretVault
from charging.meter_rows import MeterFrame, PortSample
from charging.payment_hooks import session_hooks
from charging.piles import BootReport, shard_of
from charging.ports import PortReport, PortState
from charging.session_states import SessionState
from charging.settlements import SettledSlot, Settlement
from charging.start_codes import CodeDesk
from charging.waits import Waits
from database.pool import Connection
from operator_api import app as operator_app
from operator_api.firmware_endpoints import FirmwareDesk
from payment_sim import app as payment_sim_app
from payment_sim.app import SimConfig
from payment_sim.keys import Keys
from pileway import composition, street
from pileway.composition import is_made_by
from protocol import start_code
from rider_web import app as rider_app
from rider_web.live_hub import LiveHub
from rider_web.session_facts import FactsReader, SessionFacts
from tests.waiting import wait_until

NOON = datetime(2026, 3, 2, 4, 10, tzinfo=UTC)  # 12:10 in Shanghai, a dear hour
PILE = "YQ-01"
PORTS = 10
TOKEN = "an operator token of some length"
STOP_LIMIT_S = 20.0
SAMPLE_S = 60
WAITS = Waits()
MAKER = Ed25519PrivateKey.from_private_bytes(b"m" * 32)
VAULT = SecretVault(b"k" * 32)


class NotificationLog:
    """Middleware that keeps the status of every answer given to a rail."""

    def __init__(self, app: ASGIApp, statuses: list[int]) -> None:
        self._app = app
        self._statuses = statuses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["path"].startswith("/rails/"):
                self._statuses.append(message["status"])
            await send(message)

        await self._app(scope, receive, noting)


@contextmanager
def serving(app: FastAPI, listener: socket.socket) -> Generator[None]:
    """Serve an application on a socket that listens already."""
    config = uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    wait_until(lambda: server.started, what="the server")
    yield
    server.should_exit = True
    thread.join(STOP_LIMIT_S)
    assert not thread.is_alive()


def listen() -> socket.socket:
    """A listening socket on a free loopback port, taken for good so that nobody else gets it meanwhile."""
    return socket.create_server(("127.0.0.1", 0))


def url_of(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


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
        httpx.post(f"{self.pay_url}/sim/orders/{row[0]}/pay").raise_for_status()
        wait_until(lambda: self.state(session_id) is not SessionState.CREATED, what="the notification")

    def state(self, session_id: UUID) -> SessionState:
        with self.pool.connection() as conn:
            return sessions.get(conn, session_id).state

    def command(self, session_id: UUID, kind: CommandKind) -> Command:
        """What the pile is told, as the gateway would take it; waits for whoever causes it."""
        found: list[Command] = []

        def told() -> bool:
            with self.pool.connection() as conn:
                due = command_outbox.claim_due(
                    conn, shards=[shard_of(PILE)], limit=50, resend=timedelta(0), now=self.clock.now()
                )
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
    dsn: str, pool: ConnectionPool[Connection], keys: Keys, folder: Path, *, codes: bool = False
) -> Generator[StreetStand]:
    """Everything up, on free ports; with `codes` piles without a link are sold by code."""
    clock = TestClock()
    with pool.connection() as conn:
        street.lay_out(conn, now=NOON - timedelta(days=1))
        bring_up(conn, PILE)
    own, rails = listen(), listen()
    url, pay_url = url_of(own), url_of(rails)
    sim = SimConfig(folder, keys, public_url=pay_url, refund_delay_s=0.05, retry_scale=0.003)
    rail = WechatPay(
        _merchant(keys),
        base_url=pay_url,
        notify_url=f"{url}/rails/wechat_pay/notify",
        wall_clock=lambda: datetime.now(UTC),
    )
    desk = RailDesk(pool=pool, rails={rail.name: rail}, clock=clock.now, hooks=session_hooks(WAITS))
    facts = FactsReader(pool)
    hub = rider_app.create_hub(dsn, facts)
    notified: list[int] = []
    outcomes = CommandWaits(dsn, pool)
    public = _public_app(desk, facts, hub, outcomes, url=url, pay_url=pay_url, notified=notified, codes=codes)
    with own, rails, ExitStack() as stack:
        stack.callback(rail.close)
        stack.enter_context(serving(payment_sim_app.create_app(sim, clock.now), rails))
        stack.enter_context(serving(public, own))
        stack.enter_context(outcomes)
        stack.enter_context(hub)  # left first: it ends the live streams, which would keep the server waiting
        http = stack.enter_context(httpx.Client(base_url=url, timeout=10))
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        operator = stack.enter_context(
            httpx.Client(base_url=f"{url}/operator/v1", headers=bearer, timeout=10)
        )
        yield StreetStand(
            url=url,
            pay_url=pay_url,
            http=http,
            operator=operator,
            pool=pool,
            desk=desk,
            hub=hub,
            clock=clock,
            dsn=dsn,
            notified=notified,
        )


def _public_app(
    desk: RailDesk,
    facts: FactsReader,
    hub: LiveHub[SessionFacts],
    outcomes: CommandWaits,
    *,
    url: str,
    pay_url: str,
    notified: list[int],
    codes: bool,
) -> FastAPI:
    public = operator_app.create_app(
        pool=desk.pool,
        clock=desk.clock,
        token=TOKEN,
        waits=WAITS,
        settings=composition.settings_table(),
        outcomes=outcomes,
        vault=VAULT,
        firmware=FirmwareDesk(
            lambda sha256: f"https://piles.example/{sha256.hex()}", is_made_by(MAKER.public_key())
        ),
    )
    public.include_router(
        rider_app.create_router(
            desk=desk,
            waits=WAITS,
            rail_name="wechat_pay",
            public_url=url,
            facts=facts,
            hub=hub,
            payment_origins=[pay_url],
            codes=CodeDesk(VAULT, start_code.make, start_code.valid_until_s) if codes else None,
        )
    )
    rider_app.prepare_app(public)
    public.add_middleware(NotificationLog, statuses=notified)
    return public


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


def _merchant(keys: Keys) -> WechatMerchant:
    return WechatMerchant(
        mchid=keys.mchid,
        appid=keys.appid,
        serial_no=keys.merchant_serial,
        private_key=keys.merchant_key,
        api_v3_key=keys.api_v3_key,
        platform_serial=keys.platform_serial,
        platform_key=keys.platform_public_key,
    )
