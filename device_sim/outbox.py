"""What a pile has yet to say: urgent things first, then the samples it could not send. Pure and bounded."""

from collections import deque
from itertools import takewhile
from typing import TypeGuard

from device_sim.configuration import UNSENT_RECORDS_MAX
from device_sim.sample_queue import SampleQueue
from protocol.fields import Message
from protocol.messages import (
    Alarm,
    Boot,
    Heartbeat,
    LocalStart,
    MeterFrame,
    RelayUp,
    Settlement,
    TimeRequest,
)

_FLEETING = (Alarm, Boot, Heartbeat, LocalStart, RelayUp, Settlement, TimeRequest)


class Outbox:
    """A queue in two lanes. ``open`` turns true with ``boot_ack``: until then only Boot passes.

    Samples go in the slow one, where those of children take turns with the pile's own.

    A message that has its own repetition (boot and records), that somebody else keeps (a child's frame) or that has no
    worth later (heartbeat) is dropped with the link; everything else waits for the next one. Of more than memory
    holds, the oldest go. Kinds that are ``silenced`` never get out.
    """

    def __init__(self) -> None:
        self.open = False
        self.linked = False
        self._lost = 0
        self.silenced: tuple[type[Message], ...] = ()
        self._urgent: deque[Message] = deque()
        self._frames = SampleQueue()
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
        self._frames.put(message, live=self.linked and self.open)

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
        self._childs_turn = bool(self._relayed) and not (self._childs_turn and self._frames)
        if self._childs_turn:
            return self._relayed.popleft()
        return self._frames.take()

    def said(self, message: Message, *, real_s: float) -> None:
        """The broker took this, at an instant of a real clock."""
        if isinstance(message, MeterFrame):
            self._frames.said(message, real_s=real_s)

    def put_back(self, message: Message) -> None:
        """The link broke before this was acknowledged: say it first on the next one."""
        if isinstance(message, MeterFrame):
            self._frames.put_back(message)
        elif not isinstance(message, _FLEETING):
            self._urgent.appendleft(message)

    def link_lost(self) -> None:
        """Forget what is worth nothing later; samples that the broker took lately are said again."""
        self.linked = False
        self._urgent = deque(message for message in self._urgent if not isinstance(message, _FLEETING))
        self._relayed.clear()
        self._frames.link_lost()

    @property
    def lost(self) -> int:
        """How many records there was no room for."""
        return self._lost + self._frames.lost

    @property
    def unsent(self) -> int:
        """How many records wait."""
        return len(self._urgent) + len(self._frames) + len(self._relayed)


def _carries(message: Message, kind: type[Message]) -> TypeGuard[RelayUp]:
    """Whether this is a child's message of a kind, on its way through its host."""
    return isinstance(message, RelayUp) and message.name == kind.message


def _is_alarm(message: Message) -> bool:
    return isinstance(message, Alarm) or _carries(message, Alarm)
