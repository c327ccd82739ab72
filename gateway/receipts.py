"""What piles are to hear of their meter frames: which are committed, and which can never be.

A pile that knows receipts keeps every frame until one names it. Frames that had to wait are told of with their batch,
because the pile waits for that before it says more; frames of now are told of together, later. What waits here is told
of when the process is stopped and lost when it dies: the pile says those frames again, and they are told of as repeats.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic

from gateway.flood_guard import pile_of
from gateway.hearing import Heard, Reply
from gateway.inbound import Refused
from protocol.envelope import Counter
from protocol.fields import Message
from protocol.messages import FrameReceipt, MeterFrame, MeterReceipt
from protocol.words import FrameResult, ReceiptWish

LATER_S = 120.0
"""A pile that wants to hear later hears after so long at the latest."""
LATER_FRAMES = 16
"""Or with so many frames."""
MAX_ROWS = 64
"""Of one message."""
MAX_PILES = 100_000
"""Piles that wait to hear later, about 73 MB with four frames each; of more the first hear at once."""


@dataclass(slots=True)
class _Waiting:
    since_s: float
    rows: list[FrameReceipt] = field(default_factory=list[FrameReceipt])


class Receipts:
    """Receipts not sent yet; one thread uses it: the writer's."""

    def __init__(self, *, seconds: Callable[[], float] = monotonic) -> None:
        self._seconds = seconds
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        self._due: dict[str, None] = {}

    def committed(self, frames: Iterable[Heard]) -> None:
        """Meter frames that are stored, now or before."""
        for heard in frames:
            message = heard.message
            wish = message.receipt if isinstance(message, MeterFrame) else None
            if wish is ReceiptWish.NOW or wish is ReceiptWish.LATER:
                self._add(heard.pile_id, heard.counter, FrameResult.STORED, at_once=wish is ReceiptWish.NOW)

    def refused(self, frames: Iterable[Refused]) -> None:
        """Frames that changed nothing; of those that were opened and are meter frames their piles hear at once."""
        for one in frames:
            topic = one.frame.topic
            if one.counter is not None and topic.endswith(f"/{MeterFrame.message}"):
                result = FrameResult.__members__.get(one.reason.upper(), FrameResult.UNKNOWN)
                self._add(pile_of(topic), one.counter, result, at_once=True)

    def take_due(self) -> list[Reply]:
        """What is to be sent now."""
        oldest_s = self._seconds() - LATER_S
        for pile_id, waiting in self._waiting.items():
            if waiting.since_s > oldest_s and len(self._waiting) - len(self._due) <= MAX_PILES:
                break
            self._due[pile_id] = None
        return self._take()

    def take_all(self) -> list[Reply]:
        """Everything, for there will be no later."""
        self._due.update(dict.fromkeys(self._waiting))
        return self._take()

    def _take(self) -> list[Reply]:
        replies = [reply for pile_id in self._due for reply in _replies(pile_id, self._waiting.pop(pile_id))]
        self._due.clear()
        return replies

    def _add(self, pile_id: str, counter: Counter, result: FrameResult, *, at_once: bool) -> None:
        waiting = self._waiting.get(pile_id)
        if waiting is None:
            waiting = self._waiting[pile_id] = _Waiting(self._seconds())
        waiting.rows.append(FrameReceipt(counter.boot, counter.seq, result))
        if at_once or len(waiting.rows) >= LATER_FRAMES:
            self._due[pile_id] = None


def _replies(pile_id: str, waiting: _Waiting) -> list[Reply]:
    rows = sorted(waiting.rows, key=_counter)
    return [
        Reply(pile_id, _told(MeterReceipt(frames=tuple(rows[first : first + MAX_ROWS]))))
        for first in range(0, len(rows), MAX_ROWS)
    ]


def _counter(row: FrameReceipt) -> Counter:
    return Counter(row.boot, row.seq)


def _told(receipt: MeterReceipt) -> Callable[[datetime], Message]:
    return lambda _sent_at: receipt
