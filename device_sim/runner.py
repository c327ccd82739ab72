"""A pile that runs: its machine, its link, one timer, and the repetitions the protocol asks for."""

import asyncio
from collections import Counter as Tally
from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog

from device_sim import enrolment, tasks
from device_sim.battery import Battery
from device_sim.configuration import PileConfig
from device_sim.enrolment import Identity
from device_sim.link import Link
from device_sim.nvm import Nvm
from device_sim.pile import Observer, Pile
from device_sim.rooms import PARTS
from protocol import frames, topics
from protocol.errors import ProtocolError
from protocol.fields import Message
from protocol.frames import Frame
from protocol.messages import Gone
from protocol.words import BootReason

CHECKPOINT_S: Final = 0.5
LONGEST_SLEEP_S: Final = 60.0
CLOCK_TOLERANCE_S: Final = 2.0

Clock = Callable[[], datetime]

log = structlog.get_logger()


class SimulatedPile:
    """One pile of a fleet. ``clock`` is the street's, running ``speed`` times as fast as real time."""

    def __init__(
        self, config: PileConfig, *, clock: Clock, speed: float, enrolment_slots: asyncio.Semaphore
    ) -> None:
        self.config = config
        self._enrolment_slots = enrolment_slots
        self.refused: Tally[str] = Tally()
        self._clock = clock
        self._speed = speed
        self._observers: list[Observer] = []
        self._wake = asyncio.Event()
        self._spoke = asyncio.Event()
        self._booted = asyncio.Event()
        self._nvm = Nvm(config.folder)
        self._power_cut_s = 0.0
        self._cut = asyncio.Event()

    def observe(self, observer: Observer) -> None:
        """Tell this observer of every session's turns, across reboots."""
        self._observers.append(observer)

    async def run(self) -> None:
        """Enrol if need be, then live through power cuts until cancelled. Raises EnrolmentRefused."""
        async with self._enrolment_slots:
            identity = await enrolment.identity_of(self.config)
        self._identity = identity
        self._keys = identity.keys
        before: Pile | None = None
        while True:
            self._power_up(identity, before)
            self._cut.clear()
            await tasks.first_ends(self._keep_time(), self._link.run(), self._cut.wait())
            before = self.pile
            await asyncio.sleep(self._power_cut_s)

    async def ready(self) -> None:
        """Wait until the platform has acknowledged the boot."""
        await self._booted.wait()

    def give_up(self) -> None:
        """Nobody need wait for this pile any more."""
        self._booted.set()

    def plug(self, port: int, battery: Battery) -> None:
        """Plug a battery's charger into a port, now."""
        self.pile.plug(port, battery, now_ms=self.now_ms())
        self._wake.set()

    def unplug(self, port: int) -> None:
        """Pull a port's plug, now."""
        self.pile.unplug(port, now_ms=self.now_ms())
        self._wake.set()

    def drop_link(self, for_s: float) -> None:
        """Lose the network for so many real seconds."""
        self._link.drop(for_s)

    def cut_power(self, for_s: float) -> None:
        """Lose the mains for so many real seconds; only the memory survives."""
        self.pile.advance(self.now_ms())
        self._power_cut_s = for_s
        self._link.drop(0.0)
        self._cut.set()

    def now_ms(self) -> int:
        """The street's clock in epoch milliseconds."""
        return int(self._clock().timestamp() * 1000)

    def _power_up(self, identity: Identity, before: Pile | None) -> None:
        self.pile = Pile(
            self.config,
            self._nvm,
            keys=identity.keys,
            parts=PARTS,
            now_ms=self.now_ms(),
            reason=BootReason.POWER,
            clock_tolerance_ms=round(CLOCK_TOLERANCE_S * 1000 * max(1.0, self._speed)),
            observers=self._observers,
        )
        if before is not None:
            self.pile.take_over(before, now_ms=self.now_ms())
        self.pile.records.on_news = self._wake.set
        self._link = Link(identity, self)
        self._booted.clear()

    async def _keep_time(self) -> None:
        """The pile's one timer: physics by the street's clock, repetitions by the real one."""
        loop = asyncio.get_running_loop()
        checkpoint_s = 0.0
        while True:
            self._wake.clear()
            self.pile.advance(self.now_ms())
            self.pile.records.repeat(loop.time())
            if self.pile.memory.sessions and loop.time() >= checkpoint_s:
                self.pile.checkpoint()
                checkpoint_s = loop.time() + CHECKPOINT_S
            self._spoke.set()
            try:
                async with asyncio.timeout(self._sleep_s(loop.time())):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _sleep_s(self, real_s: float) -> float:
        waits = [LONGEST_SLEEP_S, (self.pile.next_ms() - self.now_ms()) / 1000 / self._speed]
        if (repeat_s := self.pile.records.next_s()) is not None:
            waits.append(repeat_s - real_s)
        return max(0.0, min(waits))

    # What the link asks of a device.

    @property
    def reconnect_jitter_s(self) -> float:
        """Widest random wait before reconnecting, in real seconds, as ``boot_ack`` said."""
        return self.pile.reconnect_jitter_s

    def connecting(self) -> Frame:
        """Number the connection and write its last will."""
        self.pile.connection += 1
        return self.sealed(Gone(connection=self.pile.connection))

    def connected(self) -> None:
        """The first word on a connection is boot or heartbeat; then everything unacknowledged is said again."""
        self.pile.advance(self.now_ms())
        self.pile.outbox.linked = True
        if self.pile.outbox.open:
            self.pile.outbox.put_first(self.pile.heartbeat_message())
        self.pile.records.link_is_new()
        self._wake.set()

    def disconnected(self) -> None:
        """What is worth nothing later is forgotten."""
        self.pile.outbox.link_lost()

    def received(self, topic: str, payload: bytes) -> None:
        """Open a frame; what is forged, malformed or replayed is counted and changes nothing."""
        try:
            parsed = topics.parse(topic)
            frame = frames.open_frame(self._keys.opener, topic=parsed, payload=payload)
        except ProtocolError as error:
            self._refuse(error.reason)
            return
        if parsed.pile_id != self.config.pile_id:
            self._refuse("foreign_pile")
        elif frame.counter <= self.pile.memory.down.get(frame.epoch, (-1, -1)):
            self._refuse("replayed")
        elif not isinstance(frame.message, Message):
            self._refuse("unknown_message")
        else:
            self.pile.memory.down[frame.epoch] = frame.counter
            self._keys.heard_under(frame.epoch)
            self.pile.receive(frame.message, now_ms=self.now_ms())
            if self.pile.outbox.open:
                self._booted.set()
            self._wake.set()

    async def next_message(self) -> Message:
        """Wait for the next thing to say."""
        while (message := self.pile.outbox.take()) is None:
            self._spoke.clear()
            await self._spoke.wait()
        return message

    def sealed(self, message: Message) -> Frame:
        """The message in an envelope with a fresh counter."""
        counter = self.pile.next_counter()
        return frames.seal(message, sealer=self._keys.sealer, pile_id=self.config.pile_id, counter=counter)

    def unsent(self, message: Message) -> None:
        """Keep it for the next connection."""
        self.pile.outbox.put_back(message)

    def _refuse(self, reason: str) -> None:
        self.refused[reason] += 1
        log.info("pile_refuses_frame", pile_id=self.config.pile_id, reason=reason)
