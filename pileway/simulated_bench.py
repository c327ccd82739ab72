"""The simulator on the conformance kit's bench: piles made to order, in a thread with an event loop of their own."""

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from conformance.pile.bench import Ability, Load, Order
from device_sim.battery import SOFT_START_S, TABLE_DEPTH, Battery, Chemistry, Pack
from device_sim.configuration import PileConfig
from device_sim.fleet import Fleet
from device_sim.runner import SimulatedPile
from protocol import firmware
from protocol.firmware import Manifest
from protocol.words import AlarmKind

STOP_LIMIT_S: Final = 15.0

_FOR_EVER_H: Final = 10_000.0
_FALLS_WITHIN_MIN: Final = 0.05

_T = TypeVar("_T")

log = structlog.get_logger()


class SimulatedMaker:
    """Makes images for simulated piles and signs them with a key of its own."""

    def __init__(self) -> None:
        self.model = "PW-SIM"
        self._key = Ed25519PrivateKey.generate()

    @property
    def public_key(self) -> bytes:
        """What is built into the piles."""
        return self._key.public_key().public_bytes_raw()

    def image(self, version: str, *, boots: bool = True) -> bytes:
        """Firmware as the simulator understands it."""
        return json.dumps(
            {"model": self.model, "version": version, "boots": boots, "filling": "x" * 4_000}
        ).encode()

    def sign(self, manifest: Manifest) -> bytes:
        """The maker's signature."""
        return firmware.sign(self._key, manifest)


class SimulatedWorkshop:
    """Makes simulated piles whose memory lies in `folder`. A context manager; its thread lives while entered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._maker = SimulatedMaker()
        self._loop = asyncio.new_event_loop()
        # Networks are cut in the middle of everything here; what the MQTT client makes of it is no news.
        self._loop.set_exception_handler(_note)
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulated-piles", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_LIMIT_S)
        self._loop.close()

    @property
    def abilities(self) -> frozenset[Ability]:
        """What the simulator can do."""
        return frozenset(Ability)

    @asynccontextmanager
    async def bench(self, order: Order) -> AsyncGenerator["SimulatedBench"]:
        """A new simulated pile, not powered yet."""
        bench = self._bench(order, None)
        try:
            yield bench
        finally:
            for each in (*bench.children, bench):
                await each.put_away()

    def prepare(self, pile: SimulatedPile) -> None:
        """Called with each pile before it runs; a workshop of special piles has something to do here."""

    def _bench(self, order: Order, host: "SimulatedBench | None") -> "SimulatedBench":
        config = self._config(order, None if host is None else host.pile_id)
        bench = SimulatedBench(config, order, self._loop, self._maker, self.prepare, host)
        bench.children = [self._bench(child, bench) for child in order.children]
        return bench

    def _config(self, order: Order, host: str | None) -> PileConfig:
        return PileConfig(
            pile_id=order.pile_id,
            port_count=order.port_count,
            folder=self._folder / order.pile_id,
            enrolment_url=order.enrolment_url,
            claim_code=order.claim_code,
            enrolment_ca=order.ca_path,
            battery_clock=order.has_clock,
            model=self._maker.model,
            firmware_key=self._maker.public_key,
            host=host,
        )


class SimulatedBench:
    """One simulated pile, perhaps behind a ``host``; what is done to it is done in its own thread."""

    def __init__(
        self,
        config: PileConfig,
        order: Order,
        loop: asyncio.AbstractEventLoop,
        maker: SimulatedMaker,
        prepare: Callable[[SimulatedPile], None],
        host: "SimulatedBench | None",
    ) -> None:
        self._config = config
        self._order = order
        self._loop = loop
        self.maker = maker
        self.children: list[SimulatedBench] = []
        self._prepare = prepare
        self._host = host
        self.fleet: Fleet | None = None
        self._pile: SimulatedPile | None = None
        self._running: asyncio.Task[None] | None = None

    @property
    def pile_id(self) -> str:
        """The pile's name."""
        return self._config.pile_id

    async def power_on(self) -> None:
        """Let the pile enrol and run."""

        async def begin() -> None:
            if self._host is None:
                fleet = self.fleet = Fleet([self._config], clock=self._order.clock, speed=self._order.speed)
                self._pile, run = fleet.pile(self.pile_id), fleet.run
            else:
                assert self._host.fleet is not None, "a host is powered on before the piles behind it"
                self._pile = self._host.fleet.stranger(self._config)
                run = self._pile.run
            self._prepare(self._pile)
            self._running = asyncio.create_task(run())

        await self._there(begin)

    async def jam_radio(self, for_s: float) -> None:
        """Jam the radio for so many real seconds."""
        await self._do(lambda pile: pile.drop_link(for_s))

    async def cut_power(self, for_s: float) -> None:
        """Take the mains away for so many real seconds."""
        await self._do(lambda pile: pile.cut_power(for_s))

    async def plug(self, port: int, load: Load) -> None:
        """Put a charger in, with a battery that behaves as the load says."""
        await self._do(lambda pile: pile.plug(port, _battery(load)))

    async def unplug(self, port: int) -> None:
        """Pull the plug."""
        await self._do(lambda pile: pile.unplug(port))

    async def inflict(self, kind: AlarmKind, port: int | None = None, value: int | None = None) -> None:
        """Let the pile feel a danger until it is relieved."""
        await self._do(lambda pile: pile.inflict(kind, port, value))

    async def relieve(self, kind: AlarmKind, port: int | None = None) -> None:
        """The danger is over."""
        await self._do(lambda pile: pile.relieve(kind, port))

    async def swipe(self, port: int, card: str) -> None:
        """Hold a card to a reader."""
        await self._do(lambda pile: pile.swipe_card(port, card))

    async def type_code(self, port: int, digits: str) -> None:
        """Type a code in."""
        await self._do(lambda pile: pile.type_code(port, digits))

    async def put_away(self) -> None:
        """Switch the pile off for good."""

        async def end() -> None:
            if self._running is not None:
                self._running.cancel()
                await asyncio.wait({self._running}, timeout=STOP_LIMIT_S)
                if self._running.done() and not self._running.cancelled():
                    _note(self._loop, {"message": repr(self._running.exception())})

        await self._there(end)

    async def _do(self, action: Callable[[SimulatedPile], _T]) -> _T:
        async def act() -> _T:
            assert self._pile is not None, "the pile is powered on first"
            return action(self._pile)

        return await self._there(act)

    async def _there(self, action: Callable[[], Awaitable[_T]]) -> _T:
        async def act() -> _T:
            return await action()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(act(), self._loop))


def _note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    log.debug("simulated_piles_complain", message=context.get("message"))


def _battery(load: Load) -> Battery:
    """A charger that draws the same power all the time, or until its battery is full; without a soft start."""
    if load.full_after_s is None:
        hours, falls_min, rest_w = _FOR_EVER_H, 1.0, load.power_w
    else:
        hours, falls_min, rest_w = load.full_after_s / 3600, _FALLS_WITHIN_MIN, load.rest_w
    pack = Pack("load", Chemistry.LITHIUM, load.power_w, load.power_w, hours, falls_min, rest_w, rest_w)
    return Battery(pack, depth=TABLE_DEPTH, charged_s=SOFT_START_S)
