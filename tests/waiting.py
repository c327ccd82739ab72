"""Waiting for a condition, with a limit: tests never just sleep."""

import time
from collections.abc import Callable
from typing import TypeVar

LIMIT_S = 20.0
_POLL_S = 0.02

T = TypeVar("T")


def wait_until(condition: Callable[[], T | None], *, limit_s: float = LIMIT_S, what: str = "it") -> T:
    """Return what `condition()` gives once it is true; raises `TimeoutError` after `limit_s` seconds."""
    deadline = time.monotonic() + limit_s
    while not (seen := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {limit_s:.0f} s for {what}")
        time.sleep(_POLL_S)
    return seen
