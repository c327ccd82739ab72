"""Frames waiting for the writer, handed out as batches by count or age.

The queue is bounded. Its size is what the links may have open, but Mosquitto 2.0.11 gives more than that: each
acknowledgement releases as many queued messages as the receive maximum. A link that finds no room waits for it, so that
what is too much stays in the socket and at the broker. A frame somebody waits for (anything but meter and heartbeat)
does not wait for company.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition, Lock
from time import monotonic
from typing import NamedTuple

from gateway.link import Frame, Link

ROOM_WAIT_S = 10.0
"""How long a link waits for room: well below its keep-alive, during which it says nothing."""

_PATIENT = ("/meter", "/heartbeat")


@dataclass(frozen=True, kw_only=True)
class BatchLimits:
    """A batch is closed at `max_frames`, or when its first frame has waited `max_age_s` real seconds."""

    max_frames: int = 500
    max_age_s: float = 0.05


class _Waiting(NamedTuple):
    frame: Frame
    since_s: float
    urgent: bool


class SampleBatch:
    """Collects frames of any number of links for one writer."""

    def __init__(
        self,
        *,
        limits: BatchLimits,
        capacity_frames: int,
        room_wait_s: float = ROOM_WAIT_S,
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        self._limits = limits
        self._capacity_frames = capacity_frames
        self._room_wait_s = room_wait_s
        self._seconds = seconds
        self._frames: deque[_Waiting] = deque()
        self._urgent = 0
        lock = Lock()
        self._changed = Condition(lock)
        self._room = Condition(lock)
        self._closed = False

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: Frame) -> bool:
        """Add a frame, waiting for room where it was promised delivery; False when there is none (for too long).

        Once closed, frames are let go unacknowledged: the broker gives them to the next gateway.
        """
        urgent = not frame.topic.endswith(_PATIENT)
        with self._changed:
            if frame.qos:
                self._room.wait_for(self._has_room, self._room_wait_s)
            if self._closed:
                return True
            if len(self._frames) >= self._capacity_frames:
                return False
            self._frames.append(_Waiting(frame, self._seconds(), urgent))
            self._urgent += urgent
            if urgent or len(self._frames) in (1, self._limits.max_frames):
                self._changed.notify()
        return True

    def forget_unacknowledged(self, link: Link, generation: int) -> None:
        """Drop a lane's waiting frames of older connections: the broker kept the session and repeats them."""

        def comes_again(frame: Frame) -> bool:
            older = frame.link is not link or frame.generation < generation
            return frame.qos > 0 and frame.link.client_id == link.client_id and older

        with self._changed:
            kept = [waiting for waiting in self._frames if not comes_again(waiting.frame)]
            self._frames = deque(kept)
            self._urgent = sum(waiting.urgent for waiting in kept)
            self._room.notify_all()

    def take(self, *, timeout_s: float) -> list[Frame]:
        """The next batch in order of arrival; empty when `timeout_s` passes or nothing more will come."""
        deadline_s = self._seconds() + timeout_s
        with self._changed:
            while True:
                now_s = self._seconds()
                wait_s = self._wait_s(now_s)
                if wait_s <= 0:
                    return self._pop()
                if self._closed or now_s >= deadline_s:
                    return []
                self._changed.wait(min(wait_s, deadline_s - now_s))

    def close(self) -> None:
        """Take no more frames and wake the writer; what waits can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._room.notify_all()

    def _has_room(self) -> bool:
        return self._closed or len(self._frames) < self._capacity_frames

    def _wait_s(self, now_s: float) -> float:
        if not self._frames:
            return float("inf")
        if self._closed or self._urgent or len(self._frames) >= self._limits.max_frames:
            return 0.0
        return self._frames[0].since_s + self._limits.max_age_s - now_s

    def _pop(self) -> list[Frame]:
        count = min(len(self._frames), self._limits.max_frames)
        taken = [self._frames.popleft() for _ in range(count)]
        self._urgent -= sum(waiting.urgent for waiting in taken)
        self._room.notify_all()
        return [waiting.frame for waiting in taken]
