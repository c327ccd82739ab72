"""Finds piles that flood, by counting what arrives, before anything of it is opened.

A pile is caught when it says more than so many messages a second, second after second. What the broker kept while
nobody served it, or while the database kept us waiting, comes at any rate once we are back: so every pile may then
exceed its rate by what it could have said meanwhile. A pile that sends its backlog at the protocol's pace stays within
that however long we were away, and one that floods has used it up after a while.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from time import monotonic

MAX_PILES = 100_000
MAX_UNSERVED_S = 3600.0
"""No pile keeps more than it can send in such a time."""


@dataclass(frozen=True, kw_only=True)
class FloodLimits:
    """More than `frames_per_s` in each of `seconds` seconds is a flood; real seconds."""

    frames_per_s: float = 50.0
    seconds: int = 5
    catching_up_s: float = 60.0
    """What had waited for us is through so long after we were back, and as long again as we were away."""


@dataclass(slots=True)
class _Rate:
    second: int
    frames: int = 0
    seconds_over: int = 0
    excused: int = 0
    """Frames beyond the rate that were put down to our being away."""


def pile_of(topic: str) -> str:
    """The pile a topic names, unchecked and therefore cheap; whatever is no device topic counts as one pile."""
    parts = topic.split("/", 3)
    return parts[2] if len(parts) == 4 else ""


class FloodGuard:
    """Stands at the door of every link; `admits` is called in the links' threads, the rest in the warden's."""

    def __init__(
        self,
        limits: FloodLimits,
        *,
        caught: Callable[[str], None],
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        """`caught` is told each flooding pile once; it must not block."""
        self._limits = limits
        self._caught = caught
        self._seconds = seconds
        self._rates: OrderedDict[str, _Rate] = OrderedDict()
        self._flooding: set[str] = set()
        self._dropped: Counter[str] = Counter()
        self._excusable = 0.0
        self._excused_until_s = float("-inf")
        self._lock = Lock()

    def admits(self, pile_id: str) -> bool:
        """Count one frame of a pile; False when the pile floods and the frame is to be dropped unread."""
        now_s = self._seconds()
        with self._lock:
            if pile_id in self._flooding:
                self._dropped[pile_id] += 1
                return False
            if not self._overflows(pile_id, int(now_s)):
                return True
            self._flooding.add(pile_id)
            self._rates.pop(pile_id, None)
        self._caught(pile_id)
        return True

    def catching_up(self, unserved_s: float) -> None:
        """We are back to what waited for us; `unserved_s` is for how long nothing was taken."""
        unserved_s = min(unserved_s, MAX_UNSERVED_S)
        with self._lock:
            now_s = self._seconds()
            if now_s >= self._excused_until_s:
                self._excusable = 0.0
                self._rates.clear()
            self._excusable += self._limits.frames_per_s * unserved_s
            self._excused_until_s = max(
                self._excused_until_s, now_s + unserved_s + self._limits.catching_up_s
            )

    def take_dropped(self) -> int:
        """How many frames were dropped since the last time."""
        with self._lock:
            dropped = self._dropped.total()
            self._dropped.clear()
        return dropped

    @property
    def flooding(self) -> list[str]:
        """The piles caught and not forgiven."""
        with self._lock:
            return sorted(self._flooding)

    def forgive(self, pile_id: str) -> None:
        """A person released the pile: count it afresh."""
        with self._lock:
            self._flooding.discard(pile_id)

    def _overflows(self, pile_id: str, second: int) -> bool:
        rate = self._rates.get(pile_id)
        if rate is None:
            rate = self._rates[pile_id] = _Rate(second)
            if len(self._rates) > MAX_PILES:
                self._rates.popitem(last=False)
        if rate.second != second:
            calm_s = second - rate.second - 1
            over = self._excess(rate) > 0
            rate.seconds_over = max(0, rate.seconds_over + (1 if over else -1) - calm_s)
            rate.second, rate.frames = second, 0
        rate.frames += 1
        return rate.seconds_over >= self._limits.seconds

    def _excess(self, rate: _Rate) -> float:
        excess = max(0.0, rate.frames - self._limits.frames_per_s)
        if excess and rate.second < self._excused_until_s:
            excused = min(excess, self._excusable - rate.excused)
            rate.excused += int(excused)
            excess -= excused
        return excess
