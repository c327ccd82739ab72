"""A pile's own meter frames: what is to be said, and what is said and not known to be stored. Pure and bounded.

A frame is kept until the platform's receipt. What was said and has no receipt is open; how much may be open, and how
long receipts take, sets the pace. A frame of now goes before those that were kept, and one that was said in vain after
them: a frame that never gets a receipt holds up no other.
"""

import heapq
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
"""A frame of now that is open for so long counts as kept."""

T = TypeVar("T")


class Kept(NamedTuple, Generic[T]):
    """A frame; `number` is its own for good, and later ones have greater numbers. It was said `vain` times in vain."""

    number: int
    frame: T
    vain: int = 0


class _Open(NamedTuple, Generic[T]):
    kept: Kept[T]
    wish: ReceiptWish
    said_s: float


class Leaving(NamedTuple, Generic[T]):
    """A frame that is to be said now, with this wish."""

    kept: Kept[T]
    wish: ReceiptWish


class SampleQueue(Generic[T]):
    """Frames of now, then those kept, oldest first, then those said in vain. Seconds are real ones.

    Of more than memory holds, the oldest that is not open goes.
    Whoever says what ``take`` gives tells so by ``left``, or gives it back by ``put_back``.
    """

    def __init__(self, kept: Iterable[tuple[int, T]] = (), *, frames_per_s: float = 20.0) -> None:
        """`kept` is what a power cut left, oldest first; of what is kept no more than `frames_per_s` are said."""
        self.frames_per_s = frames_per_s
        self.lost: list[int] = []
        """Numbers of frames there was no room for, until somebody takes note."""
        self._backlog: deque[Kept[T]] = deque(Kept(number, frame) for number, frame in kept)
        self._again: list[tuple[float, int, Kept[T]]] = []
        """A heap of those said in vain: when each may be said again, and its number."""
        self._live: deque[Kept[T]] = deque()
        self._open: dict[Counter, _Open[T]] = {}
        self._last_number = self._backlog[-1].number if self._backlog else 0
        self._open_live = 0
        self._begin_afresh()

    def __len__(self) -> int:
        return len(self._live) + len(self._backlog) + len(self._again)

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
        if len(self) + self.open_frames >= UNSENT_FRAMES_MAX:
            self._lose_oldest()
        self._last_number += 1
        (self._live if live else self._backlog).append(Kept(self._last_number, frame))
        return self._last_number

    def take(self, *, real_s: float) -> Leaving[T] | None:
        """What to say next; None while nothing may be said."""
        self._look_at_silence(real_s)
        if self._live and self._open_live < OPEN_LIVE_MAX and not self._unheard:
            return Leaving(self._live.popleft(), ReceiptWish.LATER)
        self._backlog.extend(self._live)
        self._live.clear()
        first_s = self._first_kept_s()
        if first_s is None or first_s > real_s or not self._in_burst(real_s):
            return None
        kept = self._backlog.popleft() if self._backlog else heapq.heappop(self._again)[-1]
        return Leaving(kept, ReceiptWish.NOW)

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
        self._wait_again([counter])

    def receipted(self, counters: Iterable[Counter], *, real_s: float) -> dict[Counter, Kept[T]]:
        """The platform has told what became of these; gives those of them that were open.

        What was said before the last of them and is still open was said in vain.
        """
        told = list(counters)
        done = {one: opened.kept for one in told if (opened := self._close(one))}
        newest = max(told, default=Counter(0, 0))
        self._wait_again([counter for counter in self._open if counter < newest], in_vain=True)
        self._wait_s, self._quiet_since_s, self._unheard = FIRST_WAIT_S, real_s, False
        if self._burst_said and not self.open_kept:
            took_s = min(real_s - self._burst_since_s, FIRST_WAIT_S)
            self._next_burst_s = self._burst_since_s + max(
                CALM * took_s, self._burst_said / self.frames_per_s
            )
            self._burst_left = self._burst_said = 0
        return done

    def link_lost(self) -> None:
        """Nothing is live or open any more."""
        self._wait_again(list(self._open))
        self._keep(list(self._live))
        self._live.clear()
        self._begin_afresh()

    def next_s(self) -> float | None:
        """When something may be said that may not be said before; None if only others can change that."""
        due = [self._quiet_since_s + self._wait_s] if self.open_kept else []
        first_s = self._first_kept_s()
        if first_s is not None and not self._burst_left and not self.open_kept:
            due.append(max(first_s, self._next_burst_s))
        elif first_s is not None and self._burst_left and not self._backlog:
            due.append(first_s)
        if self._open_live:
            due.append(self._oldest_live_s() + LIVE_WAIT_S)
        return min(due, default=None)

    def _begin_afresh(self) -> None:
        self._burst_left = self._burst_said = 0
        self._burst_since_s = self._next_burst_s = float("-inf")
        self._wait_s, self._quiet_since_s, self._unheard = FIRST_WAIT_S, float("-inf"), False

    def _first_kept_s(self) -> float | None:
        """When a kept frame may be said, as far as it goes by the frame."""
        if self._backlog:
            return float("-inf")
        return self._again[0][0] if self._again else None

    def _lose_oldest(self) -> None:
        heads = {waiting[0].number: waiting for waiting in (self._backlog, self._live) if waiting}
        number = min([*heads, *(number for _, number, _ in self._again)])
        if number in heads:
            heads[number].popleft()
        else:
            self._again = [one for one in self._again if one[1] != number]
            heapq.heapify(self._again)
        self.lost.append(number)

    def _in_burst(self, real_s: float) -> bool:
        if self._burst_left > 0:
            return True
        if self.open_kept or real_s < self._next_burst_s:
            return False
        self._burst_left, self._burst_said, self._burst_since_s = BURST, 0, real_s
        return True

    def _look_at_silence(self, real_s: float) -> None:
        """Without a receipt for long, frames of now count as kept, and one kept frame may be said alone.

        The first time it is the one open for longest; then another, for that one may be at fault itself.
        """
        while self._open_live and real_s >= self._oldest_live_s() + LIVE_WAIT_S:
            self._wait_again([self._oldest(ReceiptWish.LATER)])
            self._unheard = True
        if self.open_kept and real_s >= self._quiet_since_s + self._wait_s:
            oldest = self._oldest(ReceiptWish.NOW)
            before = self._wait_s > FIRST_WAIT_S or self._open[oldest].kept.vain > 0
            self._wait_again([oldest], in_vain=before)
            self._wait_s = min(LONGEST_WAIT_S, 2 * self._wait_s)
            self._quiet_since_s = real_s
            self._burst_left = 1

    def _oldest(self, wish: ReceiptWish) -> Counter:
        """Of those open with a wish, the one that was said first."""
        return next(counter for counter, opened in self._open.items() if opened.wish is wish)

    def _oldest_live_s(self) -> float:
        return self._open[self._oldest(ReceiptWish.LATER)].said_s

    def _close(self, counter: Counter) -> _Open[T] | None:
        opened = self._open.pop(counter, None)
        if opened is not None and opened.wish is ReceiptWish.LATER:
            self._open_live -= 1
        return opened

    def _wait_again(self, counters: Iterable[Counter], *, in_vain: bool = False) -> None:
        """These are open no more and wait to be said again: what was said in vain, ever longer."""
        frames: list[Kept[T]] = []
        for counter in counters:
            if (opened := self._close(counter)) is None:
                continue
            number, frame, vain = opened.kept
            kept = Kept(number, frame, vain + in_vain)
            if kept.vain:
                heapq.heappush(self._again, (opened.said_s + _patience_s(kept.vain), number, kept))
            else:
                frames.append(kept)
        self._keep(frames)

    def _keep(self, frames: list[Kept[T]]) -> None:
        """Back to those kept, each in its place."""
        if not frames:
            return
        again = sorted(frames, key=_number)
        if self._backlog and self._backlog[0].number < again[-1].number:
            self._backlog = deque(sorted([*again, *self._backlog], key=_number))
        else:
            self._backlog.extendleft(reversed(again))


def _patience_s(vain: int) -> float:
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(vain - 1, 8))


def _number(kept: Kept[T]) -> int:
    return kept.number
