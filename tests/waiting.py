"""Waiting for a condition, with a limit: tests never just sleep."""

import time
from collections.abc import Callable

LIMIT_S = 20.0
_POLL_S = 0.02


def wait_until(condition: Callable[[], object], *, limit_s: float = LIMIT_S) -> None:
    """Return once `condition()` is true; raises `TimeoutError` after `limit_s` seconds."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not true after {limit_s:.0f} s")
        time.sleep(_POLL_S)
