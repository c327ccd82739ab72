"""A pile's own meter frames: what is to be said, and what the broker took lately. Pure and bounded.

Frames are kept for a while after the broker took them: a broker that dies forgets the newest of what it took, and
nothing else tells the pile. A frame of now goes before those that could not be sent.
"""

from collections import deque
from typing import Final

from device_sim.configuration import UNSENT_FRAMES_MAX
from protocol.messages import MeterFrame

KEPT_S: Final = 120.0
"""Real seconds a frame is kept after the broker took it: much longer than a broker takes to write down what it has."""
KEPT_FRAMES_MAX: Final = 600


class SampleQueue:
    """Live frames, then the backlog, oldest first. Of more than memory holds, the oldest go."""

    def __init__(self) -> None:
        self.lost = 0
        self._live: deque[MeterFrame] = deque()
        self._backlog: deque[MeterFrame] = deque()
        self._kept: deque[tuple[float, MeterFrame]] = deque()

    def __len__(self) -> int:
        return len(self._live) + len(self._backlog)

    def put(self, frame: MeterFrame, *, live: bool) -> None:
        """Say this; `live` frames are those for which there is a link."""
        if len(self) >= UNSENT_FRAMES_MAX:
            (self._backlog or self._live).popleft()
            self.lost += 1
        (self._live if live else self._backlog).append(frame)

    def take(self) -> MeterFrame | None:
        """What to say next."""
        waiting = self._live or self._backlog
        return waiting.popleft() if waiting else None

    def put_back(self, frame: MeterFrame) -> None:
        """The broker did not take this."""
        self._backlog.appendleft(frame)

    def said(self, frame: MeterFrame, *, real_s: float) -> None:
        """The broker took this, at an instant of a real clock."""
        self._kept.append((real_s, frame))
        while self._kept[0][0] < real_s - KEPT_S or len(self._kept) > KEPT_FRAMES_MAX:
            self._kept.popleft()

    def link_lost(self) -> None:
        """Nothing is live any more; what the broker took lately is to be said again, first, as far as there is room."""
        self._backlog.extend(self._live)
        self._live.clear()
        while self._kept and len(self._backlog) < UNSENT_FRAMES_MAX:
            self._backlog.appendleft(self._kept.pop()[1])
        self._kept.clear()
