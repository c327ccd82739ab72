"""What a technician asks of a pile: to tell its state or its log, to be found, to speak, to test or close a port."""

from collections.abc import Mapping
from typing import Final

from device_sim import reports
from device_sim.part import DONE, Obeys, Part, Verdict, refused
from device_sim.pile import Pile
from device_sim.port import Port
from device_sim.settings import Settings
from device_sim.telemetry import Telemetry
from protocol.messages import (
    Locate,
    LogLines,
    LogRequest,
    PortSet,
    Query,
    RelayTest,
    Voice,
)
from protocol.words import CommandCause, PortFault, QueryTopic, StateCause

LINES_A_PART: Final = 16
CHINA_OFFSET_S: Final = 8 * 3600
"""The zone of a pile that no tariff has told its own."""

_RELAY_CAUSES: Final[Mapping[PortFault, CommandCause]] = {
    PortFault.RELAY_WELDED: CommandCause.RELAY_WELDED,
    PortFault.RELAY_DEAD: CommandCause.RELAY_DEAD,
    PortFault.FUSE_BLOWN: CommandCause.RELAY_DEAD,
}


class Service(Part):
    """Commands of service; each is answered with ``command_ack`` after what it asked for."""

    def __init__(self, pile: Pile) -> None:
        super().__init__(pile)
        for number in pile.memory.disabled_ports:
            if number in pile.ports:
                pile.ports[number].disabled = True

    def obeys(self) -> Obeys:
        """One command each."""
        return {
            Query: self._query,
            LogRequest: self._log,
            Locate: self._locate,
            Voice: self._voice,
            RelayTest: self._relay_test,
            PortSet: self._port_set,
        }

    def _query(self, query: Query) -> Verdict:
        pile, at_ms = self.pile, self.pile.now_ms
        if query.topic is QueryTopic.STATUS:
            pile.outbox.put(pile.heartbeat_message())
            for port in pile.ports.values():
                pile.outbox.put(reports.port_state(pile, port, port.state, StateCause.COMMAND, at_ms=at_ms))
        elif query.topic is QueryTopic.CONFIG:
            pile.outbox.put(pile.part(Settings).config())
        elif query.topic is QueryTopic.TARIFF:
            pile.outbox.put(pile.part(Settings).tariff())
        else:
            pile.part(Telemetry).sample_now(at_ms)
        return DONE

    def _log(self, request: LogRequest) -> Verdict:
        lines = self.pile.journal.since(request.since_ms, most=request.max_lines)
        parts = [lines[at : at + LINES_A_PART] for at in range(0, len(lines), LINES_A_PART)] or [[]]
        for number, part in enumerate(parts, start=1):
            last = number == len(parts)
            self.pile.outbox.put(LogLines(request.command_id, number, last, tuple(part)))
        return DONE

    def _locate(self, locate: Locate) -> Verdict:
        if locate.port is not None and locate.port not in self.pile.ports:
            return refused(CommandCause.NO_SUCH_PORT)
        place = "the pile" if locate.port is None else f"port {locate.port}"
        self.pile.note(f"blinks and beeps at {place} for {locate.duration_s} s")
        return DONE

    def _voice(self, voice: Voice) -> Verdict:
        if self._is_quiet():
            return refused(CommandCause.MUTED)
        self.pile.note(f"says: {voice.text}")
        return DONE

    def _is_quiet(self) -> bool:
        """Whether it is the configuration's quiet time, in the zone the tariff names."""
        pile, rules = self.pile, self.pile.thresholds
        tariff = pile.part(Settings).shown(pile.now_ms)
        offset_s = CHINA_OFFSET_S if tariff is None else tariff.utc_offset_s
        minute = (pile.device_ms(pile.now_ms) // 1000 + offset_s) // 60 % 1_440
        if rules.volume == 0:
            return True
        if rules.mute_from <= rules.mute_to:
            return rules.mute_from <= minute < rules.mute_to
        return minute >= rules.mute_from or minute < rules.mute_to

    def _relay_test(self, test: RelayTest) -> Verdict:
        port = self.pile.ports.get(test.port)
        if port is None:
            return refused(CommandCause.NO_SUCH_PORT)
        if port.session is not None:
            return refused(CommandCause.PORT_BUSY)
        cause = _relay_flaw(port)
        self.pile.note(
            f"relay of port {port.number} tested: {'good' if cause is None else cause.name.lower()}"
        )
        return DONE if cause is None else refused(cause)

    def _port_set(self, wanted: PortSet) -> Verdict:
        pile = self.pile
        port = pile.ports.get(wanted.port)
        if port is None:
            return refused(CommandCause.NO_SUCH_PORT)
        port.disabled = not wanted.enabled
        others = [number for number in pile.memory.disabled_ports if number != port.number]
        pile.memory.disabled_ports = others if wanted.enabled else [*others, port.number]
        pile.note(f"port {port.number} {'in' if wanted.enabled else 'out of'} service")
        pile.report(port, StateCause.COMMAND, pile.now_ms)
        return DONE


def _relay_flaw(port: Port) -> CommandCause | None:
    """What the test finds: what the circuit does, and what is known of it."""
    if port.welded:
        return CommandCause.RELAY_WELDED
    if port.broken:
        return CommandCause.RELAY_DEAD
    return None if port.fault is None else _RELAY_CAUSES.get(port.fault)
