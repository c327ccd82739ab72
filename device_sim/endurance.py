"""How long sessions go on without the platform, where the operator has set an end to it."""

from device_sim.part import Part
from device_sim.pile import Pile
from device_sim.port import NEVER_MS
from protocol.words import StopReason


class Endurance(Part):
    """Ends sessions after ``offline_s`` without the platform, if ``offline_policy`` says so.

    A session begun while offline has as long from its own beginning.
    """

    def __init__(self, pile: Pile) -> None:
        super().__init__(pile)
        self._alone_since_ms: int | None = pile.now_ms

    def boot_acknowledged(self, at_ms: int) -> None:  # noqa: ARG002 - only that it is there counts
        """The platform is there."""
        self._alone_since_ms = None

    def link_changed(self, up: bool, at_ms: int) -> None:
        """It is gone, or there again once it has acknowledged the boot."""
        if not up:
            self._alone_since_ms = at_ms if self._alone_since_ms is None else self._alone_since_ms
        elif self.pile.outbox.open:
            self._alone_since_ms = None

    def next_ms(self) -> int:
        """When the first session has been alone for too long."""
        return min(self._ends_ms().values(), default=NEVER_MS)

    def happen(self, at_ms: int) -> None:
        """End what has been alone for too long."""
        for number, ends_ms in self._ends_ms().items():
            if ends_ms <= at_ms:
                self.pile.end_session(self.pile.ports[number], StopReason.OFFLINE_TIMEOUT, at_ms)

    def _ends_ms(self) -> dict[int, int]:
        rules = self.pile.thresholds
        if self._alone_since_ms is None or not rules.offline_policy or not rules.offline_s:
            return {}
        return {
            port.number: max(self._alone_since_ms, port.session.accepted_ms) + rules.offline_s * 1000
            for port in self.pile.ports.values()
            if port.session is not None
        }
