"""A look at something that may hang, such as a database: kept for a while, and nobody waits long for it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from time import monotonic
from typing import Generic, TypeVar

import structlog

T = TypeVar("T")

log = structlog.get_logger()


@dataclass
class _Look(Generic[T]):
    ended: Event = field(default_factory=Event)
    ended_s: float = 0.0
    found: T | None = None
    failure: str | None = None


class KeptLook(Generic[T]):
    """One look is under way at a time, in a thread of its own; a hanging one holds up nobody but itself."""

    def __init__(self, look: Callable[[], T], *, fresh_s: float, wait_s: float) -> None:
        """What was found serves for `fresh_s` seconds; whoever asks waits at most `wait_s`."""
        self._take = look
        self._fresh_s = fresh_s
        self._wait_s = wait_s
        self._lock = Lock()
        self._newest: _Look[T] | None = None

    def newest(self) -> T | None:
        """What was found; None when the look takes too long or failed."""
        with self._lock:
            look = self._newest
            if look is None or (look.ended.is_set() and monotonic() - look.ended_s >= self._fresh_s):
                look = self._newest = _Look[T]()
                Thread(target=self._run, args=(look,), name="look", daemon=True).start()
        return look.found if look.ended.wait(self._wait_s) else None

    @property
    def failure(self) -> str | None:
        """The class of the error that the newest look ended with; None where it goes on or found something."""
        with self._lock:
            return self._newest.failure if self._newest is not None else None

    def _run(self, look: "_Look[T]") -> None:
        try:
            look.found = self._take()
        except Exception as error:  # noqa: BLE001  # outermost line of the thread: a failed look is an answer too
            look.failure = type(error).__name__
            log.warning("look_failed", error=look.failure)
        finally:
            look.ended_s = monotonic()
            look.ended.set()
