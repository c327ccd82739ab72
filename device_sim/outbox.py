"""What a pile has yet to say: urgent things first, then its samples until they are stored. Bounded."""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from time import monotonic
from typing import TypeGuard

from device_sim.configuration import UNSENT_RECORDS_MAX
from device_sim.frame_store import FrameStore
from device_sim.sample_queue import Leaving, SampleQueue
from protocol import codec
from protocol.envelope import Counter
from protocol.fields import Message
from protocol.messages import (
    Alarm,
    Boot,
    FrameReceipt,
    Heartbeat,
    LocalStart,
    MeterFrame,
    RelayUp,
    Settlement,
    TimeRequest,
)
from protocol.topics import Direction
from protocol.words import FrameResult

_FLEETING = (Alarm, Boot, Heartbeat, LocalStart, RelayUp, Settlement, TimeRequest)


class Outbox:
    """A queue in two lanes. ``open`` turns true with ``boot_ack``: until then only Boot passes.

    Samples go in the slow one, where those of children take turns with the pile's own.

    A message that has its own repetition (boot and records), that somebody else keeps (a child's frame) or that has no
    worth later (heartbeat) is dropped with the link; everything else waits for the next one. Of more than memory
    holds, the oldest go. Kinds that are ``silenced`` never get out. Samples are in the ``store`` until their receipt.
    """

    def __init__(self, store: FrameStore, *, seconds: Callable[[], float] = monotonic) -> None:
        """``seconds`` is a real clock."""
        self.open = False
        self.linked = False
        self._lost = 0
        self.silenced: tuple[type[Message], ...] = ()
        self._urgent: deque[Message] = deque()
        self._store = store
        self._seconds = seconds
        self._frames = SampleQueue((number, _frame(body)) for number, body in store.kept.items())
        self._leaving: Leaving[MeterFrame] | None = None
        self._last_counter = Counter(0, 0)
        self._relayed: deque[RelayUp] = deque()
        self._childs_turn = False

    def put(self, message: Message) -> None:
        """Say this as soon as possible."""
        if isinstance(message, self.silenced) or (isinstance(message, _FLEETING) and not self.linked):
            return
        if _carries(message, MeterFrame):
            self._relayed.append(message)
            return
        if not isinstance(message, MeterFrame):
            self._urgent.insert(self._place(message), message)
            if len(self._urgent) > UNSENT_RECORDS_MAX:
                self._urgent.popleft()
                self._lost += 1
            return
        number = self._frames.put(message, live=self.linked and self.open)
        self._store.keep(number, codec.encode(message))
        while self._frames.lost:
            self._store.forget([self._frames.lost.pop()])
            self._lost += 1

    def put_first(self, message: Message) -> None:
        """Say this before anything that waits."""
        self._urgent.appendleft(message)

    def _place(self, message: Message) -> int:
        """Alarms wait for nothing but the first word on a connection."""
        if not _is_alarm(message):
            return len(self._urgent)
        ahead = takewhile(lambda waiting: _is_alarm(waiting) or isinstance(waiting, Heartbeat), self._urgent)
        return sum(1 for _ in ahead)

    def take(self) -> Message | None:
        """What to say next, None if nothing may be said now."""
        if not self.open:
            boot = next((message for message in self._urgent if isinstance(message, Boot)), None)
            if boot is not None:
                self._urgent.remove(boot)
            return boot
        if self._urgent:
            return self._urgent.popleft()
        self._childs_turn = bool(self._relayed) and not self._childs_turn
        leaving = None if self._childs_turn else self._frames.take(real_s=self._seconds())
        if leaving is None:
            return self._relayed.popleft() if self._relayed else None
        self._leaving = leaving
        return dataclasses.replace(leaving.kept.frame, receipt=leaving.wish)

    def sealed(self, message: Message, counter: Counter) -> None:
        """This, taken last, goes out under a counter."""
        if isinstance(message, MeterFrame) and self._leaving is not None:
            self._frames.left(self._leaving, counter, real_s=self._seconds())
            self._leaving, self._last_counter = None, counter

    def receipted(
        self,
        rows: Iterable[FrameReceipt],
        *,
        set_aside: Callable[[Sequence[tuple[MeterFrame, FrameResult]]], None],
    ) -> None:
        """Forget the frames of a receipt, once those that the platform cannot take are set aside with the reason."""
        results = {Counter(row.boot, row.seq): row.result for row in rows}
        done = self._frames.receipted(results, real_s=self._seconds())
        refused = [
            (kept.frame, results[counter])
            for counter, kept in done.items()
            if results[counter] is not FrameResult.STORED
        ]
        if refused:
            set_aside(refused)
        self._store.forget(kept.number for kept in done.values())

    def put_back(self, message: Message) -> None:
        """The broker did not take this: say it again, first on the next link."""
        if isinstance(message, MeterFrame):
            self._frames.put_back(self._last_counter)
        elif not isinstance(message, _FLEETING) or isinstance(message, RelayUp):
            self._urgent.appendleft(message)

    def link_lost(self) -> None:
        """Forget what is worth nothing later; samples without a receipt are said again."""
        self.linked = False
        self._urgent = deque(message for message in self._urgent if not isinstance(message, _FLEETING))
        self._relayed.clear()
        self._frames.link_lost()

    def pace(self, frames_per_s: float) -> None:
        """Say no more kept samples than this a real second."""
        self._frames.frames_per_s = frames_per_s

    def next_s(self) -> float | None:
        """When a sample may be said, or said again, by the real clock; None if others have to act before."""
        return self._frames.next_s() if self.linked and self.open else None

    @property
    def lost(self) -> int:
        """How many records there was no room for."""
        return self._lost

    @property
    def unsent(self) -> int:
        """How many records wait."""
        return len(self._urgent) + len(self._frames) + len(self._relayed)


def _carries(message: Message, kind: type[Message]) -> TypeGuard[RelayUp]:
    """Whether this is a child's message of a kind, on its way through its host."""
    return isinstance(message, RelayUp) and message.name == kind.message


def _frame(body: bytes) -> MeterFrame:
    frame = codec.decode(Direction.UP, MeterFrame.message, body)
    assert isinstance(frame, MeterFrame), "the store holds frames of this version"
    return frame


def _is_alarm(message: Message) -> bool:
    return isinstance(message, Alarm) or _carries(message, Alarm)
