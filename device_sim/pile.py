"""The pile itself: clock, memory, ports, and the parts that hear messages and act. Pure but for its memory.

What the platform says is dispatched through one table, made of what each part hears and obeys (``rooms`` lists the
parts). Two times rule it all. Physical things happen on the street's clock, given as ``now_ms``; ``advance`` lets
everything due by then happen, each at its own exact instant and in order, however late it is called. What is repeated
until acknowledged (``records``) runs on real seconds and is the runner's to drive.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

import structlog

from device_sim import reports
from device_sim.battery import Battery
from device_sim.configuration import PileConfig, Thresholds
from device_sim.device_clock import DeviceClock
from device_sim.frame_store import FrameStore
from device_sim.hazards import Surroundings
from device_sim.journal import Journal
from device_sim.keyring import Keyring
from device_sim.nvm import Memory, Nvm
from device_sim.outbox import Outbox
from device_sim.part import EXPIRED, Moment, Part, Turn, Verdict
from device_sim.port import NEVER_MS, LiveSession, Port
from device_sim.records import Records
from device_sim.sensors import Sensors
from protocol.envelope import Counter
from protocol.fields import Message
from protocol.messages import Boot, BootAck, CommandAck
from protocol.words import (
    BootReason,
    ClockState,
    LogLevel,
    PortState,
    StateCause,
    StopReason,
)

LAST_SEQ: Final = (1 << 32) - 1

log = structlog.get_logger()


Observer = Callable[["Pile", int, Moment, int], None]
"""Hears of a session's turns: pile, port number, which turn, instant in ms."""


class Hand(NamedTuple):
    """Somebody will plug a battery in at an instant, or pull the plug (no battery)."""

    at_ms: int
    port: int
    battery: Battery | None


PartMaker = Callable[["Pile"], Part]
_P = TypeVar("_P", bound=Part)


class Pile:
    """One pile from power-up to power loss. Messages it wants to send go to ``outbox``."""

    def __init__(
        self,
        config: PileConfig,
        nvm: Nvm,
        *,
        keys: Keyring,
        parts: Sequence[PartMaker],
        now_ms: int,
        reason: BootReason,
        clock_tolerance_ms: int,
        surroundings: Surroundings | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        """Power up: count the boot on disk first, then go on with what the power cut left open, or close it.

        ``surroundings`` are what is around the pile with or without power; ``lose_power`` leaves them in order.
        """
        self.config = config
        self.keys = keys
        self.outbox = Outbox(FrameStore(config.folder))
        self.memory: Memory = nvm.load()
        self.records = Records(self.memory, self.outbox, boot=self.boot_message, save=self.save)
        self.memory.boot += 1
        self.boot_reason = reason
        self.device_clock = DeviceClock(
            battery=config.battery_clock,
            now_ms=now_ms,
            tolerance_ms=clock_tolerance_ms,
            phase=zlib.crc32(config.pile_id.encode()),
        )
        self.thresholds: Thresholds = config.thresholds.with_settings(self.memory.settings)
        self.reconnect_jitter_s = 0
        self.connection = 0
        self.hands: list[Hand] = []
        self.now_ms = now_ms
        self.surroundings = surroundings or Surroundings()
        self.sensors = Sensors(self.surroundings, seed=config.seed)
        self.firmware = config.firmware
        self.restart_reason: BootReason | None = None
        self.journal = Journal(config.folder)
        self._observers = tuple(observers)
        self._nvm = nvm
        self._plug_reports: dict[int, tuple[int, StateCause]] = {}
        self.ports = {
            number: Port(
                number,
                self.thresholds,
                register_wh=self.memory.registers_wh.get(number, 0.0),
                now_ms=now_ms,
            )
            for number in range(1, config.port_count + 1)
        }
        self._reported = dict.fromkeys(self.ports, PortState.IDLE)
        self._seq = 0
        self._checkpoint_due = False
        for number, battery in self.surroundings.take_batteries():
            self.ports[number].plug(battery, at_ms=now_ms)
        self.cut_off: list[int] = []
        self.parts = [make(self) for make in parts]
        self._hears = {kind: act for part in self.parts for kind, act in part.hears().items()}
        self._obeys = {kind: act for part in self.parts for kind, act in part.obeys().items()}
        self.save()
        self.note(f"boot {self.memory.boot}: {reason.name.lower()}, firmware {self.firmware}")

    # What the world does to it.

    def advance(self, now_ms: int) -> None:
        """Let everything that is due by now happen, in order and each at its own instant."""
        while (due_ms := self.next_ms()) <= now_ms:
            self.now_ms = max(self.now_ms, due_ms)
            self._happen(due_ms)
        self.now_ms = max(self.now_ms, now_ms)
        if self._checkpoint_due:
            self.checkpoint()

    def next_ms(self) -> int:
        """When something happens next if nobody says or does anything."""
        due = [part.next_ms() for part in self.parts]
        due += [at_ms for at_ms, _ in self._plug_reports.values()]
        due += [hand.at_ms for hand in self.hands]
        return min(due, default=NEVER_MS)

    def receive(self, message: Message, *, now_ms: int) -> None:
        """Do what the platform says. Before ``boot_ack`` it says nothing else, and is not listened to."""
        self.advance(now_ms)
        command_id: UUID | None = getattr(message, "command_id", None)
        if isinstance(message, BootAck):
            self._boot_acknowledged(message)
        elif not self.outbox.open:
            log.info(
                "pile_ignores_message_before_boot_ack", pile_id=self.config.pile_id, message=message.message
            )
        elif command_id is not None and self.records.answer_again(command_id):
            log.info("pile_answers_again", pile_id=self.config.pile_id, message=message.message)
        elif (hear := self._hears.get(type(message))) is not None:
            hear(message)
        elif (obey := self._obeys.get(type(message))) is not None and command_id is not None:
            self.acknowledge(command_id, EXPIRED if self.is_late(message) else obey(message))

    def plug(self, port: int, battery: Battery, *, now_ms: int) -> None:
        """Somebody plugs a charger in, now."""
        self._handle(Hand(now_ms, port, battery), now_ms)

    def unplug(self, port: int, *, now_ms: int) -> None:
        """Somebody pulls the plug, now."""
        self._handle(Hand(now_ms, port, None), now_ms)

    def take_over(self, before: "Pile", *, now_ms: int) -> None:
        """What people mean to do outlives a power cut, and they see which sessions it has ended."""
        self.hands += before.hands
        for number in self.cut_off:
            self.tell(number, Moment.ENDED, now_ms)

    def lose_power(self, *, now_ms: int) -> Surroundings:
        """All at once; what was due by now has happened. Gives what is left: what hangs in the sockets, and hazards."""
        self.advance(now_ms)
        for number, port in self.ports.items():
            battery = port.unplug(at_ms=now_ms)
            if battery is not None:
                self.surroundings.batteries[number] = battery
        return self.surroundings

    def link_changed(self, up: bool, *, now_ms: int) -> None:
        """There is a connection, or none any more."""
        self.advance(now_ms)
        if up:
            self.outbox.linked = True
        else:
            self.outbox.link_lost()
        for part in self.parts:
            part.link_changed(up, now_ms)

    def boot_message(self) -> Boot:
        """What the pile says of itself when it starts."""
        return reports.boot(self, at_ms=self.now_ms)

    def heartbeat_message(self) -> Message:
        """What it says regularly, and first on a new connection."""
        return reports.heartbeat(self, at_ms=self.now_ms)

    # What its parts ask of it.

    def part(self, kind: type[_P]) -> _P:
        """The part of a kind."""
        return next(part for part in self.parts if isinstance(part, kind))

    def metered_ports(self) -> list[Port]:
        """The ports whose session draws, or has drawn, power."""
        return [
            port
            for port in self.ports.values()
            if port.session is not None and port.session.meter is not None
        ]

    def device_ms(self, at_ms: int) -> int:
        """An instant by the pile's own clock."""
        return self.device_clock.device_ms(at_ms)

    def is_late(self, message: Message) -> bool:
        """Whether a command has expired, by the pile's own clock."""
        expires_at_ms: int = getattr(message, "expires_at_ms", NEVER_MS)
        return self.device_ms(self.now_ms) > expires_at_ms

    def acknowledge(self, command_id: UUID, verdict: Verdict, *, first: bool = False) -> None:
        """Answer a command with ``command_ack``; ``first``: before all else that waits."""
        at_ms = self.device_ms(self.now_ms)
        answer = CommandAck(command_id, verdict.result, at_ms, verdict.cause)
        self.records.answer(command_id, answer, first=first)

    def note(self, text: str, *, level: LogLevel = LogLevel.INFO) -> None:
        """Write a line in the pile's own log."""
        self.journal.note(self.device_ms(self.now_ms), level, text)

    def follow_clock(self, time_ms: int) -> None:
        """Follow the platform's clock."""
        step_ms = self.device_clock.follow(time_ms, now_ms=self.now_ms)
        if step_ms:
            self.note(f"clock set by {step_ms} ms", level=LogLevel.WARNING)

    def end_session(self, port: Port, reason: StopReason, at_ms: int) -> None:
        """Open the relay and write the session's record."""
        for part in self.parts:
            part.ending(port, reason, at_ms)
        end_power_w = port.measured_w(at_ms)
        session = port.close_session(at_ms=at_ms)
        self.settle(session, port.number, reason=reason, ended_ms=at_ms, end_power_w=end_power_w)
        self.save()
        cause = StateCause.FULL if reason is StopReason.FULL else StateCause.LIMIT
        if port.fault is not None:
            cause = StateCause.PROTECTION
        elif reason is StopReason.UNPLUGGED:
            cause = StateCause.UNPLUG
        self.note(f"port {port.number} ended its session: {reason.name.lower()}")
        self.report(port, cause, at_ms)
        self.tell(port.number, Moment.ENDED, at_ms)

    def settle(
        self, session: LiveSession, port: int, *, reason: StopReason, ended_ms: int, end_power_w: float = 0.0
    ) -> None:
        """A session is over: its record is kept and told."""
        record = reports.settlement(session, port, reason=reason, ended_ms=ended_ms, end_power_w=end_power_w)
        self.memory.sessions.pop(port, None)
        self.memory.remember_end(session.session_id)
        self.records.keep(session.session_id, record, save=False)

    def report(self, port: Port, cause: StateCause, at_ms: int) -> None:
        """Say that a port has changed its state, if it has."""
        previous, self._reported[port.number] = self._reported[port.number], port.state
        if self.outbox.open and previous is not port.state:
            self.outbox.put(reports.port_state(self, port, previous, cause, at_ms=at_ms))

    def tell(self, port: int, moment: Moment, at_ms: int) -> None:
        """Let everybody know of a session's turn."""
        for part in self.parts:
            part.turn(Turn(self.ports[port], moment, at_ms))
        for observer in self._observers:
            observer(self, port, moment, at_ms)

    def adopt(self, thresholds: Thresholds) -> None:
        """Follow other rules from now on, running sessions included."""
        self.thresholds = thresholds
        for port in self.ports.values():
            port.retune(thresholds, at_ms=self.now_ms)
        for part in self.parts:
            part.retuned(self.now_ms)

    def sampled(self, at_ms: int) -> None:
        """The meters have been read: what they said is written down before it is told."""
        for part in self.parts:
            part.sampled(at_ms)
        self._checkpoint_due = bool(self.memory.sessions)

    def next_counter(self) -> Counter:
        """A counter never used before: a boot with no sequence numbers left takes the next boot's."""
        if self._seq >= LAST_SEQ:
            self.memory.boot, self._seq = self.memory.boot + 1, 0
            self.save()
        self._seq += 1
        return Counter(self.memory.boot, self._seq)

    def checkpoint(self) -> None:
        """Write registers and meters down; outlives the process, not a crash of the host."""
        self.save(durable=False)

    def save(self, *, durable: bool = True) -> None:
        """Write the memory down; not ``durable`` outlives the process, but not a crash of the host."""
        self._checkpoint_due = False
        self.memory.alive_ms = self.now_ms
        self.memory.registers_wh = {
            number: port.register_wh(self.now_ms) for number, port in self.ports.items()
        }
        for port in self.ports.values():
            if port.session is not None and port.session.meter is not None:
                port.session.meter.read_until(self.now_ms, port.register_wh)
        self._nvm.save(self.memory, durable=durable)

    # What its reports show.

    @property
    def clock(self) -> ClockState:
        """What the pile's clock rests on."""
        return self.device_clock.state

    @property
    def config_version(self) -> int:
        """The configuration in force."""
        return self.memory.config_version

    @property
    def tariff_version(self) -> int:
        """The tariff shown."""
        return self.memory.tariff_version

    @property
    def unsent(self) -> int:
        """How many messages and records wait."""
        return self.outbox.unsent + self.records.count

    def _happen(self, at_ms: int) -> None:
        for hand in [hand for hand in self.hands if hand.at_ms <= at_ms]:
            self.hands.remove(hand)
            self._handle(hand, at_ms)
        for number, (due_ms, cause) in list(self._plug_reports.items()):
            if due_ms <= at_ms:
                del self._plug_reports[number]
                self.report(self.ports[number], cause, at_ms)
        for part in self.parts:
            if part.next_ms() <= at_ms:
                part.happen(at_ms)

    def _handle(self, hand: Hand, at_ms: int) -> None:
        self.advance(at_ms - 1)
        self.now_ms = max(self.now_ms, at_ms)
        port = self.ports[hand.port]
        if hand.battery is None:
            port.unplug(at_ms=at_ms)
        else:
            port.plug(hand.battery, at_ms=at_ms)
        cause = StateCause.UNPLUG if hand.battery is None else StateCause.PLUG
        self._plug_reports[hand.port] = (at_ms + self.thresholds.debounce_s * 1000, cause)

    def _boot_acknowledged(self, ack: BootAck) -> None:
        self.thresholds = replace(self.thresholds, heartbeat_s=ack.heartbeat_s, sample_s=ack.sample_s)
        self.reconnect_jitter_s = ack.reconnect_jitter_s
        self.follow_clock(ack.time_ms)
        if not self.outbox.open:
            self.outbox.open = True
            for port in self.ports.values():
                self._reported[port.number] = port.state
                self.outbox.put(
                    reports.port_state(self, port, PortState.IDLE, StateCause.BOOT, at_ms=self.now_ms)
                )
            self.records.boot_told()
        for part in self.parts:
            part.boot_acknowledged(self.now_ms)
