"""What happens to a port left alone: the first load, the full battery, the end; and what a power cut interrupted."""

from device_sim import reports
from device_sim.part import Moment, Part
from device_sim.pile import Pile
from device_sim.port import NEVER_MS, LiveSession, Port, PortEvent, PortEventKind
from protocol.words import StateCause, StopReason


class PortLife(Part):
    """Carries out what each port has computed of its future; first of all parts, so that they see what became of it."""

    def __init__(self, pile: Pile) -> None:
        """Power is back: sessions go on, or are closed and named in ``pile.cut_off``."""
        super().__init__(pile)
        pile.cut_off = _pick_up_sessions(pile)

    def next_ms(self) -> int:
        """The next event of any port."""
        events = [port.next_event() for port in self.pile.ports.values()]
        return min((event.at_ms for event in events if event is not None), default=NEVER_MS)

    def happen(self, at_ms: int) -> None:
        """One event a port; what follows from it comes next."""
        for port in self.pile.ports.values():
            event = port.next_event()
            if event is not None and event.at_ms <= at_ms:
                self._carry_out(port, event, at_ms)

    def _carry_out(self, port: Port, event: PortEvent, at_ms: int) -> None:
        pile = self.pile
        if event.kind is PortEventKind.FIRST_LOAD:
            port.begin_metering(at_ms=at_ms)
            pile.outbox.put(reports.started(pile, port, at_ms=at_ms))
            pile.note(f"port {port.number} has a load")
            pile.report(port, StateCause.LOAD, at_ms)
            pile.tell(port.number, Moment.STARTED, at_ms)
        elif event.kind is PortEventKind.FULL:
            port.mark_full(at_ms=at_ms)
            pile.report(port, StateCause.FULL, at_ms)
        else:
            assert event.reason is not None, "an end has a reason"
            pile.end_session(port, event.reason, at_ms)


def _pick_up_sessions(pile: Pile) -> list[int]:
    """Go on with what the power cut interrupted, if the rules let it and the plug is still in; else close it.

    Gives the ports whose session was closed.
    """
    closed: list[int] = []
    for number, session in list(pile.memory.sessions.items()):
        if _may_resume(pile) and number in pile.ports and pile.ports[number].plugged:
            pile.ports[number].resume_session(session)
        else:
            pile.settle(session, number, reason=StopReason.POWER_LOSS, ended_ms=_last_known_ms(session))
            closed.append(number)
    return closed


def _may_resume(pile: Pile) -> bool:
    rules, dark_ms = pile.thresholds, pile.now_ms - pile.memory.alive_ms
    return bool(rules.resume_after_power) and pile.config.battery_clock and dark_ms <= rules.resume_s * 1000


def _last_known_ms(session: LiveSession) -> int:
    return session.meter.read_ms if session.meter is not None else session.accepted_ms
