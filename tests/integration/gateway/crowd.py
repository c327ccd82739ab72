"""Piles that say meter frames at a pace, each on a thread, until told to end."""

from datetime import datetime, timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING, Self
from uuid import uuid4

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import HandPile

END_LIMIT_S = 20.0
"""A frame that the broker has not acknowledged by then never will be."""


class Crowd:
    """Begins with the block and ends with it at the latest; `begins_at` is what the first frames are sampled after."""

    def __init__(
        self, piles: "list[HandPile]", *, pause_s: float, begins_at: datetime, step: timedelta
    ) -> None:
        """Each says a frame every `pause_s` seconds, sampled one `step` after the last."""
        self._said = [0] * len(piles)
        self._pause_s = pause_s
        self._begins_at = begins_at
        self._step = step
        self._stop = Event()
        self._threads = [Thread(target=self._say, args=place) for place in enumerate(piles)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def said(self) -> int:
        """Frames the broker has taken so far."""
        return sum(self._said)

    def end(self) -> int:
        """Stop, and say how many frames there were."""
        self._stop.set()
        for thread in self._threads:
            thread.join(END_LIMIT_S)
        assert not any(thread.is_alive() for thread in self._threads), (
            "a frame waits for the broker without end"
        )
        return self.said

    def _say(self, place: int, pile: "HandPile") -> None:
        session_id, at = uuid4(), self._begins_at
        while not self._stop.wait(self._pause_s):
            at += self._step
            pile.say(pile.meter(session_id, at=at))
            # Each counts its own: several threads adding to one number lose some.
            self._said[place] += 1
