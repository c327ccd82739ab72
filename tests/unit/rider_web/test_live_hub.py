"""A watcher holds one state, whatever happens while it does not read."""

import asyncio
from uuid import uuid4

from rider_web.live_hub import Subscription


def test_a_slow_reader_gets_the_newest_state_only() -> None:
    async def read() -> None:
        watcher: Subscription[int] = Subscription(uuid4(), asyncio.get_running_loop())
        for state in (1, 2, 3):
            watcher.offer(state)
        assert await watcher.next(timeout_s=1) == 3
        assert await watcher.next(timeout_s=0.01) is None
        assert not watcher.closed

    asyncio.run(read())


def test_the_end_is_told_even_to_a_reader_that_waits() -> None:
    async def read() -> None:
        loop = asyncio.get_running_loop()
        watcher: Subscription[int] = Subscription(uuid4(), loop)
        loop.call_soon(watcher.end)
        assert await watcher.next(timeout_s=5) is None
        assert watcher.closed

    asyncio.run(read())
