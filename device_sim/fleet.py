"""Many piles in one process, and the few things a test or the demo may do to them."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import structlog

from device_sim.battery import Battery
from device_sim.bystanders import Riders
from device_sim.configuration import PileConfig
from device_sim.errors import EnrolmentRefused, NoSuchPile
from device_sim.local_starts import Served
from device_sim.runner import Clock, SimulatedPile
from protocol.words import AlarmKind

ENROLMENTS_AT_ONCE: Final = 16
STOP_TIMEOUT_S: Final = 15.0

_T = TypeVar("_T")

log = structlog.get_logger()


class Fleet:
    """A street of piles. Its methods belong to the event loop that runs it; see FleetThread for other threads."""

    def __init__(self, configs: Sequence[PileConfig], *, clock: Clock, speed: float) -> None:
        self.speed = speed
        self._clock = clock
        self._slots = asyncio.Semaphore(ENROLMENTS_AT_ONCE)
        self._piles: dict[str, SimulatedPile] = {}
        self._riders: dict[str, Riders] = {}
        self._refused: dict[str, EnrolmentRefused] = {}
        for config in configs:
            pile = self.stranger(config)
            if config.bystanders is not None:
                riders = self._riders[config.pile_id] = Riders(config.bystanders, seed=config.seed)
                pile.observe(riders)
            self._piles[config.pile_id] = pile

    async def run(self) -> None:
        """Run every pile until cancelled. A pile that is refused enrolment is left out and said so."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for pile in self._piles.values():
                tasks.create_task(self._run(pile))

    def beside(self, activity: Coroutine[Any, Any, None]) -> None:
        """Do something else as long as the fleet runs; a failure of it ends the fleet."""
        self._tasks.create_task(activity)

    async def ready(self) -> None:
        """Wait until the platform has acknowledged every pile's boot; raises EnrolmentRefused for one left out."""
        for pile in self._piles.values():
            await pile.ready()
        for refused in self._refused.values():
            raise refused

    @property
    def piles(self) -> list[SimulatedPile]:
        """All of them, in the order of their configurations."""
        return list(self._piles.values())

    def stranger(self, config: PileConfig) -> SimulatedPile:
        """A pile of the same street that is not of the fleet; the caller runs it. Raises NoSuchPile for its host."""
        return SimulatedPile(
            config,
            clock=self._clock,
            speed=self.speed,
            enrolment_slots=self._slots,
            host=None if config.host is None else self.pile(config.host),
        )

    def pile(self, pile_id: str) -> SimulatedPile:
        """The pile of this name. Raises NoSuchPile."""
        pile = self._piles.get(pile_id)
        if pile is None:
            raise NoSuchPile(pile_id)
        return pile

    def bring(self, pile_id: str, port: int, battery: Battery) -> None:
        """The next bystander at this port brings this battery. Raises NoSuchPile for a pile without bystanders."""
        riders = self._riders.get(pile_id)
        if riders is None:
            raise NoSuchPile(pile_id)
        riders.bring(port, battery)

    async def _run(self, pile: SimulatedPile) -> None:
        try:
            await pile.run()
        except EnrolmentRefused as refused:
            log.error("pile_not_enrolled", pile_id=pile.config.pile_id, status=refused.status)
            self._refused[pile.config.pile_id] = refused
            pile.give_up()


class FleetThread:
    """A fleet in a thread of its own, for callers without an event loop. A context manager; methods are thread-safe."""

    def __init__(self, configs: Sequence[PileConfig], *, clock: Clock, speed: float) -> None:
        self._configs = tuple(configs)
        self._clock = clock
        self._speed = speed
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="fleet", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End every pile in order; raises what a pile died of."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(STOP_TIMEOUT_S)
        if self._thread.is_alive():
            raise TimeoutError(f"the fleet did not stop within {STOP_TIMEOUT_S} s")
        if self._failure is not None:
            raise self._failure

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until every pile is up and acknowledged; raises TimeoutError or EnrolmentRefused."""
        future = asyncio.run_coroutine_threadsafe(self._fleet.ready(), self._loop)
        try:
            future.result(timeout_s)
        finally:
            future.cancel()

    def plug(self, pile_id: str, port: int, battery: Battery) -> None:
        """Plug a battery's charger into a port, now."""
        self._do(lambda fleet: fleet.pile(pile_id).plug(port, battery))

    def unplug(self, pile_id: str, port: int) -> None:
        """Pull a port's plug, now."""
        self._do(lambda fleet: fleet.pile(pile_id).unplug(port))

    def bring(self, pile_id: str, port: int, battery: Battery) -> None:
        """Choose the battery of the next bystander at a port."""
        self._do(lambda fleet: fleet.bring(pile_id, port, battery))

    def drop_link(self, pile_id: str, for_s: float) -> None:
        """Take a pile's network away for so many real seconds."""
        self._do(lambda fleet: fleet.pile(pile_id).drop_link(for_s))

    def cut_power(self, pile_id: str, for_s: float) -> None:
        """Take a pile's mains away for so many real seconds; what is not in its memory is gone."""
        self._do(lambda fleet: fleet.pile(pile_id).cut_power(for_s))

    def inflict(
        self, pile_id: str, kind: AlarmKind, port: int | None = None, value: int | None = None
    ) -> None:
        """Let something go wrong at a port, or all over a pile, until it is relieved; see SimulatedPile.inflict."""
        self._do(lambda fleet: fleet.pile(pile_id).inflict(kind, port, value))

    def relieve(self, pile_id: str, kind: AlarmKind, port: int | None = None) -> None:
        """Let it be over; what has latched stays so until a person clears it."""
        self._do(lambda fleet: fleet.pile(pile_id).relieve(kind, port))

    def swipe_card(self, pile_id: str, port: int, card: str) -> Served:
        """Hold a card to a port's reader, now."""
        return self._do(lambda fleet: fleet.pile(pile_id).swipe_card(port, card))

    def type_code(self, pile_id: str, port: int, digits: str) -> Served:
        """Type a start code in at a port, now."""
        return self._do(lambda fleet: fleet.pile(pile_id).type_code(port, digits))

    def ask(self, question: Callable[[Fleet], _T]) -> _T:
        """Look at the fleet, in its own thread."""
        return self._do(question)

    def _do(self, action: Callable[[Fleet], _T]) -> _T:
        async def act() -> _T:
            return action(self._fleet)

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(STOP_TIMEOUT_S)

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except asyncio.CancelledError:
            pass
        except BaseException as failure:  # noqa: BLE001 - kept, and raised where the thread is joined
            self._failure = failure

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._fleet = Fleet(self._configs, clock=self._clock, speed=self._speed)
        self._task = asyncio.ensure_future(self._fleet.run())
        self._started.set()
        await self._task
