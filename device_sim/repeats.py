"""When to say something again that was not answered. Pure; seconds are real ones.

The waits grow and the last one lasts: nothing here gives up.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import Final, Generic, TypeVar

BOOT_WAITS_S: Final = (5.0, 30.0, 60.0)
SETTLEMENT_WAITS_S: Final = (10.0, 30.0, 120.0, 600.0, 1_800.0)

_K = TypeVar("_K", bound=Hashable)


class Repeats(Generic[_K]):
    """Things to be said until they are answered, each on its own schedule."""

    def __init__(self, waits_s: Sequence[float]) -> None:
        self._waits_s = tuple(waits_s)
        self._due: dict[_K, tuple[float, int]] = {}

    def add(self, key: _K, *, now_s: float) -> None:
        """Say it now, and then on schedule."""
        self._due.setdefault(key, (now_s, 0))

    def answered(self, key: _K) -> None:
        """Say it no more."""
        self._due.pop(key, None)

    def all_again(self, *, now_s: float) -> None:
        """Say everything now, on a fresh schedule: the link is new."""
        self._due = dict.fromkeys(self._due, (now_s, 0))

    def waiting(self) -> set[_K]:
        """What is not answered yet."""
        return set(self._due)

    def take_due(self, *, now_s: float) -> Iterable[_K]:
        """What to say now; each comes due again after its next wait."""
        due = [key for key, (at_s, _) in self._due.items() if at_s <= now_s]
        for key in due:
            said = self._due[key][1]
            wait_s = self._waits_s[min(said, len(self._waits_s) - 1)]
            self._due[key] = (now_s + wait_s, said + 1)
        return due

    def next_s(self) -> float | None:
        """When the next one comes due; None if there is none."""
        return min((at_s for at_s, _ in self._due.values()), default=None)
