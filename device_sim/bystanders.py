"""The people around a pile: they plug batteries in when a start arrives and fetch them after the end. Pure, seeded."""

import random
from collections import deque

from device_sim.battery import PACKS, Battery
from device_sim.configuration import Bystanders
from device_sim.part import Moment
from device_sim.pile import Hand, Pile


class Riders:
    """The riders of one pile, as an observer of its sessions."""

    def __init__(self, habits: Bystanders, *, seed: int) -> None:
        self._habits = habits
        self._chance = random.Random(seed)  # noqa: S311 - a street's variety, not a secret
        self._brought: dict[int, deque[Battery]] = {}

    def bring(self, port: int, battery: Battery) -> None:
        """The next rider at this port brings this battery."""
        self._brought.setdefault(port, deque()).append(battery)

    def __call__(self, pile: Pile, port: int, moment: Moment, at_ms: int) -> None:
        """React to a session's turn."""
        habits, plugged = self._habits, pile.ports[port].plugged
        if moment is Moment.ACCEPTED and not plugged:
            pile.hands.append(Hand(self._later(at_ms, habits.plug_after_s), port, self._battery(port)))
        elif moment is Moment.STARTED and self._chance.random() < habits.leave_early_share:
            pile.hands.append(Hand(self._later(at_ms, habits.leave_after_s), port, None))
        elif moment is Moment.ENDED and plugged:
            pile.hands.append(Hand(self._later(at_ms, habits.fetch_after_s), port, None))

    def _later(self, at_ms: int, range_s: tuple[float, float]) -> int:
        return at_ms + round(self._chance.uniform(*range_s) * 1000)

    def _battery(self, port: int) -> Battery:
        brought = self._brought.get(port)
        if brought:
            return brought.popleft()
        depth = self._chance.uniform(*self._habits.depth)
        return Battery(self._chance.choice(PACKS), depth, seed=self._chance.getrandbits(32))
