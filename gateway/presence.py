"""Who was heard of last, noted with the next commit it may wait for.

The answers of a pile to commands tell nothing of its presence that could not wait: nothing else in their batch touches
the pile's row, and somebody waits for them. Everything else notes presence in its own transaction. What is lost
with the process is told again by the pile's next message.
"""

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from time import monotonic

from charging import piles
from database.pool import Connection
from gateway.hearing import Heard

MAX_AGE_S = 1.0
"""So long an answer's presence waits for company."""


class Presence:
    """The newest counter of each pile not noted yet; one thread uses it: the writer's."""

    def __init__(self, *, seconds: Callable[[], float] = monotonic) -> None:
        self._seconds = seconds
        self._newest: dict[str, tuple[int, int]] = {}
        self._heard_at: datetime | None = None
        self._since_s = 0.0
        self._written = False

    def note(self, heard: Iterable[Heard], *, but: Collection[Heard] = ()) -> None:
        """Remember who spoke; a will is the broker's word and no sign of life."""
        for one in heard:
            if one in but:
                continue
            if not self._newest:
                self._since_s = self._seconds()
            if self._newest.get(one.pile_id, (-1, -1)) < one.counter:
                self._newest[one.pile_id] = (one.counter.boot, one.counter.seq)
            if self._heard_at is None or self._heard_at < one.frame.received_at:
                self._heard_at = one.frame.received_at

    def is_due(self) -> bool:
        """Whether something has waited long enough."""
        return bool(self._newest) and self._seconds() - self._since_s >= MAX_AGE_S

    def write(self, conn: Connection) -> None:
        """Put all of it on the books; forgotten once that is committed."""
        if self._newest and self._heard_at is not None:
            piles.seen(conn, self._newest, now=self._heard_at)
        self._written = True

    def committed(self) -> None:
        """The transaction that wrote it stands."""
        if self._written:
            self._newest.clear()
            self._heard_at = None
        self._written = False
