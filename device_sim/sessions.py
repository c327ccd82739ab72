"""Sessions the platform starts, stops and extends, and the acknowledgement of their records."""

from device_sim.part import Hears, Moment, Part
from device_sim.port import LiveSession, Port
from protocol.messages import (
    Extend,
    ExtendAck,
    SettlementAck,
    Start,
    StartAck,
    Stop,
    StopAck,
)
from protocol.words import (
    ExtendResult,
    LogLevel,
    SettlementResult,
    StartCause,
    StartResult,
    StateCause,
    StopResult,
)


class Sessions(Part):
    """The relay between the platform's commands and the ports."""

    def hears(self) -> Hears:
        """The commands of a session, each answered in its own way."""
        return {
            Start: self._start,
            Stop: self._stop,
            Extend: self._extend,
            SettlementAck: self._settlement_acknowledged,
        }

    def obstacle(self, port: Port) -> StartCause | None:
        """Why a session may not begin on a port now, whoever wants it to; None if it may."""
        pile = self.pile
        for part in pile.parts:
            cause = part.start_obstacle(port)
            if cause is not None:
                return cause
        drawn_w = sum(other.power_w(pile.now_ms) for other in pile.ports.values())
        obstacles = {
            StartCause.PORT_FAULT: port.fault is not None,
            StartCause.PORT_DISABLED: port.disabled,
            StartCause.PORT_BUSY: port.session is not None,
            StartCause.PILE_OVER_POWER: drawn_w > pile.thresholds.pile_start_w,
        }
        return next((cause for cause, holds in obstacles.items() if holds), None)

    def begin(self, port: Port, session: LiveSession) -> None:
        """Close the relay for a session; the caller saves and answers, then tells with ``begun``."""
        port.open_session(session, at_ms=self.pile.now_ms)
        self.pile.memory.sessions[port.number] = session

    def begun(self, port: Port) -> None:
        """Everybody hears of the session that ``begin`` began."""
        self.pile.report(port, StateCause.COMMAND, self.pile.now_ms)
        self.pile.tell(port.number, Moment.ACCEPTED, self.pile.now_ms)

    def _start(self, start: Start) -> None:
        pile = self.pile
        port = pile.ports.get(start.port)
        cause = self._start_obstacle(start, port)
        result = StartResult.REFUSED
        if cause is None and port is not None:
            self.begin(
                port,
                LiveSession.accepted(
                    start,
                    now_ms=pile.now_ms,
                    register_dwh=port.register_dwh(pile.now_ms),
                    clock_offset_ms=pile.device_clock.offset_ms,
                    clock=pile.clock,
                ),
            )
            result = StartResult.OK if port.plugged else StartResult.PENDING_PLUG
        answer = StartAck(
            command_id=start.command_id,
            session_id=start.session_id,
            port=start.port,
            result=result,
            at_ms=pile.device_ms(pile.now_ms),
            register_dwh=port.register_dwh(pile.now_ms) if port is not None else 0,
            cause=cause,
        )
        pile.records.answer(start.command_id, answer)
        if cause is not None:
            pile.note(f"start on port {start.port} refused: {cause.name.lower()}", level=LogLevel.WARNING)
        if cause is None and port is not None:
            self.begun(port)

    def _start_obstacle(self, start: Start, port: Port | None) -> StartCause | None:
        if port is None:
            return StartCause.NO_SUCH_PORT
        if self.pile.is_late(start):
            return StartCause.EXPIRED
        if start.session_id in self.pile.memory.ended:
            return StartCause.SESSION_ENDED
        return self.obstacle(port)

    def _stop(self, stop: Stop) -> None:
        pile = self.pile
        port = pile.ports.get(stop.port)
        if port is not None and port.session is not None and port.session.session_id == stop.session_id:
            result = StopResult.EXPIRED if pile.is_late(stop) else StopResult.STOPPED
        elif stop.session_id in pile.memory.ended:
            result = StopResult.ALREADY_ENDED
        else:
            result = StopResult.SESSION_MISMATCH
        at_ms = pile.device_ms(pile.now_ms)
        answer = StopAck(stop.command_id, stop.session_id, stop.port, result, at_ms)
        pile.records.answer(stop.command_id, answer)
        if result is StopResult.STOPPED and port is not None:
            pile.end_session(port, stop.reason, pile.now_ms)

    def _extend(self, extend: Extend) -> None:
        pile = self.pile
        port = pile.ports.get(extend.port)
        session = port.session if port is not None else None
        result = self._extension(extend, session)
        if result is ExtendResult.EXTENDED and port is not None:
            port.extend(limit_s=extend.limit_s, limit_dwh=extend.limit_dwh)
        longest_s = pile.thresholds.max_session_s
        own = session is not None and session.session_id == extend.session_id
        answer = ExtendAck(
            command_id=extend.command_id,
            session_id=extend.session_id,
            port=extend.port,
            result=result,
            at_ms=pile.device_ms(pile.now_ms),
            limit_s=min(session.limit_s, longest_s) if session is not None and own else 0,
            limit_dwh=session.limit_dwh if session is not None and own else 0,
        )
        pile.records.answer(extend.command_id, answer)

    def _extension(self, extend: Extend, session: LiveSession | None) -> ExtendResult:
        if session is None or session.session_id != extend.session_id:
            ended = extend.session_id in self.pile.memory.ended
            return ExtendResult.SESSION_ENDED if ended else ExtendResult.SESSION_MISMATCH
        if self.pile.is_late(extend):
            return ExtendResult.EXPIRED
        present_s = min(session.limit_s, self.pile.thresholds.max_session_s)
        if extend.limit_s < present_s or extend.limit_dwh < session.limit_dwh:
            return ExtendResult.BELOW_PRESENT
        return ExtendResult.EXTENDED

    def _settlement_acknowledged(self, ack: SettlementAck) -> None:
        body = self.pile.records.told("settlement", ack.session_id)
        if body is not None and ack.result is SettlementResult.REJECTED:
            self.pile.memory.set_aside(body)
            self.pile.save()
