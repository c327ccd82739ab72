"""The pile's protection at work: hazards trip ports, alarms are told until acknowledged, and a person clears."""

from typing import Final

from device_sim import hazards, sensors
from device_sim.hazards import NO_FLOW, RULES
from device_sim.part import DONE, Hears, Obeys, Part, Verdict, refused
from device_sim.pile import Pile
from device_sim.port import Port
from device_sim.protection import Protection, Turn, has
from protocol.messages import Alarm, AlarmAck, FaultClear
from protocol.words import (
    AlarmKind,
    CommandCause,
    LogLevel,
    StartCause,
    StateCause,
    StopReason,
)

ALARMS_KEPT: Final = 200
"""Tellings that wait for their acknowledgement; of more, the oldest that is over goes."""

_WELDED: Final = frozenset({AlarmKind.RELAY_WELDED})


class Safety(Part):
    """What a pile does by itself about what endangers life and property."""

    def __init__(self, pile: Pile) -> None:
        super().__init__(pile)
        self._protection = Protection(pile.memory.safety, setting=self._setting, now_ms=pile.now_ms)
        for (kind, port), value in pile.surroundings.inflicted.items():
            self._protection.feel(kind, port, value, at_ms=pile.now_ms)
        self._wire(pile.now_ms)
        for port in pile.ports.values():
            port.fault = self._protection.fault(port.number)

    def inflict(self, kind: AlarmKind, port: int | None = None, value: int | None = None) -> None:
        """Something goes wrong now, at a port or all over the pile, until it is relieved.

        ``value`` is what is felt, in the unit of the alarm's kind; without it, so much that it surely trips.
        """
        now_ms = self.pile.now_ms
        reading = self.pile.surroundings.inflict(kind, port, value)
        self._wire(now_ms)
        if kind is AlarmKind.CLOCK_FAULT:
            self.pile.device_clock.lose(now_ms=now_ms)
        self._protection.feel(kind, port, reading, at_ms=now_ms)
        self.pile.advance(now_ms)

    def relieve(self, kind: AlarmKind, port: int | None = None) -> None:
        """It is over; what has latched stays so until a person clears it."""
        if self.pile.surroundings.relieve(kind, port):
            self._wire(self.pile.now_ms)
            self._protection.feel(kind, port, None, at_ms=self.pile.now_ms)

    def hears(self) -> Hears:
        """The platform has an alarm."""
        return {AlarmAck: self._acknowledged}

    def obeys(self) -> Obeys:
        """A person has looked."""
        return {FaultClear: self._clear}

    def start_obstacle(self, port: Port) -> StartCause | None:
        """What is latched or felt keeps a port shut."""
        return self._protection.obstacle(port.number)

    def ending(self, port: Port, reason: StopReason, at_ms: int) -> None:
        """A load beyond what the pile allows anybody trips the port; one beyond the order's limit does not."""
        power_w = port.measured_w(at_ms)
        beyond = port.power_w(at_ms) >= self.pile.thresholds.max_power_w
        if reason is not StopReason.PORT_OVER_POWER or not beyond or port.fault is not None:
            return
        turn = self._protection.trip(
            AlarmKind.PORT_OVER_POWER,
            port.number,
            round(power_w * 10),
            at_ms=at_ms,
            device_ms=self.pile.device_ms(at_ms),
        )
        self._tell(turn.alarm)
        port.fault = self._protection.fault(port.number)

    def sampled(self, at_ms: int) -> None:
        """Feel what is natural too: a setting may call even that too much."""
        pile = self.pile
        drawn_w = 0.0
        for port in pile.ports.values():
            power_w = port.power_w(at_ms)
            drawn_w += power_w
            self._feel(AlarmKind.PORT_OVER_TEMP, port.number, sensors.natural_socket_dc(power_w), at_ms)
        mains_dv = sensors.natural_mains_dv(pile.config.seed, at_ms)
        self._feel(AlarmKind.AMBIENT_OVER_TEMP, None, sensors.natural_board_dc(drawn_w), at_ms)
        self._feel(AlarmKind.PILE_OVER_POWER, None, round(drawn_w * 10), at_ms)
        self._feel(AlarmKind.OVER_VOLTAGE, None, mains_dv, at_ms)
        self._feel(AlarmKind.UNDER_VOLTAGE, None, mains_dv, at_ms)

    def retuned(self, at_ms: int) -> None:
        """What is felt may mean something else now."""
        for (kind, port), value in self.pile.surroundings.inflicted.items():
            self._protection.feel(kind, port, value, at_ms=at_ms)

    def next_ms(self) -> int:
        """When something felt comes to count, or to be over."""
        return self._protection.next_ms()

    def happen(self, at_ms: int) -> None:
        """Raise, act, clear."""
        for turn in self._protection.take_due(at_ms, device_ms=self.pile.device_ms(at_ms)):
            self._turned(turn, at_ms)

    def _turned(self, turn: Turn, at_ms: int) -> None:
        alarm = turn.alarm
        self._tell(alarm)
        for port in self.pile.ports.values():
            port.fault = self._protection.fault(port.number)
        if turn.tripped and RULES[alarm.kind].stops is not None:
            self._stop(alarm, at_ms)
        self.pile.save()
        for port in self.pile.ports.values():
            cause = StateCause.RECOVERY if port.fault is None else StateCause.FAULT
            self.pile.report(port, cause, at_ms)

    def _stop(self, alarm: Alarm, at_ms: int) -> None:
        """Open the relays that the alarm is about."""
        if alarm.kind is AlarmKind.PILE_OVER_POWER:
            self._shed_load(at_ms)
            return
        everywhere = hazards.is_pile_wide(alarm.kind, alarm.port)
        for port in self.pile.ports.values():
            if port.session is not None and (everywhere or port.number == alarm.port):
                reason = hazards.stop_reason(alarm.kind, alarm.port, port.number)
                self.pile.end_session(port, reason, at_ms)

    def _shed_load(self, at_ms: int) -> None:
        """End the newest session, then the next newest, until the sum fits."""
        accepted = {
            port.number: port.session.accepted_ms
            for port in self.pile.metered_ports()
            if port.session is not None
        }
        for number in sorted(accepted, key=lambda number: accepted[number], reverse=True):
            self.pile.end_session(self.pile.ports[number], StopReason.PILE_OVER_POWER, at_ms)
            drawn_w = sum(port.power_w(at_ms) for port in self.pile.ports.values())
            if drawn_w <= self.pile.thresholds.pile_cut_w:
                return

    def _clear(self, clear: FaultClear) -> Verdict:
        now_ms = self.pile.now_ms
        if clear.port is not None and clear.port not in self.pile.ports:
            return refused(CommandCause.NO_SUCH_PORT)
        self.sampled(now_ms)
        turns = self._protection.clear(clear.port, device_ms=self.pile.device_ms(now_ms))
        if turns is None:
            return refused(CommandCause.FAULT_PERSISTS)
        for turn in turns:
            self._turned(turn, now_ms)
        if not turns:
            self._mended(now_ms)
        return DONE

    def _mended(self, at_ms: int) -> None:
        """The alarm was over before: only the latch goes."""
        for port in self.pile.ports.values():
            port.fault = self._protection.fault(port.number)
            self.pile.report(port, StateCause.RECOVERY, at_ms)

    def _acknowledged(self, ack: AlarmAck) -> None:
        told = self.pile.records.untold("alarm", ack.alarm_id)
        if isinstance(told, Alarm) and has(told, level=ack.level, cleared=ack.cleared):
            self.pile.records.told("alarm", ack.alarm_id)

    def _tell(self, alarm: Alarm) -> None:
        waiting = self.pile.memory.alarms
        if len(waiting) >= ALARMS_KEPT and alarm.alarm_id not in waiting:
            over = (alarm_id for alarm_id in waiting if alarm_id not in self.pile.memory.safety.alarms)
            self.pile.records.told("alarm", next(over, next(iter(waiting))))
        self.pile.records.keep(alarm.alarm_id, alarm)
        state = "over" if alarm.cleared_at_ms is not None else alarm.level.word
        self.pile.note(f"{alarm.kind.word} {state}, port {alarm.port or 'all'}", level=LogLevel.ERROR)

    def _feel(self, kind: AlarmKind, port: int | None, natural: int, at_ms: int) -> None:
        if (kind, port) not in self.pile.surroundings.inflicted:
            self._protection.feel(kind, port, natural, at_ms=at_ms)

    def _wire(self, at_ms: int) -> None:
        around = self.pile.surroundings
        for port in self.pile.ports.values():
            welded, broken = around.has(_WELDED, port.number), around.has(NO_FLOW, port.number)
            port.wire(welded=welded, broken=broken, at_ms=at_ms)

    def _setting(self, key: str) -> int:
        return round(getattr(self.pile.thresholds, key))
