"""A simulated WeChat Pay and a merchant's web edge, both over real HTTP, and a desk that joins them to the database."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from psycopg_pool import ConnectionPool

from billing import notifications, payments, rail_calls
from billing.errors import BillingError
from billing.notifications import SessionHooks
from billing.payment_rails.wechat_pay import WechatMerchant, WechatPay
from billing.payments import Payment
from billing.rail_calls import RailDesk
from billing.refunds import Refund
from database.pool import Connection
from payment_sim import keys as sim_keys
from payment_sim.app import SimConfig, create_app
from payment_sim.keys import Keys

LIMIT_S = 15.0


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most LIMIT_S."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        threading.Event().wait(0.02)


def utc_now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def serving(app: FastAPI, *, port: int = 0) -> Generator[str]:
    """Serve an application on a free loopback port and give its address."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, ws="none", lifespan="on", timeout_graceful_shutdown=2)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        until(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(LIMIT_S)
        assert not thread.is_alive()


@dataclass
class Sim:
    """The simulated WeChat Pay, as a test holds it."""

    url: str
    keys: Keys
    directory: Path
    http: httpx.Client
    until = staticmethod(until)

    def pay(self, out_trade_no: str) -> None:
        self.http.post(f"/sim/orders/{out_trade_no}/pay").raise_for_status()

    def order(self, out_trade_no: str) -> dict[str, Any]:
        return self.http.get(f"/sim/orders/{out_trade_no}").raise_for_status().json()

    def balance(self) -> dict[str, int]:
        return self.http.get("/sim/balance").raise_for_status().json()

    def put_faults(self, **faults: object) -> None:
        self.http.put("/sim/faults", json=faults).raise_for_status()


@dataclass
class Receiver:
    """The merchant's web edge: verifies, books and answers notifications; keeps what came and what it said."""

    url: str = ""
    deliveries: list[tuple[dict[str, str], bytes]] = field(default_factory=list[tuple[dict[str, str], bytes]])
    statuses: list[int] = field(default_factory=list[int])


@dataclass
class Told:
    """What charging was told."""

    locked: list[UUID] = field(default_factory=list[UUID])
    paid: list[Payment] = field(default_factory=list[Payment])
    refunded: list[Refund] = field(default_factory=list[Refund])

    def hooks(self) -> SessionHooks:
        return SessionHooks(
            lock_session=lambda _conn, session_id: self.locked.append(session_id),
            on_paid=lambda _conn, payment, _now: self.paid.append(payment),
            on_refunded=lambda _conn, refund, _now: self.refunded.append(refund),
        )


@dataclass
class Till:
    """Everything a test of payments needs."""

    sim: Sim
    rail: WechatPay
    desk: RailDesk
    told: Told
    receiver: Receiver
    pool: ConnectionPool[Connection]
    until = staticmethod(until)

    def create(self, *, amount_fen: int = 500, lifetime: timedelta = timedelta(minutes=5)) -> Payment:
        """Write a payment down, without telling the rail."""
        now = utc_now()
        with self.pool.connection() as conn:
            return payments.create(
                conn,
                session_id=uuid4(),
                amount_fen=amount_fen,
                rail=self.rail.name,
                now=now,
                expires_at=now + lifetime,
            )

    def place(self, *, amount_fen: int = 500) -> Payment:
        """Write a payment down and have the rail open it."""
        return self.open(self.create(amount_fen=amount_fen).payment_id)

    def open(self, payment_id: UUID) -> Payment:
        return rail_calls.place_payment(
            self.pool,
            self.rail,
            payment_id=payment_id,
            description="阳光花园 3号桩 2口 充电预付",
            payer_ip="127.0.0.1",
            return_url="http://127.0.0.1:9/s/1?x=1&y=2",
        )

    def paid(self, *, amount_fen: int = 500) -> Payment:
        """A payment whose money has come and been notified."""
        payment = self.place(amount_fen=amount_fen)
        self.sim.pay(payment.out_trade_no)
        self.until(lambda: self.read(payment).state == "paid")
        return self.read(payment)

    def read(self, payment: Payment) -> Payment:
        with self.pool.connection() as conn:
            return payments.get(conn, payment.payment_id)


@pytest.fixture(scope="session")
def merchant_keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """One merchant's keys; making RSA keys is slow."""
    return sim_keys.generate(tmp_path_factory.mktemp("keys"))


@contextmanager
def simulating(
    keys: Keys, directory: Path, *, clock: Callable[[], datetime] = utc_now, retry_scale: float = 0.003
) -> Generator[Sim]:
    """Run a simulated WeChat Pay on what `directory` holds."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    config = SimConfig(directory, keys, public_url=url, refund_delay_s=0.05, retry_scale=retry_scale)
    with serving(create_app(config, clock), port=port), httpx.Client(base_url=url) as http:
        yield Sim(url, keys, directory, http)


@pytest.fixture
def simulator(merchant_keys: Keys, tmp_path: Path) -> Callable[..., AbstractContextManager[Sim]]:
    """Starts a simulated WeChat Pay, again and again on the same data if wanted."""
    return partial(simulating, merchant_keys, tmp_path)


@pytest.fixture
def sim(simulator: Callable[..., AbstractContextManager[Sim]]) -> Iterator[Sim]:
    """A simulated WeChat Pay without history; notifications are retried after some tens of milliseconds."""
    with simulator() as sim:
        yield sim


def wechat_merchant(keys: Keys) -> WechatMerchant:
    """The merchant's half of the keys."""
    return WechatMerchant(
        mchid=keys.mchid,
        appid=keys.appid,
        serial_no=keys.merchant_serial,
        private_key=keys.merchant_key,
        api_v3_key=keys.api_v3_key,
        platform_serial=keys.platform_serial,
        platform_key=keys.platform_public_key,
    )


@pytest.fixture
def till(sim: Sim, pool: ConnectionPool[Connection]) -> Iterator[Till]:
    """Rail, database and web edge, joined."""
    told, receiver, app = Told(), Receiver(), FastAPI()
    rails: list[WechatPay] = []

    @app.post("/notify")
    async def receive(request: Request) -> Response:
        body = await request.body()
        receiver.deliveries.append((dict(request.headers), body))
        return await run_in_threadpool(_book, rails[0], body, dict(request.headers))

    def _book(rail: WechatPay, body: bytes, headers: dict[str, str]) -> Response:
        try:
            notification = rail.parse_notification(headers, body)
            with pool.connection() as conn:
                notifications.handle(conn, rail.name, notification, now=utc_now(), hooks=told.hooks())
        except BillingError:
            receiver.statuses.append(400)
            return Response(status_code=400)
        receiver.statuses.append(204)
        return Response(status_code=204)

    with serving(app) as url:
        receiver.url = url
        rail = WechatPay(
            wechat_merchant(sim.keys), base_url=sim.url, notify_url=f"{url}/notify", wall_clock=utc_now
        )
        rails.append(rail)
        desk = RailDesk(pool=pool, rails={rail.name: rail}, clock=utc_now, hooks=told.hooks())
        yield Till(sim, rail, desk, told, receiver, pool)
        rail.close()
