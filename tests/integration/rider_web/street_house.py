"""What the stands of a worker share: their addresses, the API's application and the rail.

Making an application and reading the authorities for TLS cost more than most stories told with them. What belongs to
one test (its database, its clock, what listens to it) joins the application for as long as that test lasts.
"""

import socket
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI
from psycopg_pool import ConnectionPool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from billing.payment_rails.wechat_pay import WechatMerchant, WechatPay
from billing.rail_calls import RailDesk
from charging.command_waits import CommandWaits
from charging.enrolment import SecretVault
from charging.payment_hooks import session_hooks
from charging.start_codes import CodeDesk
from charging.waits import Waits
from database.pool import Connection
from operator_api import app as operator_app
from operator_api.firmware_endpoints import FirmwareDesk
from payment_sim import keys as sim_keys
from payment_sim.keys import Keys
from pileway import composition
from pileway.firmware_desk import is_made_by
from protocol import start_code
from rider_web import app as rider_app
from rider_web.live_hub import LiveHub
from rider_web.session_facts import FactsReader, SessionFacts
from tests.waiting import wait_until

TOKEN = "an operator token of some length"
STOP_LIMIT_S = 20.0
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
    """Serve an application on a socket that listens already and stays open."""
    config = uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener.dup()]}, daemon=True)
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


class _OfThisTest:
    """Stands in the application for a part that every test has of its own."""

    def __init__(self) -> None:
        self.part: object = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.part, name)


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """What one test brings."""

    pool: ConnectionPool[Connection]
    clock: Callable[[], datetime]
    facts: FactsReader
    hub: LiveHub[SessionFacts]
    outcomes: CommandWaits


@dataclass
class StreetHouse:
    """Addresses, rail and applications (by whether start codes are sold) of one worker."""

    keys: Keys
    own: socket.socket
    rails: socket.socket
    rail: WechatPay
    notified: list[int] = field(default_factory=list[int])
    _pool: _OfThisTest = field(default_factory=_OfThisTest)
    _facts: _OfThisTest = field(default_factory=_OfThisTest)
    _hub: _OfThisTest = field(default_factory=_OfThisTest)
    _outcomes: _OfThisTest = field(default_factory=_OfThisTest)
    _tenant: Tenant | None = None
    _apps: dict[bool, FastAPI] = field(default_factory=dict[bool, FastAPI])

    @property
    def url(self) -> str:
        """Where the API is served."""
        return url_of(self.own)

    @property
    def pay_url(self) -> str:
        """Where the simulated rail is served."""
        return url_of(self.rails)

    @contextmanager
    def let_to(self, tenant: Tenant) -> Generator[None]:
        """The application works with these parts while this lasts."""
        self._set(tenant)
        yield
        self._set(None)

    def _set(self, tenant: Tenant | None) -> None:
        self.notified.clear()
        self._tenant = tenant
        for name in ("pool", "facts", "hub", "outcomes"):
            getattr(self, f"_{name}").part = getattr(tenant, name, None)

    def now(self) -> datetime:
        """The clock of this test."""
        assert self._tenant is not None, "no test is under way"
        return self._tenant.clock()

    def app(self, *, codes: bool) -> FastAPI:
        """The API's application."""
        if codes not in self._apps:
            self._apps[codes] = self._make_app(codes=codes)
        return self._apps[codes]

    def _make_app(self, *, codes: bool) -> FastAPI:
        pool = cast("ConnectionPool[Connection]", self._pool)
        hooks = session_hooks(WAITS)
        desk = RailDesk(pool=pool, rails={self.rail.name: self.rail}, clock=self.now, hooks=hooks)
        public = operator_app.create_app(
            pool=pool,
            clock=self.now,
            token=TOKEN,
            waits=WAITS,
            settings=composition.settings_table(),
            outcomes=cast("CommandWaits", self._outcomes),
            vault=VAULT,
            firmware=FirmwareDesk(
                lambda sha256: f"https://piles.example/{sha256.hex()}", is_made_by(MAKER.public_key())
            ),
        )
        public.include_router(
            rider_app.create_router(
                desk=desk,
                waits=WAITS,
                rail_name=self.rail.name,
                public_url=self.url,
                facts=cast("FactsReader", self._facts),
                hub=cast("LiveHub[SessionFacts]", self._hub),
                payment_origins=[self.pay_url],
                codes=CodeDesk(VAULT, start_code.make, start_code.valid_until_s) if codes else None,
            )
        )
        rider_app.prepare_app(public)
        public.add_middleware(NotificationLog, statuses=self.notified)
        return public


@contextmanager
def building(folder: Path) -> Generator[StreetHouse]:
    """A house on free ports, with one merchant's keys in `folder`."""
    keys = sim_keys.generate(folder)
    with listen() as own, listen() as rails, ExitStack() as stack:
        rail = WechatPay(
            _merchant(keys),
            base_url=url_of(rails),
            notify_url=f"{url_of(own)}/rails/wechat_pay/notify",
            wall_clock=lambda: datetime.now(UTC),
        )
        stack.callback(rail.close)
        yield StreetHouse(keys, own, rails, rail)


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
