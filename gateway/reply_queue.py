"""Answers on their way to piles: where the writer posts them, and the queues in which they wait for the outbox."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

from gateway.hearing import Reply


class Replies(Protocol):
    """Where answers to piles go."""

    def hold(self, pile_ids: Iterable[str]) -> None:
        """These piles booted: nothing but the answer to that may go down to them."""
        ...

    def rekeyed(self, pile_ids: Iterable[str]) -> None:
        """These piles use a new secret: they are to be spoken to under it."""
        ...

    def post(self, replies: Sequence[Reply]) -> None:
        """Send these."""
        ...

    def post_receipts(self, receipts: Sequence[Reply]) -> None:
        """Send these when there is time."""
        ...


class ReplyQueue:
    """Replies in the order they were put, handed out turn by turn; of too many the oldest give way.

    `put` and `begin_turn` are called under one lock; whoever begins the turns calls the rest.
    """

    def __init__(self, *, limit: int) -> None:
        """At most `limit` wait for their turn."""
        self._limit = limit
        self._waiting: deque[Reply] = deque()
        self._turn: deque[Reply] = deque()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._turn)

    def put(self, replies: Iterable[Reply]) -> int:
        """Add these; how many of the oldest gave way to them."""
        self._waiting.extend(replies)
        over = max(0, len(self._waiting) - self._limit)
        for _ in range(over):
            self._waiting.popleft()
        return over

    def begin_turn(self, *, most: int) -> None:
        """What waits now may be taken, with what is left of the turn before up to `most` replies."""
        for _ in range(min(most - len(self._turn), len(self._waiting))):
            self._turn.append(self._waiting.popleft())

    def take(self) -> Reply | None:
        """The next of this turn; None when there is none left."""
        return self._turn.popleft() if self._turn else None

    def give_back(self, reply: Reply) -> None:
        """It could not be tried: it comes first again."""
        self._turn.appendleft(reply)
