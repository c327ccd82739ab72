"""A pile that runs: its machine, its link, one timer, and the repetitions the protocol asks for."""

import asyncio
from collections import Counter as Tally
from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog

from device_sim import enrolment, tasks, upkeep
from device_sim.battery import Battery
from device_sim.configuration import PileConfig
from device_sim.enrolment import Identity
from device_sim.hazards import Surroundings
from device_sim.heard import HeardCounters
from device_sim.host import Radio, Receiver, Relaying
from device_sim.link import Link
from device_sim.local_starts import NO_POWER, LocalStarts, Served
from device_sim.nvm import Nvm
from device_sim.pile import Observer, Pile
from device_sim.rooms import PARTS
from device_sim.safety import Safety
from protocol import frames, topics
from protocol.errors import ProtocolError
from protocol.fields import Message
from protocol.frames import Frame
from protocol.messages import Gone, MeterFrame, RelayUp
from protocol.words import AlarmKind, BootReason

CHECKPOINT_S: Final = 0.5
LONGEST_SLEEP_S: Final = 60.0
CLOCK_TOLERANCE_S: Final = 2.0
BACKLOG_FRAMES_PER_S: Final = 20
PACE_STEP_S: Final = 0.01
LAST_WORDS_S: Final = 5.0

Clock = Callable[[], datetime]

log = structlog.get_logger()


class SimulatedPile:
    """One pile of a fleet. ``clock`` is the street's, running ``speed`` times as fast as real time."""

    def __init__(
        self,
        config: PileConfig,
        *,
        clock: Clock,
        speed: float,
        enrolment_slots: asyncio.Semaphore,
        host: "SimulatedPile | None" = None,
    ) -> None:
        """A pile with a connection of its own, or one behind a ``host``."""
        self.config = config
        self.online = asyncio.Event()
        self.offline = asyncio.Event()
        self._host = host
        self._children: dict[str, Receiver] = {}
        if host is not None:
            host.adopt(config.pile_id, self._received_by_radio)
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
        self._silenced: tuple[type[Message], ...] = ()
        self._dark = False
        self._surroundings: Surroundings = Surroundings()
        self._cut = asyncio.Event()
        self._boot_reason = BootReason.POWER
        self._heard = HeardCounters(config.folder)

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
            self._power_up(before)
            self._cut.clear()
            await tasks.first_ends(
                self._keep_time(),
                self._link.run(),
                self._cut.wait(),
                upkeep.fetch_firmware(self._awake),
                upkeep.watch_trial(self._awake),
                upkeep.keep_certificate(self.config, self._identity, self.renewed),
            )
            before = self.pile
            self._surroundings = before.lose_power(now_ms=self.now_ms())
            self._dark = True
            self._be_offline()
            await asyncio.sleep(self._power_cut_s)
            self._dark = False

    async def ready(self) -> None:
        """Wait until the platform has acknowledged the boot."""
        await self._booted.wait()

    def give_up(self) -> None:
        """Nobody need wait for this pile any more."""
        self._booted.set()

    def plug(self, port: int, battery: Battery) -> None:
        """Plug a battery's charger into a port, now."""
        if self._dark:
            self._surroundings.batteries[port] = battery
            return
        self.pile.plug(port, battery, now_ms=self.now_ms())
        self._wake.set()

    def unplug(self, port: int) -> None:
        """Pull a port's plug, now."""
        if self._dark:
            self._surroundings.batteries.pop(port, None)
            return
        self.pile.unplug(port, now_ms=self.now_ms())
        self._wake.set()

    def inflict(self, kind: AlarmKind, port: int | None = None, value: int | None = None) -> None:
        """Something goes wrong at a port, or all over the pile, until it is relieved.

        ``value`` is what is felt, in the unit of the alarm's kind; without it, so much that it surely trips.
        """
        if self._dark:
            self._surroundings.inflict(kind, port, value)
            return
        self._awake().part(Safety).inflict(kind, port, value)

    def relieve(self, kind: AlarmKind, port: int | None = None) -> None:
        """It is over; what has latched stays so until a person clears it."""
        if self._dark:
            self._surroundings.relieve(kind, port)
            return
        self._awake().part(Safety).relieve(kind, port)

    def swipe_card(self, port: int, card: str) -> Served:
        """Hold a card to a port's reader, now."""
        return NO_POWER if self._dark else self._awake().part(LocalStarts).swipe_card(port, card)

    def type_code(self, port: int, digits: str) -> Served:
        """Type a start code in at a port, now."""
        return NO_POWER if self._dark else self._awake().part(LocalStarts).type_code(port, digits)

    def drop_link(self, for_s: float) -> None:
        """Lose the network for so many real seconds."""
        self._link.drop(for_s)

    def cut_power(self, for_s: float) -> None:
        """Lose the mains for so many real seconds; only the memory survives."""
        self._go_dark(for_s, then=BootReason.POWER)

    def _go_dark(self, for_s: float, *, then: BootReason) -> None:
        self._power_cut_s = for_s
        self._boot_reason = then
        self._link.drop(0.0)
        self._cut.set()

    def renewed(self, identity: Identity) -> None:
        """There is a new certificate: connect with it."""
        self._identity = identity
        self._link.renew(identity)

    def adopt(self, child: str, receiver: Receiver) -> None:
        """Carry frames for a pile behind this one."""
        self._children[child] = receiver

    def carry(self, frame: Frame) -> asyncio.Event:
        """Send a frame of a pile behind this one; gives what tells when the broker has it."""
        arrived = self.pile.part(Relaying).carry(frame)
        self._spoke.set()
        return arrived

    def silence(self, *kinds: type[Message]) -> None:
        """Let no message of these kinds leave from now on; without kinds, tell all that is not acknowledged, now."""
        self._silenced = self.pile.outbox.silenced = kinds
        self.pile.records.link_is_new()
        self._wake.set()

    def keep_record(self, about: UUID, record: Message) -> None:
        """Tell a record of anything until it is acknowledged, as if it had been in the memory."""
        self._awake().records.keep(about, record)

    def chatter(self, frames: int) -> bool:
        """Say so many heartbeats beyond those that are due, heeding nobody; False without a connection."""
        if not self.online.is_set():
            return False
        self._link.shout([self.pile.heartbeat_message() for _ in range(frames)])
        return True

    def _be_offline(self) -> None:
        self.online.clear()
        self.offline.set()

    def _awake(self) -> Pile:
        """The pile at this instant; whatever is done to it now, its timer takes notice."""
        self.pile.advance(self.now_ms())
        self._wake.set()
        return self.pile

    def now_ms(self) -> int:
        """The street's clock in epoch milliseconds."""
        return int(self._clock().timestamp() * 1000)

    def _power_up(self, before: Pile | None) -> None:
        self.pile = Pile(
            self.config,
            self._nvm,
            keys=self._keys,
            parts=PARTS,
            now_ms=self.now_ms(),
            reason=self._boot_reason,
            clock_tolerance_ms=round(CLOCK_TOLERANCE_S * 1000 * max(1.0, self._speed)),
            surroundings=self._surroundings,
            observers=self._observers,
        )
        if before is not None:
            self.pile.take_over(before, now_ms=self.now_ms())
        self.pile.records.on_news = self._wake.set
        self.pile.outbox.silenced = self._silenced
        self.pile.outbox.pace(BACKLOG_FRAMES_PER_S * self._speed)
        self._link = Link(self._identity, self) if self._host is None else Radio(self, self._host)
        self.pile.part(Relaying).children = self._children
        self._booted.clear()
        self._silent = False
        self._restart_by_s: float | None = None

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
            self._restart_if_wanted(loop.time())
            try:
                async with asyncio.timeout(self._sleep_s(loop.time())):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _sleep_s(self, real_s: float) -> float:
        waits = [LONGEST_SLEEP_S, (self.pile.next_ms() - self.now_ms()) / 1000 / self._speed]
        if (repeat_s := self.pile.records.next_s()) is not None:
            waits.append(repeat_s - real_s)
        if (samples_s := self.pile.outbox.next_s()) is not None:
            # What may be said already waits for the broker, not for us.
            waits.append(max(samples_s - real_s, PACE_STEP_S))
        if self._restart_by_s is not None:
            waits.append(self._restart_by_s - real_s)
        return max(0.0, min(waits))

    def _restart_if_wanted(self, real_s: float) -> None:
        """An orderly restart lets the pile say what it has to say first, within a limit."""
        reason = self.pile.restart_reason
        if reason is None or self._cut.is_set():
            return
        self._restart_by_s = self._restart_by_s or real_s + LAST_WORDS_S
        said_all = self._silent and self.pile.outbox.unsent == 0
        if said_all or not self.pile.outbox.linked or real_s >= self._restart_by_s:
            self._go_dark(0.0, then=reason)

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
        self.pile.link_changed(True, now_ms=self.now_ms())
        self.offline.clear()
        self.online.set()
        if self.pile.outbox.open:
            self.pile.outbox.put_first(self.pile.heartbeat_message())
        self.pile.records.link_is_new()
        self._wake.set()

    def disconnected(self) -> None:
        """What is worth nothing later is forgotten."""
        self._be_offline()
        self.pile.link_changed(False, now_ms=self.now_ms())
        self._wake.set()

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
        elif frame.counter <= self._heard.newest(frame.epoch):
            self._refuse("replayed")
        elif not isinstance(frame.message, Message):
            self._refuse("unknown_message")
        else:
            self._heard.note(frame.epoch, frame.counter)
            self._keys.heard_under(frame.epoch)
            self.pile.receive(frame.message, now_ms=self.now_ms())
            if self.pile.outbox.open:
                self._booted.set()
            self._wake.set()

    async def next_message(self) -> Message:
        """Wait for the next thing to say."""
        while (message := self.pile.outbox.take()) is None:
            self._silent = True
            if self.pile.restart_reason is not None:
                self._wake.set()
            self._spoke.clear()
            await self._spoke.wait()
        self._silent = False
        return message

    def sealed(self, message: Message) -> Frame:
        """The message in an envelope with a fresh counter."""
        counter = self.pile.next_counter()
        self.pile.outbox.sealed(message, counter)
        return frames.seal(message, sealer=self._keys.sealer, pile_id=self.config.pile_id, counter=counter)

    def pause_after(self, message: Message) -> float:
        """Children's samples go out slowly: the platform takes no flood from anybody."""
        carries_samples = isinstance(message, RelayUp) and message.name == MeterFrame.message
        return 1 / BACKLOG_FRAMES_PER_S / self._speed if carries_samples else 0.0

    def said(self, message: Message) -> None:
        """The broker has this, and with it what was said for a child."""
        if isinstance(message, RelayUp):
            self.pile.part(Relaying).said(message)

    def unsent(self, message: Message) -> None:
        """Keep it for the next connection."""
        self.pile.outbox.put_back(message)

    def _received_by_radio(self, topic: str, payload: bytes) -> None:
        """What a host hands on is lost on a child without power, or out of reach."""
        if self.online.is_set():
            self.received(topic, payload)

    def _refuse(self, reason: str) -> None:
        self.refused[reason] += 1
        log.info("pile_refuses_frame", pile_id=self.config.pile_id, reason=reason)
