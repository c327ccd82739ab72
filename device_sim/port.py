"""One socket: what hangs on it, what flows, and when the running session must end. Pure.

Instants are milliseconds of the street's clock. Everything that will happen to a socket left alone can be computed
at once, so the socket is never stepped: ``next_event`` says what comes next and when.
"""

import math
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NamedTuple
from uuid import UUID

from device_sim.battery import Battery
from device_sim.configuration import Thresholds
from device_sim.session_meter import SessionMeter, dwh
from protocol.messages import Start
from protocol.words import ClockState, Phase, PortFault, PortState, SessionSource, StopReason

NEVER_MS: Final = 1 << 62


class PortEventKind(Enum):
    """What can happen to a socket by itself."""

    FIRST_LOAD = auto()
    FULL = auto()
    END = auto()


class PortEvent(NamedTuple):
    """Something that will happen at an instant; ``reason`` is set for an end."""

    at_ms: int
    kind: PortEventKind
    reason: StopReason | None = None


@dataclass
class LiveSession:
    """A session on a socket, from the accepted start to the end; kept in the pile's memory.

    Its times stay on the clock it began with: ``clock_offset_ms``, and what that rested on. ``register_shift_dwh`` is
    by how much a broken register is off since the session began.
    """

    command_id: UUID
    session_id: UUID
    limit_s: int
    limit_dwh: int
    max_power_w: int
    stop_when_full: bool
    float_s: int
    tariff_version: int
    accepted_ms: int
    plug_until_ms: int
    start_register_dwh: int
    clock_offset_ms: int
    meter: SessionMeter | None = None
    full_ms: int | None = None
    samples_sent: int = 0
    sampled_ms: int = 0
    sampled_wh: float = 0.0
    source: SessionSource = SessionSource.APP
    register_shift_dwh: int = 0
    clock: ClockState = ClockState.SYNCED

    @classmethod
    def accepted(
        cls, start: Start, *, now_ms: int, register_dwh: int, clock_offset_ms: int, clock: ClockState
    ) -> "LiveSession":
        """A session that begins with this command."""
        return cls(
            command_id=start.command_id,
            session_id=start.session_id,
            limit_s=start.limit_s,
            limit_dwh=start.limit_dwh,
            max_power_w=start.max_power_w,
            stop_when_full=start.stop_when_full,
            float_s=start.float_s,
            tariff_version=start.tariff_version,
            accepted_ms=now_ms,
            plug_until_ms=now_ms + start.plug_wait_s * 1000,
            start_register_dwh=register_dwh,
            clock_offset_ms=clock_offset_ms,
            clock=clock,
        )


class Port:
    """A socket with its relay, its energy register, perhaps a battery and perhaps a session.

    A ``welded`` relay lets current through at any time, a ``broken`` circuit at none.
    """

    def __init__(self, number: int, thresholds: Thresholds, *, register_wh: float, now_ms: int) -> None:
        self.number = number
        self.session: LiveSession | None = None
        self.battery: Battery | None = None
        self.fault: PortFault | None = None
        self.full = False
        self.disabled = False
        self.welded = False
        self.broken = False
        self.unplugged_ms = now_ms
        self._thresholds = thresholds
        self._anchor_ms = now_ms
        self._anchor_wh = register_wh
        self._next: PortEvent | None = None

    @property
    def plugged(self) -> bool:
        """Whether a plug is in the socket."""
        return self.battery is not None

    @property
    def state(self) -> PortState:
        """The state the pile reports."""
        if self.fault is not None:
            return PortState.FAULT
        if self.session is not None:
            if self.session.meter is None:
                return PortState.STARTING
            return PortState.FLOAT if self.session.full_ms is not None else PortState.CHARGING
        if self.disabled:
            return PortState.DISABLED
        if self.plugged:
            return PortState.FULL_PLUGGED if self.full else PortState.PLUGGED
        return PortState.IDLE

    def register_wh(self, at_ms: int) -> float:
        """The energy register, which only grows."""
        flowing = self._flowing()
        if flowing is None:
            return self._anchor_wh
        return self._anchor_wh + flowing.energy_wh(self._after_s(at_ms))

    def register_dwh(self, at_ms: int) -> int:
        """The energy register in whole 0.1 Wh."""
        return dwh(self.register_wh(at_ms))

    def power_w(self, at_ms: int) -> float:
        """True power."""
        flowing = self._flowing()
        return flowing.power_w(self._after_s(at_ms)) if flowing is not None else 0.0

    def measured_w(self, at_ms: int) -> float:
        """Power as the meter reads it."""
        flowing = self._flowing()
        return flowing.measured_w(self._after_s(at_ms)) if flowing is not None else 0.0

    def power_factor(self, at_ms: int) -> float:
        """Power factor; one when nothing flows."""
        flowing = self._flowing()
        return flowing.power_factor(self._after_s(at_ms)) if flowing is not None else 1.0

    def phase(self, at_ms: int) -> Phase:
        """The stage of the charge; idle when nothing flows."""
        flowing = self._flowing()
        return flowing.phase(self._after_s(at_ms)) if flowing is not None else Phase.IDLE

    def retune(self, thresholds: Thresholds, *, at_ms: int) -> None:
        """Follow other rules from now on, the running session included; what must last for a while begins anew."""
        if thresholds != self._thresholds:
            self._anchor(at_ms)
            self._thresholds = thresholds

    def extend(self, *, limit_s: int, limit_dwh: int) -> None:
        """Give the running session other limits."""
        assert self.session is not None, "only a running session is extended"
        self.session.limit_s, self.session.limit_dwh = limit_s, limit_dwh
        self._next = None

    def plug(self, battery: Battery, *, at_ms: int) -> None:
        """Put a battery's charger in the socket; what was in it is pulled first."""
        self._anchor(at_ms)
        self.battery = battery
        self.full = False
        if self.session is not None:
            self.session.full_ms = None

    def unplug(self, *, at_ms: int) -> Battery | None:
        """Pull the plug; gives back the battery as it then is."""
        self._anchor(at_ms)
        battery, self.battery = self.battery, None
        if battery is not None:
            self.unplugged_ms = at_ms
        self.full = False
        return battery

    def wire(self, *, welded: bool, broken: bool, at_ms: int) -> None:
        """Damage or mend the circuit."""
        if (welded, broken) != (self.welded, self.broken):
            self._anchor(at_ms)
            self.welded, self.broken = welded, broken

    def shift_register(self, by_dwh: int, *, at_ms: int) -> None:
        """The energy register loses or invents so much, never falling below zero; a session's own count goes on."""
        by_dwh = max(by_dwh, -self.shown_dwh(at_ms))
        if self.session is not None:
            self.session.register_shift_dwh += by_dwh
        else:
            self._anchor(at_ms)
            self._anchor_wh += by_dwh / 10

    def shown_dwh(self, at_ms: int) -> int:
        """What the energy register shows, in whole 0.1 Wh, broken or not."""
        shift_dwh = self.session.register_shift_dwh if self.session is not None else 0
        return self.register_dwh(at_ms) + shift_dwh

    def resume_session(self, session: LiveSession) -> None:
        """Power is back, and the session of before goes on."""
        self.session = session
        self._next = None

    def open_session(self, session: LiveSession, *, at_ms: int) -> None:
        """Close the relay for a session."""
        self._anchor(at_ms)
        self.session = session
        self.full = False

    def close_session(self, *, at_ms: int) -> LiveSession:
        """Open the relay and read the meter a last time."""
        session = self.session
        assert session is not None, "only a running session is closed"
        if session.meter is not None:
            session.meter.close(at_ms, self.register_wh)
        self._anchor(at_ms)
        self.full = session.full_ms is not None and self.plugged
        self.session = None
        self._anchor_wh += session.register_shift_dwh / 10
        return session

    def begin_metering(self, *, at_ms: int) -> None:
        """The first load: the session's time and energy count from here."""
        assert self.session is not None, "metering belongs to a session"
        self.session.meter = SessionMeter(
            started_ms=at_ms,
            start_register_dwh=self.session.start_register_dwh,
            clock_offset_ms=self.session.clock_offset_ms,
        )
        self.session.sampled_ms = at_ms
        self.session.sampled_wh = self.register_wh(at_ms)
        self._next = None

    def mark_full(self, *, at_ms: int) -> None:
        """The battery has been full long enough to say so."""
        assert self.session is not None, "only a running session becomes full"
        self.session.full_ms = at_ms
        self._next = None

    def next_event(self) -> PortEvent | None:
        """What happens next if nobody touches the socket; None if nothing will."""
        if self.session is None:
            return None
        if self._next is None:
            event = self._pending_event(self.session) if self.session.meter is None else self._running_event()
            # A limit that was lowered below what has been taken ends the session now, not in the past.
            self._next = event._replace(at_ms=max(event.at_ms, self._anchor_ms))
        return self._next

    def _pending_event(self, session: LiveSession) -> PortEvent:
        gives_up = PortEvent(session.plug_until_ms, PortEventKind.END, StopReason.NO_LOAD)
        flowing = self._flowing()
        load_s = flowing.first_at_least(self._thresholds.start_w) if flowing is not None else None
        if load_s is None or self._at_ms(load_s) > gives_up.at_ms:
            return gives_up
        return PortEvent(self._at_ms(load_s), PortEventKind.FIRST_LOAD)

    def _running_event(self) -> PortEvent:
        session = self.session
        assert session is not None
        assert session.meter is not None
        ends = PortEventKind.END
        longest_s = self._thresholds.max_session_s
        preset = StopReason.MAX_TIME if session.limit_s >= longest_s else StopReason.PRESET_TIME
        limit_ms = session.meter.started_ms + min(session.limit_s, longest_s) * 1000
        events = [PortEvent(limit_ms, ends, preset)]
        flowing = self._flowing()
        if flowing is None and self.plugged:
            return events[0]
        if flowing is None:
            unplugged_ms = self.unplugged_ms + self._thresholds.unplug_s * 1000
            events.append(PortEvent(unplugged_ms, ends, StopReason.UNPLUGGED))
            return min(events, key=lambda event: event.at_ms)
        left_wh = (session.start_register_dwh + session.limit_dwh) / 10 - self._anchor_wh
        energy_ms = self._at_ms(flowing.when_taken(max(0.0, left_wh)))
        events.append(PortEvent(energy_ms, ends, StopReason.PRESET_ENERGY))
        over_s = flowing.first_at_least(min(session.max_power_w, self._thresholds.max_power_w))
        if over_s is not None:
            over_ms = self._at_ms(over_s + self._thresholds.overload_s)
            events.append(PortEvent(over_ms, ends, StopReason.PORT_OVER_POWER))
        full = self._full_event(session, flowing)
        if full is not None:
            events.append(full)
        return min(events, key=lambda event: event.at_ms)

    def _full_event(self, session: LiveSession, flowing: Battery) -> PortEvent | None:
        if session.full_ms is not None:
            if not session.stop_when_full:
                return None
            return PortEvent(session.full_ms + session.float_s * 1000, PortEventKind.END, StopReason.FULL)
        low_s = flowing.low_for_good(self._thresholds.full_w)
        if low_s is None:
            return None
        return PortEvent(self._at_ms(low_s + self._thresholds.full_s), PortEventKind.FULL)

    def _flowing(self) -> Battery | None:
        closed = self.session is not None or self.welded
        return self.battery if closed and not self.broken else None

    def _after_s(self, at_ms: int) -> float:
        return max(0, at_ms - self._anchor_ms) / 1000

    def _at_ms(self, after_s: float) -> int:
        return min(NEVER_MS, self._anchor_ms + math.ceil(after_s * 1000))

    def _anchor(self, at_ms: int) -> None:
        """Carry register and battery to this instant: something about the flow changes here."""
        if self.session is not None and self.session.meter is not None:
            self.session.meter.read_until(at_ms, self.register_wh)
        after_s = self._after_s(at_ms)
        flowing = self._flowing()
        self._anchor_wh = self.register_wh(at_ms)
        if flowing is not None:
            self.battery = flowing.charged(after_s)
        self._anchor_ms = at_ms
        self._next = None
