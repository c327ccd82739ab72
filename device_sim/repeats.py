"""When to say something again that was not acknowledged. Pure; seconds are real ones.

Everything repeated until acknowledged goes through here, keyed by what it is: the message's name and, where there can
be several, the id of what it tells of. The waits grow and the last one lasts: nothing here gives up.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from uuid import UUID

BOOT_WAITS_S: Final = (5.0, 30.0, 60.0)
RECORD_WAITS_S: Final = (10.0, 30.0, 120.0, 600.0, 1_800.0)

_AT_ONCE: Final = 0.0


class Telling(NamedTuple):
    """What is told until it is acknowledged: ``("settlement", session_id)``, ``("alarm", alarm_id)``, ``("boot",)``."""

    name: str
    about: UUID | None = None


BOOT: Final = Telling("boot")


class Repeats:
    """Things to be said until they are acknowledged, each on its own schedule."""

    def __init__(self) -> None:
        self._due: dict[Telling, tuple[float, int]] = {}

    def add(self, telling: Telling) -> None:
        """Say it at once, and then on schedule; what waits already begins its schedule anew."""
        self._due[telling] = (_AT_ONCE, 0)

    def acknowledged(self, telling: Telling) -> None:
        """Say it no more."""
        self._due.pop(telling, None)

    def all_again(self) -> None:
        """Say everything at once, on a fresh schedule: the link is new."""
        self._due = dict.fromkeys(self._due, (_AT_ONCE, 0))

    def waiting(self) -> set[Telling]:
        """What is not acknowledged yet."""
        return set(self._due)

    def take_due(self, *, now_s: float) -> Iterable[Telling]:
        """What to say now; each comes due again after its next wait."""
        due = [telling for telling, (at_s, _) in self._due.items() if at_s <= now_s]
        for telling in due:
            said = self._due[telling][1]
            waits_s = _waits_s(telling)
            self._due[telling] = (now_s + waits_s[min(said, len(waits_s) - 1)], said + 1)
        return due

    def next_s(self) -> float | None:
        """When the next one comes due; None if there is none."""
        return min((at_s for at_s, _ in self._due.values()), default=None)


def _waits_s(telling: Telling) -> Sequence[float]:
    return BOOT_WAITS_S if telling == BOOT else RECORD_WAITS_S
