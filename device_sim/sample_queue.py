"""A pile's own meter frames: what is to be said, and what is said and not known to be stored. Pure and bounded.

A frame is kept until the platform's receipt. What was said and has no receipt is open; how much may be open, and how
long receipts take, sets the pace. A frame of now goes before those that were kept.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final, Generic, NamedTuple, TypeVar

from device_sim.configuration import UNSENT_FRAMES_MAX
from protocol.envelope import Counter
from protocol.words import ReceiptWish

OPEN_LIVE_MAX: Final = 32
"""Frames of now that may be open; newer ones are kept."""
BURST: Final = 8
"""Kept frames that may be open."""
CALM: Final = 5
"""A burst may follow after so many times the time the last one took: many piles then wait behind few frames."""
FIRST_WAIT_S: Final = 10.0
LONGEST_WAIT_S: Final = 300.0
LIVE_WAIT_S: Final = 600.0
"""A frame of now that is open for so long is said again."""

T = TypeVar("T")


class Kept(NamedTuple, Generic[T]):
    """A frame; `number` is its own for good, and later ones have greater numbers."""

    number: int
    frame: T


class _Open(NamedTuple, Generic[T]):
    kept: Kept[T]
    wish: ReceiptWish
    said_s: float


class Leaving(NamedTuple, Generic[T]):
    """A frame that is to be said now, with this wish."""

    kept: Kept[T]
    wish: ReceiptWish


class SampleQueue(Generic[T]):
    """Frames of now, then those kept, oldest first. Of more than memory holds, the oldest go. Seconds are real ones.

    Whoever says what ``take`` gives tells so by ``left``, or gives it back by ``put_back``.
    """

    def __init__(self, kept: Iterable[tuple[int, T]] = (), *, frames_per_s: float = 20.0) -> None:
        """`kept` is what a power cut left, oldest first; of what is kept no more than `frames_per_s` are said."""
        self.frames_per_s = frames_per_s
        self.lost: list[int] = []
        """Numbers of frames there was no room for, until somebody takes note."""
        self._backlog: deque[Kept[T]] = deque(Kept(number, frame) for number, frame in kept)
        self._live: deque[Kept[T]] = deque()
        self._open: dict[Counter, _Open[T]] = {}
        self._last_number = self._backlog[-1].number if self._backlog else 0
        self._open_live = 0
        self._begin_afresh()

    def __len__(self) -> int:
        return len(self._live) + len(self._backlog)

    @property
    def open_frames(self) -> int:
        """How many were said and are not known to be stored."""
        return len(self._open)

    @property
    def open_kept(self) -> int:
        """How many of these were kept before."""
        return len(self._open) - self._open_live

    def put(self, frame: T, *, live: bool) -> int:
        """Say this; `live` frames are those for which there is a link. Gives the frame's number."""
        if len(self) >= UNSENT_FRAMES_MAX:
            self.lost.append((self._backlog or self._live).popleft().number)
        self._last_number += 1
        (self._live if live else self._backlog).append(Kept(self._last_number, frame))
        return self._last_number

    def take(self, *, real_s: float) -> Leaving[T] | None:
        """What to say next; None while nothing may be said."""
        self._look_at_silence(real_s)
        if self._live and self._open_live < OPEN_LIVE_MAX:
            return Leaving(self._live.popleft(), ReceiptWish.LATER)
        self._backlog.extend(self._live)
        self._live.clear()
        if self._backlog and self._in_burst(real_s):
            return Leaving(self._backlog.popleft(), ReceiptWish.NOW)
        return None

    def left(self, leaving: Leaving[T], counter: Counter, *, real_s: float) -> None:
        """This was sealed under a counter and goes out."""
        self._open[counter] = _Open(leaving.kept, leaving.wish, real_s)
        if leaving.wish is ReceiptWish.LATER:
            self._open_live += 1
        else:
            self._burst_left -= 1
            self._burst_said += 1
            self._quiet_since_s = real_s

    def put_back(self, counter: Counter) -> None:
        """The broker did not take what left under this counter."""
        opened = self._close(counter)
        if opened is not None:
            self._keep([opened.kept])

    def receipted(self, counters: Iterable[Counter], *, real_s: float) -> dict[Counter, Kept[T]]:
        """The platform has told what became of these; gives those of them that were open.

        What was said before the last of them and is still open got lost on its way.
        """
        told = list(counters)
        done = {one: opened.kept for one in told if (opened := self._close(one))}
        newest = max(told, default=Counter(0, 0))
        passed_over = [counter for counter in self._open if counter < newest]
        self._keep([opened.kept for one in passed_over if (opened := self._close(one))])
        self._wait_s, self._quiet_since_s = FIRST_WAIT_S, real_s
        if self._burst_said and not self.open_kept:
            took_s = min(real_s - self._burst_since_s, FIRST_WAIT_S)
            self._next_burst_s = self._burst_since_s + max(
                CALM * took_s, self._burst_said / self.frames_per_s
            )
            self._burst_left = self._burst_said = 0
        return done

    def link_lost(self) -> None:
        """Nothing is live or open any more."""
        again = [opened.kept for opened in self._open.values()]
        self._open.clear()
        self._open_live = 0
        self._keep([*again, *self._live])
        self._live.clear()
        self._begin_afresh()

    def next_s(self) -> float | None:
        """When something may be said that may not be said before; None if only others can change that."""
        due = [self._quiet_since_s + self._wait_s] if self.open_kept else []
        if self._backlog and not self.open_kept:
            due.append(self._next_burst_s)
        if self._open_live:
            due.append(self._oldest_live_s() + LIVE_WAIT_S)
        return min(due, default=None)

    def _begin_afresh(self) -> None:
        self._burst_left = self._burst_said = 0
        self._burst_since_s = self._next_burst_s = float("-inf")
        self._wait_s, self._quiet_since_s = FIRST_WAIT_S, float("-inf")

    def _in_burst(self, real_s: float) -> bool:
        if self._burst_left > 0:
            return True
        if self.open_kept or real_s < self._next_burst_s:
            return False
        self._burst_left, self._burst_said, self._burst_since_s = BURST, 0, real_s
        return True

    def _look_at_silence(self, real_s: float) -> None:
        """Without a receipt for long, one frame is to be said again."""
        if self.open_kept:
            if real_s < self._quiet_since_s + self._wait_s:
                return
            self._wait_s = min(LONGEST_WAIT_S, 2 * self._wait_s)
            self._quiet_since_s = real_s
            self._burst_left = 1
            oldest = min(
                (opened.kept.number, counter)
                for counter, opened in self._open.items()
                if opened.wish is ReceiptWish.NOW
            )
        elif self._open_live and real_s >= self._oldest_live_s() + LIVE_WAIT_S:
            oldest = (0, next(iter(self._open)))
        else:
            return
        if (opened := self._close(oldest[1])) is not None:
            self._keep([opened.kept])

    def _oldest_live_s(self) -> float:
        return next(opened.said_s for opened in self._open.values() if opened.wish is ReceiptWish.LATER)

    def _close(self, counter: Counter) -> _Open[T] | None:
        opened = self._open.pop(counter, None)
        if opened is not None and opened.wish is ReceiptWish.LATER:
            self._open_live -= 1
        return opened

    def _keep(self, frames: list[Kept[T]]) -> None:
        """Back to those kept, each in its place."""
        if not frames:
            return
        again = sorted(frames, key=_number)
        if self._backlog and self._backlog[0].number < again[-1].number:
            self._backlog = deque(sorted([*again, *self._backlog], key=_number))
        else:
            self._backlog.extendleft(reversed(again))


def _number(kept: Kept[T]) -> int:
    return kept.number
