"""Section 8 of docs/protocol.md, Receipts: samples are kept until the platform has them. Seconds are real ones.

The first receipt is thrown away, as a bad link would: what it told of must be said again.
"""

import time
from collections.abc import Callable

from wire import Body, Counter

LIVE_MAX = 32
BURST = 8
CALM = 5
LONGEST_CALM_S = 50.0
FRAMES_PER_S = 20.0
FIRST_WAIT_S, LONGEST_WAIT_S = 10.0, 300.0
LIVE_WAIT_S = 600.0

# Numbers of section 19.
LATER, NOW = 1, 2
STORED = 1


class Samples:
    """Frames by their instants; what was said and has no receipt is open, by its counter."""

    def __init__(self, say: Callable[[str, Body], Counter]) -> None:
        self.made = self.said_again = self.refused = 0
        self.missed: set[int] = set()
        """Instants of the receipt that was thrown away."""
        self._say = say
        self._kept: dict[int, Body] = {}
        self._live: dict[Counter, tuple[Body, float]] = {}
        self._burst: dict[Counter, Body] = {}
        self._told: set[int] = set()
        self._burst_size = 0
        self._burst_s = self._next_s = self._quiet_s = 0.0
        self._wait_s = FIRST_WAIT_S

    @property
    def in_order(self) -> bool:
        """Nothing is to be said again, and of what the lost receipt told another one has told."""
        return not self._kept and not self._burst and self.missed <= self._told

    def add(self, body: Body) -> None:
        """A frame of now."""
        self.made += 1
        if len(self._live) < LIVE_MAX:
            self._live[self._say("meter", body | {4: LATER})] = body, time.monotonic()
        else:
            self._kept[body[1]] = body

    def link_lost(self) -> None:
        """Whatever is open counts as kept."""
        self._keep_again(lambda _counter: True)
        self._next_s, self._wait_s = 0.0, FIRST_WAIT_S

    def say_due(self) -> None:
        """A burst of kept ones, or the oldest of one that has heard nothing for long."""
        now_s = time.monotonic()
        stale = {counter for counter, (_, said_s) in self._live.items() if now_s > said_s + LIVE_WAIT_S}
        self._keep_again(lambda counter: counter in stale)
        if not self._burst and now_s >= self._next_s:
            self._burst_s, self._burst_size = now_s, min(BURST, len(self._kept))
            for instant in sorted(self._kept)[:BURST]:
                self._say_kept(self._kept.pop(instant))
        elif self._burst and now_s >= self._quiet_s + self._wait_s:
            self._wait_s = min(LONGEST_WAIT_S, 2 * self._wait_s)
            self._say_kept(self._burst.pop(min(self._burst, key=lambda counter: self._burst[counter][1])))

    def hear(self, receipt: Body) -> None:
        """Forget what the platform has; what was said before that and is still open got lost."""
        told = {(boot, seq): result for boot, seq, result in receipt[1]}
        if not self.missed:
            self.missed = {body[1] for counter in told if (body := self._open(counter)) is not None}
            return
        for counter, result in told.items():
            body = self._open(counter)
            self._live.pop(counter, None)
            self._burst.pop(counter, None)
            if body is not None:
                self._told.add(body[1])
                self.refused += result != STORED
        self._keep_again(lambda counter: counter < max(told))
        self._quiet_s, self._wait_s = time.monotonic(), FIRST_WAIT_S
        if self._burst_size and not self._burst:
            took_s = min(LONGEST_CALM_S, CALM * (self._quiet_s - self._burst_s))
            self._next_s = self._burst_s + max(took_s, self._burst_size / FRAMES_PER_S)
            self._burst_size = 0

    def _open(self, counter: Counter) -> Body | None:
        return self._live[counter][0] if counter in self._live else self._burst.get(counter)

    def _say_kept(self, body: Body) -> None:
        self._burst[self._say("meter", body | {4: NOW})] = body
        self._quiet_s = time.monotonic()

    def _keep_again(self, which: Callable[[Counter], bool]) -> None:
        for counter in filter(which, [*self._live, *self._burst]):
            body = self._live.pop(counter)[0] if counter in self._live else self._burst.pop(counter)
            self._kept[body[1]] = body
            self.said_again += 1
