"""The pile itself: ports, sessions, samples and answers. Pure but for its memory.

Two times rule it. Physical things happen on the street's clock, given as ``now_ms``; ``advance`` lets everything
due by then happen, each at its own exact instant and in order, however late it is called. What is repeated until
the platform answers runs on real seconds (``repeats``) and is the runner's to drive.
"""

import zlib
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Final, NamedTuple
from uuid import UUID

import structlog

from device_sim import reports
from device_sim.battery import Battery
from device_sim.configuration import PileConfig
from device_sim.nvm import Memory, Nvm
from device_sim.outbox import Outbox
from device_sim.port import NEVER_MS, LiveSession, Port, PortEvent, PortEventKind
from protocol import codec
from protocol.envelope import Counter
from protocol.fields import Message
from protocol.messages import BootAck, SettlementAck, Start, StartAck, Stop, StopAck, Time
from protocol.topics import Direction
from protocol.words import (
    BootReason,
    ClockState,
    PortState,
    SettlementResult,
    StartCause,
    StartResult,
    StateCause,
    StopReason,
    StopResult,
)

DEFAULT_HEARTBEAT_S: Final = 60
DEFAULT_SAMPLE_S: Final = 30
LAST_SEQ: Final = (1 << 32) - 1

_PHASES: Final = 1_000

log = structlog.get_logger()


class Moment(Enum):
    """The turns of a session, as the people around the pile see them."""

    ACCEPTED = auto()
    STARTED = auto()
    ENDED = auto()


Observer = Callable[["Pile", int, Moment, int], None]
"""Hears of a session's turns: pile, port number, which turn, instant in ms."""


class Hand(NamedTuple):
    """Somebody will plug a battery in at an instant, or pull the plug (no battery)."""

    at_ms: int
    port: int
    battery: Battery | None


class Pile:
    """One pile from power-up to power loss. Messages it wants to send go to ``outbox``."""

    def __init__(
        self,
        config: PileConfig,
        nvm: Nvm,
        *,
        now_ms: int,
        reason: BootReason,
        clock_tolerance_ms: int,
        observers: Sequence[Observer] = (),
    ) -> None:
        """Power up: count the boot on disk first, then close what the power cut left open."""
        self.config = config
        self.outbox = Outbox()
        self.memory: Memory = nvm.load()
        self.memory.boot += 1
        self.boot_reason = reason
        self.clock = ClockState.RTC if config.battery_clock else ClockState.NONE
        self.clock_offset_ms = 0 if config.battery_clock else -now_ms
        self.heartbeat_s = DEFAULT_HEARTBEAT_S
        self.sample_s = DEFAULT_SAMPLE_S
        self.reconnect_jitter_s = 0
        self.connection = 0
        self.hands: list[Hand] = []
        self._observers = tuple(observers)
        self.on_settlement: Callable[[], None] = lambda: None
        self._nvm = nvm
        self._now_ms = now_ms
        self._clock_tolerance_ms = clock_tolerance_ms
        self._heartbeat_ms = now_ms
        self._sample_ms = NEVER_MS
        self._plug_reports: dict[int, tuple[int, StateCause]] = {}
        self.ports = {
            number: Port(
                number,
                config.thresholds,
                register_wh=self.memory.registers_wh.get(number, 0.0),
                now_ms=now_ms,
            )
            for number in range(1, config.port_count + 1)
        }
        self._reported = dict.fromkeys(self.ports, PortState.IDLE)
        self._seq = 0
        self._phase = zlib.crc32(config.pile_id.encode()) % _PHASES
        self._cut_off = tuple(self.memory.sessions)
        for number, session in list(self.memory.sessions.items()):
            self._settle(session, number, reason=StopReason.POWER_LOSS, ended_ms=_last_known_ms(session))
        self._save()

    def advance(self, now_ms: int) -> None:
        """Let everything that is due by now happen, in order and each at its own instant."""
        while (due_ms := self.next_ms()) <= now_ms:
            self._now_ms = max(self._now_ms, due_ms)
            self._happen(due_ms)
        self._now_ms = max(self._now_ms, now_ms)

    def next_ms(self) -> int:
        """When something happens next if nobody says or does anything."""
        due = [self._heartbeat_ms, self._sample_ms]
        due += [at_ms for at_ms, _ in self._plug_reports.values()]
        due += [hand.at_ms for hand in self.hands]
        due += [event.at_ms for port in self.ports.values() if (event := port.next_event()) is not None]
        return min(due)

    def receive(self, message: Message, *, now_ms: int) -> None:
        """Do what the platform says. Before ``boot_ack`` it says nothing else, and is not listened to."""
        self.advance(now_ms)
        if isinstance(message, BootAck):
            self._boot_acknowledged(message)
        elif not self.outbox.open:
            log.info(
                "pile_ignores_message_before_boot_ack", pile_id=self.config.pile_id, message=message.message
            )
        elif isinstance(message, Start):
            self._start(message)
        elif isinstance(message, Stop):
            self._stop(message)
        elif isinstance(message, SettlementAck):
            self._settlement_acknowledged(message)
        elif isinstance(message, Time):
            self._set_clock(message.time_ms)

    def plug(self, port: int, battery: Battery, *, now_ms: int) -> None:
        """Somebody plugs a charger in, now."""
        self._handle(Hand(now_ms, port, battery), now_ms)

    def unplug(self, port: int, *, now_ms: int) -> None:
        """Somebody pulls the plug, now."""
        self._handle(Hand(now_ms, port, None), now_ms)

    def device_ms(self, at_ms: int) -> int:
        """An instant by the pile's own clock."""
        return max(0, at_ms + self.clock_offset_ms)

    def take_over(self, before: "Pile", *, now_ms: int) -> None:
        """What hangs in the sockets, and what people mean to do, outlives a power cut."""
        for number, port in before.ports.items():
            battery = port.unplug(at_ms=before._now_ms)
            if battery is not None:
                self.plug(number, battery, now_ms=now_ms)
        self.hands += before.hands
        for number in self._cut_off:
            self._tell(number, Moment.ENDED, now_ms)

    def next_counter(self) -> Counter:
        """A counter never used before: a boot with no sequence numbers left takes the next boot's."""
        if self._seq >= LAST_SEQ:
            self.memory.boot, self._seq = self.memory.boot + 1, 0
            self._save()
        self._seq += 1
        return Counter(self.memory.boot, self._seq)

    def heartbeat_message(self) -> Message:
        """What the pile says regularly, and first on a new connection."""
        return reports.heartbeat(self, at_ms=self._now_ms)

    def boot_message(self) -> Message:
        """What the pile says of itself when it starts."""
        return reports.boot(self, at_ms=self._now_ms)

    def settlement(self, session_id: UUID) -> Message | None:
        """A record the platform has not acknowledged."""
        body = self.memory.settlements.get(session_id)
        return None if body is None else _decoded(body, "settlement")

    def checkpoint(self) -> None:
        """Write registers and meters down; outlives the process, not a crash of the host."""
        self._save(durable=False)

    def _happen(self, at_ms: int) -> None:
        for hand in [hand for hand in self.hands if hand.at_ms <= at_ms]:
            self.hands.remove(hand)
            self._handle(hand, at_ms)
        for port in self.ports.values():
            event = port.next_event()
            if event is not None and event.at_ms <= at_ms:
                self._port_event(port, event, at_ms)
        for number, (due_ms, cause) in list(self._plug_reports.items()):
            if due_ms <= at_ms:
                del self._plug_reports[number]
                self._report(self.ports[number], cause, at_ms)
        if self._sample_ms <= at_ms:
            self._sample(at_ms)
        if self._heartbeat_ms <= at_ms:
            self._heartbeat_ms = self._next_tick(at_ms, self.heartbeat_s)
            self.outbox.put(self.heartbeat_message())

    def _port_event(self, port: Port, event: PortEvent, at_ms: int) -> None:
        if event.kind is PortEventKind.FIRST_LOAD:
            port.begin_metering(at_ms=at_ms)
            self._sample_ms = min(self._sample_ms, self._next_tick(at_ms, self.sample_s))
            self.outbox.put(reports.started(self, port, at_ms=at_ms))
            self._report(port, StateCause.LOAD, at_ms)
            self._tell(port.number, Moment.STARTED, at_ms)
        elif event.kind is PortEventKind.FULL:
            port.mark_full(at_ms=at_ms)
            self._report(port, StateCause.FULL, at_ms)
        else:
            assert event.reason is not None, "an end has a reason"
            self._end(port, event.reason, at_ms)

    def _handle(self, hand: Hand, at_ms: int) -> None:
        self.advance(at_ms - 1)
        self._now_ms = max(self._now_ms, at_ms)
        port = self.ports[hand.port]
        if hand.battery is None:
            port.unplug(at_ms=at_ms)
        else:
            port.plug(hand.battery, at_ms=at_ms)
        cause = StateCause.UNPLUG if hand.battery is None else StateCause.PLUG
        self._plug_reports[hand.port] = (at_ms + self.config.thresholds.debounce_s * 1000, cause)

    def _boot_acknowledged(self, ack: BootAck) -> None:
        self.heartbeat_s, self.sample_s = ack.heartbeat_s, ack.sample_s
        self.reconnect_jitter_s = ack.reconnect_jitter_s
        self._set_clock(ack.time_ms)
        self._heartbeat_ms = self._next_tick(self._now_ms, self.heartbeat_s)
        if not self.outbox.open:
            self.outbox.open = True
            for port in self.ports.values():
                self.outbox.put(
                    reports.port_state(self, port, PortState.IDLE, StateCause.BOOT, at_ms=self._now_ms)
                )

    def _set_clock(self, time_ms: int) -> None:
        """Follow the platform; a difference the network itself may cause is left alone."""
        off_ms = time_ms - self.device_ms(self._now_ms)
        if self.clock is ClockState.NONE or abs(off_ms) > self._clock_tolerance_ms:
            self.clock_offset_ms += off_ms
        self.clock = ClockState.SYNCED

    def _start(self, start: Start) -> None:
        known = self.memory.answers.get(start.command_id)
        if known is not None:
            self.outbox.put(_decoded(known, "start_ack"))
            return
        cause = self._start_obstacle(start)
        port = self.ports.get(start.port)
        if cause is not None or port is None:
            result = StartResult.REFUSED
        else:
            self._accept(port, start)
            result = StartResult.OK if port.plugged else StartResult.PENDING_PLUG
        answer = StartAck(
            command_id=start.command_id,
            session_id=start.session_id,
            port=start.port,
            result=result,
            at_ms=self.device_ms(self._now_ms),
            register_dwh=port.register_dwh(self._now_ms) if port is not None else 0,
            cause=cause,
        )
        self.memory.remember_answer(start.command_id, codec.encode(answer))
        self._save()
        self.outbox.put(answer)
        if cause is None and port is not None:
            self._report(port, StateCause.COMMAND, self._now_ms)
            self._tell(port.number, Moment.ACCEPTED, self._now_ms)

    def _start_obstacle(self, start: Start) -> StartCause | None:
        port = self.ports.get(start.port)
        if port is None:
            return StartCause.NO_SUCH_PORT
        drawn_w = sum(other.power_w(self._now_ms) for other in self.ports.values())
        obstacles = {
            StartCause.EXPIRED: self.device_ms(self._now_ms) > start.expires_at_ms,
            StartCause.SESSION_ENDED: start.session_id in self.memory.ended,
            StartCause.PORT_FAULT: port.fault is not None,
            StartCause.PORT_DISABLED: port.disabled,
            StartCause.PORT_BUSY: port.session is not None,
            StartCause.PILE_OVER_POWER: drawn_w > self.config.thresholds.pile_start_w,
        }
        return next((cause for cause, holds in obstacles.items() if holds), None)

    def _accept(self, port: Port, start: Start) -> None:
        session = LiveSession.accepted(
            start,
            now_ms=self._now_ms,
            register_dwh=port.register_dwh(self._now_ms),
            clock_offset_ms=self.clock_offset_ms,
            max_session_s=self.config.thresholds.max_session_s,
        )
        port.open_session(session, at_ms=self._now_ms)
        self.memory.sessions[port.number] = session

    def _stop(self, stop: Stop) -> None:
        port = self.ports.get(stop.port)
        if port is not None and port.session is not None and port.session.session_id == stop.session_id:
            expired = self.device_ms(self._now_ms) > stop.expires_at_ms
            result = StopResult.EXPIRED if expired else StopResult.STOPPED
        elif stop.session_id in self.memory.ended:
            result = StopResult.ALREADY_ENDED
        else:
            result = StopResult.SESSION_MISMATCH
        at_ms = self.device_ms(self._now_ms)
        self.outbox.put(StopAck(stop.command_id, stop.session_id, stop.port, result, at_ms))
        if result is StopResult.STOPPED and port is not None:
            self._end(port, stop.reason, self._now_ms)

    def _settlement_acknowledged(self, ack: SettlementAck) -> None:
        self.memory.forget_settlement(ack.session_id, rejected=ack.result is SettlementResult.REJECTED)
        self._save()
        self.on_settlement()

    def _end(self, port: Port, reason: StopReason, at_ms: int) -> None:
        end_power_w = port.measured_w(at_ms)
        session = port.close_session(at_ms=at_ms)
        self._settle(session, port.number, reason=reason, ended_ms=at_ms, end_power_w=end_power_w)
        self._save()
        self.on_settlement()
        cause = StateCause.FULL if reason is StopReason.FULL else StateCause.LIMIT
        if reason is StopReason.UNPLUGGED:
            cause = StateCause.UNPLUG
        self._report(port, cause, at_ms)
        self._tell(port.number, Moment.ENDED, at_ms)

    def _settle(
        self, session: LiveSession, port: int, *, reason: StopReason, ended_ms: int, end_power_w: float = 0.0
    ) -> None:
        record = reports.settlement(
            session, port, reason=reason, ended_ms=ended_ms, end_power_w=end_power_w, clock=self.clock
        )
        self.memory.sessions.pop(port, None)
        self.memory.remember_end(session.session_id, codec.encode(record))

    def _sample(self, at_ms: int) -> None:
        busy = [
            port
            for port in self.ports.values()
            if port.session is not None and port.session.meter is not None
        ]
        if not busy:
            self._sample_ms = NEVER_MS
            return
        self._sample_ms = self._next_tick(at_ms, self.sample_s)
        self.outbox.put(reports.meter_frame(self, busy, at_ms=at_ms))
        drawn_w = sum(port.power_w(at_ms) for port in busy)
        if drawn_w > self.config.thresholds.pile_cut_w:
            newest = max(busy, key=lambda port: port.session.accepted_ms if port.session is not None else 0)
            self._end(newest, StopReason.PILE_OVER_POWER, at_ms)

    def _report(self, port: Port, cause: StateCause, at_ms: int) -> None:
        previous, self._reported[port.number] = self._reported[port.number], port.state
        if self.outbox.open and previous is not port.state:
            self.outbox.put(reports.port_state(self, port, previous, cause, at_ms=at_ms))

    def _tell(self, port: int, moment: Moment, at_ms: int) -> None:
        for observer in self._observers:
            observer(self, port, moment, at_ms)

    def _next_tick(self, at_ms: int, every_s: int) -> int:
        """The next instant on the pile's own grid: no two frames share one, and piles do not all speak at once."""
        every_ms = every_s * 1000
        return at_ms + every_ms - (at_ms - self._phase * every_ms // _PHASES) % every_ms

    def _save(self, *, durable: bool = True) -> None:
        self.memory.registers_wh = {
            number: port.register_wh(self._now_ms) for number, port in self.ports.items()
        }
        for port in self.ports.values():
            if port.session is not None and port.session.meter is not None:
                port.session.meter.read_until(self._now_ms, port.register_wh)
        self._nvm.save(self.memory, durable=durable)


def _last_known_ms(session: LiveSession) -> int:
    return session.meter.read_ms if session.meter is not None else session.accepted_ms


def _decoded(body: bytes, name: str) -> Message:
    message = codec.decode(Direction.UP, name, body)
    assert isinstance(message, Message), "the memory holds messages of this version"
    return message
