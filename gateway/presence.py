"""Who was heard of last, noted with the next commit it may wait for.

Meter frames and answers to commands tell nothing of a pile's presence that could not wait for a moment: nothing else
in their batch touches the pile's row. Noted batch by batch, presence would cost the database a fifth of what the
frames do. Everything else notes it in its own transaction, a last will above all. What is lost with the process is
told again by the pile's next message.
"""

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from time import monotonic

from charging import piles
from database.pool import Connection
from gateway.hearing import Heard
from protocol.envelope import Counter

MAX_AGE_S = 1.0
"""So long a meter frame's or an answer's presence waits for company."""

_NEVER = Counter(-1, -1)


class Presence:
    """The newest counter of each pile not noted yet; one thread uses it: the writer's."""

    def __init__(self, *, seconds: Callable[[], float] = monotonic) -> None:
        self._seconds = seconds
        self._newest: dict[str, Counter] = {}
        self._heard_at: datetime | None = None
        self._since_s = 0.0

    def note(self, heard: Iterable[Heard], *, but: Collection[Heard] = ()) -> None:
        """Remember who spoke; a will is the broker's word and no sign of life."""
        newest = self._newest
        for one in heard:
            if but and one in but:
                continue
            if not newest:
                self._since_s = self._seconds()
            if newest.get(one.pile_id, _NEVER) < one.counter:
                newest[one.pile_id] = one.counter
            if self._heard_at is None or self._heard_at < one.frame.received_at:
                self._heard_at = one.frame.received_at

    def is_due(self) -> bool:
        """Whether something has waited long enough."""
        return bool(self._newest) and self._seconds() - self._since_s >= MAX_AGE_S

    def write(self, conn: Connection) -> None:
        """Put all of it on the books; `written` forgets it once that is committed."""
        if self._newest and self._heard_at is not None:
            piles.seen(conn, self._newest, now=self._heard_at)

    def written(self) -> None:
        """The transaction that wrote it stands."""
        self._newest.clear()
        self._heard_at = None
