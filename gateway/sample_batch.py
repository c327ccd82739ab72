"""Frames waiting for the writer, handed out as batches by count or age.

The queue is bounded. Its size is what the links may have open, but Mosquitto 2.0.11 gives more than that: each
acknowledgement releases as many queued messages as the receive maximum. A link that finds no room waits for it, so that
what is too much stays in the socket and at the broker. A frame somebody waits for (anything but meter and heartbeat)
does not wait for company.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition, Lock
from time import monotonic

from gateway.link import Frame, Link

ROOM_WAIT_S = 10.0
"""How long a link waits for room: well below its keep-alive, during which it says nothing."""
HELD_UP_S = 5.0
"""A batch that takes the writer so long waited for the database; a slow machine alone is no excuse for a flood."""

_PATIENT = ("/meter", "/heartbeat")


@dataclass(frozen=True, kw_only=True)
class BatchLimits:
    """A batch is closed at `max_frames`, or when its first frame has waited `max_age_s` real seconds."""

    max_frames: int = 500
    max_age_s: float = 0.05


class SampleBatch:
    """Collects frames of any number of links for one writer."""

    def __init__(
        self,
        *,
        limits: BatchLimits,
        capacity_frames: int,
        room_wait_s: float = ROOM_WAIT_S,
        held_up: Callable[[float], None] | None = None,
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        """`held_up` is told in the writer's thread how many seconds a batch took that took longer than HELD_UP_S."""
        self._limits = limits
        self._capacity_frames = capacity_frames
        self._room_wait_s = room_wait_s
        self._held_up = held_up
        self._seconds = seconds
        self._handed_out_s: float | None = None
        self._frames: deque[Frame] = deque()
        self._arrived = 0
        self._urgent_until = 0
        self._arrivals: deque[tuple[int, float]] = deque()
        lock = Lock()
        self._changed = Condition(lock)
        self._room = Condition(lock)
        self._closed = False

    def __len__(self) -> int:
        return len(self._frames)

    def put_many(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        """Add frames in order; those that found no room are the answer.

        A frame that was promised delivery waits for room, all of them together no longer than a link may be held up.
        Once closed, frames are let go unacknowledged: the broker gives them to the next gateway.
        """
        with self._changed:
            if self._closed:
                return ()
            if len(self._frames) + len(frames) > self._capacity_frames:
                return self._put_as_room_comes(frames)
            self._append(frames)
        return ()

    def forget_unacknowledged(self, link: Link, generation: int) -> None:
        """Drop a lane's waiting frames of older connections: the broker kept the session and repeats them."""

        def comes_again(frame: Frame) -> bool:
            older = frame.link is not link or frame.generation < generation
            return frame.qos > 0 and frame.link.client_id == link.client_id and older

        with self._changed:
            kept = [frame for frame in self._frames if not comes_again(frame)]
            self._frames = deque(kept)
            self._arrivals = deque([(self._arrived, self._arrivals[0][1])] if kept else [])
            self._urgent_until = self._arrived if any(_is_urgent(frame) for frame in kept) else 0
            self._room.notify_all()

    def take(self, *, timeout_s: float) -> list[Frame]:
        """The next batch in order of arrival; empty when `timeout_s` passes or nothing more will come."""
        asked_s = self._seconds()
        if self._handed_out_s is not None:
            busy_s, self._handed_out_s = asked_s - self._handed_out_s, None
            if busy_s > HELD_UP_S and self._held_up is not None:
                self._held_up(busy_s)
        deadline_s = asked_s + timeout_s
        with self._changed:
            while True:
                now_s = self._seconds()
                wait_s = self._wait_s(now_s)
                if wait_s <= 0:
                    self._handed_out_s = now_s
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

    def _put_as_room_comes(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        deadline_s = monotonic() + self._room_wait_s
        refused: list[Frame] = []
        place = 0
        while place < len(frames):
            promised = frames[place].qos > 0
            if promised and not self._room.wait_for(self._has_room, max(0.0, deadline_s - monotonic())):
                return [*refused, *self._put_unpromised(frames[place:])]
            if self._closed:
                return ()
            room = self._capacity_frames - len(self._frames)
            if room > 0:
                self._append(frames[place : place + room])
                place += room
            else:
                refused.append(frames[place])
                place += 1
        return refused

    def _put_unpromised(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        """One promised frame found no room, so none of those after it may overtake it."""
        refused: list[Frame] = []
        for frame in frames:
            if not frame.qos and self._has_room():
                self._append([frame])
            else:
                refused.append(frame)
        return refused

    def _append(self, frames: Sequence[Frame]) -> None:
        before, after = len(self._frames), len(self._frames) + len(frames)
        self._frames.extend(frames)
        self._arrived += len(frames)
        self._arrivals.append((self._arrived, self._seconds()))
        urgent = any(_is_urgent(frame) for frame in frames)
        if urgent:
            self._urgent_until = self._arrived
        if urgent or not before or before < self._limits.max_frames <= after:
            self._changed.notify()

    def _has_room(self) -> bool:
        return self._closed or len(self._frames) < self._capacity_frames

    def _wait_s(self, now_s: float) -> float:
        if not self._frames:
            return float("inf")
        urgent = self._urgent_until > self._taken
        if self._closed or urgent or len(self._frames) >= self._limits.max_frames:
            return 0.0
        return self._arrivals[0][1] + self._limits.max_age_s - now_s

    def _pop(self) -> list[Frame]:
        count = min(len(self._frames), self._limits.max_frames)
        frames = [self._frames.popleft() for _ in range(count)]
        taken = self._taken
        while self._arrivals and self._arrivals[0][0] <= taken:
            self._arrivals.popleft()
        self._room.notify_all()
        return frames

    @property
    def _taken(self) -> int:
        """How many frames were taken, counted as they arrived."""
        return self._arrived - len(self._frames)


def _is_urgent(frame: Frame) -> bool:
    return not frame.topic.endswith(_PATIENT)
