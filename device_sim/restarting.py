"""How a pile restarts in an orderly way: once no session runs, or at once with the sessions ended as ``reboot``."""

from device_sim.part import ACCEPTED, DONE, Moment, Obeys, Part, Turn, Verdict
from device_sim.pile import Pile
from device_sim.port import Port
from protocol.messages import Reboot
from protocol.words import BootReason, StartCause, StopReason


class Restarting(Part):
    """Sets ``pile.restart_reason`` when the moment has come; whoever runs the pile does the rest.

    A power cut while it waits has done what was asked.
    """

    def __init__(self, pile: Pile) -> None:
        super().__init__(pile)
        self._wanted: BootReason | None = None

    def obeys(self) -> Obeys:
        """The platform's wish."""
        return {Reboot: lambda reboot: self.ask(BootReason.COMMAND, force=reboot.force)}

    def ask(self, reason: BootReason, *, force: bool) -> Verdict:
        """Restart now if nothing runs, or with force; else as soon as nothing does."""
        pile = self.pile
        self._wanted = reason
        if force:
            for port in pile.ports.values():
                if port.session is not None:
                    pile.end_session(port, StopReason.REBOOT, pile.now_ms)
        self._restart_if_idle()
        return ACCEPTED if pile.restart_reason is None else DONE

    def start_obstacle(self, port: Port) -> StartCause | None:
        """What waits for the last session to end lets no other begin."""
        return StartCause.OUT_OF_SERVICE if self._wanted is not None and port.session is None else None

    def turn(self, turn: Turn) -> None:
        """The session that has ended may have been the last."""
        if turn.moment is Moment.ENDED:
            self._restart_if_idle()

    def _restart_if_idle(self) -> None:
        pile = self.pile
        idle = all(port.session is None for port in pile.ports.values())
        if self._wanted is not None and idle and pile.restart_reason is None:
            pile.restart_reason = self._wanted
            pile.note(f"restarts: {self._wanted.name.lower()}")
            pile.records.on_news()
