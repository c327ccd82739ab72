"""Running things side by side until the first of them ends."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

CANCEL_AGAIN_S: Final = 1.0


async def first_ends(*activities: Coroutine[Any, Any, object]) -> None:
    """Run all until one ends, cancel the rest and wait for them; raises what the one that ended raised.

    Not a task group: before Python 3.13 one that is cancelled while a child fails forgets the cancellation.
    """
    running = {asyncio.ensure_future(activity) for activity in activities}
    try:
        ended, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        await _end(running)


async def _end(running: set["asyncio.Task[object]"]) -> None:
    """Cancel until it is heard: before Python 3.12 ``wait_for`` swallows a cancellation that meets its result."""
    pending = {task for task in running if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
    for task in running:
        if not task.cancelled():
            # An error that lost the race is told to nobody; looking at it keeps the loop from complaining.
            task.exception()
