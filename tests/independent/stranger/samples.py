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
        self._live: dict[Counter, Body] = {}
        self._burst: dict[Counter, Body] = {}
        self._told: set[int] = set()
        self._vain: dict[int, int] = {}
        self._said_s: dict[int, float] = {}
        self._unheard = False
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
        if len(self._live) < LIVE_MAX and not self._unheard:
            self._live[self._say("meter", body | {4: LATER})] = body
            self._said_s[body[1]] = time.monotonic()
        else:
            self._kept[body[1]] = body

    def link_lost(self) -> None:
        """Whatever is open counts as kept."""
        self._keep_again([*self._live, *self._burst])
        self._next_s, self._wait_s, self._unheard = 0.0, FIRST_WAIT_S, False

    def say_due(self) -> None:
        """A burst of kept ones; a single one if nothing was heard of the last for long."""
        now_s = time.monotonic()
        stale = [one for one, body in self._live.items() if now_s > self._said_s[body[1]] + LIVE_WAIT_S]
        self._unheard = self._unheard or bool(stale)
        self._keep_again(stale)
        if not self._burst and now_s >= self._next_s:
            instants = self._ready(now_s)[:BURST]
            self._burst_s, self._burst_size = now_s, len(instants)
            for instant in instants:
                self._say_kept(self._kept.pop(instant))
        elif self._burst and now_s >= self._quiet_s + self._wait_s:
            longest_open, body = next(iter(self._burst.items()))
            in_vain = self._wait_s > FIRST_WAIT_S or body[1] in self._vain
            self._wait_s, self._quiet_s = min(LONGEST_WAIT_S, 2 * self._wait_s), now_s
            self._keep_again([longest_open], in_vain=in_vain)
            for instant in self._ready(now_s)[:1] if in_vain else [body[1]]:
                self._say_kept(self._kept.pop(instant))

    def hear(self, receipt: Body) -> None:
        """Forget what the platform has; what was said before that and is still open got lost."""
        told = {(boot, seq): result for boot, seq, result in receipt[1]}
        if not self.missed:
            said = self._live | self._burst
            self.missed = {said[counter][1] for counter in told if counter in said}
            return
        for counter, result in told.items():
            body = self._live.pop(counter, None) or self._burst.pop(counter, None)
            if body is not None:
                self._told.add(body[1])
                self.refused += result != STORED
        vain = [counter for counter in (*self._live, *self._burst) if counter < max(told)]
        self._keep_again(vain, in_vain=True)
        self._quiet_s, self._wait_s, self._unheard = time.monotonic(), FIRST_WAIT_S, False
        if self._burst_size and not self._burst:
            took_s = min(LONGEST_CALM_S, CALM * (self._quiet_s - self._burst_s))
            self._next_s = self._burst_s + max(took_s, self._burst_size / FRAMES_PER_S)
            self._burst_size = 0

    def _ready(self, now_s: float) -> list[int]:
        """Kept instants that may be said: oldest first, those said in vain behind them and after their time."""
        due_s = {
            instant: self._said_s[instant] + min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (times - 1))
            for instant, times in self._vain.items()
            if instant in self._kept
        }
        again = sorted((instant for instant in due_s if due_s[instant] <= now_s), key=due_s.__getitem__)
        return sorted(self._kept.keys() - due_s.keys()) + again

    def _say_kept(self, body: Body) -> None:
        self._burst[self._say("meter", body | {4: NOW})] = body
        self._quiet_s = self._said_s[body[1]] = time.monotonic()

    def _keep_again(self, counters: list[Counter], *, in_vain: bool = False) -> None:
        for counter in counters:
            body = self._live.pop(counter, None) or self._burst.pop(counter)
            self._kept[body[1]] = body
            if in_vain:
                self._vain[body[1]] = self._vain.get(body[1], 0) + 1
            self.said_again += 1
