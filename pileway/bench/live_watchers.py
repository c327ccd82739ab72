"""Many pages at once, as lean as Python allows: each a connection of server-sent events of one session."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from pileway.errors import PartFailed, PilewayError

CONNECTING_AT_ONCE = 20
CONNECT_LIMIT_S = 60.0
POLL_S = 0.05
LINE_BYTES = 1 << 18

_ELAPSED = re.compile(rb'"elapsed_s":(\d+)')


@dataclass(eq=False)
class Watcher:
    """One page: what it heard, each time the session's seconds since start and our monotonic ns."""

    session_id: UUID
    heard: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    @property
    def newest_s(self) -> int:
        """The session's age by the newest event; -1 before the first."""
        return self.heard[-1][0] if self.heard else -1

    def heard_ns(self, elapsed_s: int) -> int | None:
        """When it first heard a reading as new as this; None if it never did."""
        return next((at_ns for newest_s, at_ns in self.heard if newest_s >= elapsed_s), None)

    async def watch(self, port: int, gate: asyncio.Semaphore) -> None:
        """Read events from the API on this port until cancelled or told no more; connect while the gate lets in."""
        async with gate:
            reader, writer = await _connect(port)
            address = f"/api/rider/sessions/{self.session_id}/live"
            writer.write(f"GET {address} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
            goes_on = await self._read(reader)
        try:
            while goes_on:
                goes_on = await self._read(reader)
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> bool:
        async for line in reader:
            if line.startswith(b"data: ") and (elapsed := _ELAPSED.search(line)):
                self.heard.append((int(elapsed[1]), time.monotonic_ns()))
                return True
        return False


@asynccontextmanager
async def watching(watchers: Sequence[Watcher], port: int) -> AsyncGenerator[None]:
    """All of them watch while the block runs.

    A PilewayError of the block is raised as it is, and a connection that breaks as PartFailed.
    """
    gate = asyncio.Semaphore(CONNECTING_AT_ONCE)
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(watcher.watch(port, gate)) for watcher in watchers]
            try:
                yield
            finally:
                for task in running:
                    task.cancel()
    except ExceptionGroup as group:
        expected, bugs = group.split((PilewayError, OSError))
        if expected is None or bugs is not None:
            raise
        first = expected.exceptions[0]
        if isinstance(first, PilewayError):
            raise first from None
        raise PartFailed(f"a watcher lost the API: {first}") from None


async def until(condition: Callable[[], bool], *, limit_s: float) -> bool:
    """Wait for a condition; whether it was met in time."""
    deadline_s = time.monotonic() + limit_s
    while not (met := condition()) and time.monotonic() < deadline_s:
        await asyncio.sleep(POLL_S)
    return met


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As soon as somebody listens. Raises OSError."""
    deadline_s = time.monotonic() + CONNECT_LIMIT_S
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port, limit=LINE_BYTES)
        except OSError:
            if time.monotonic() > deadline_s:
                raise
            await asyncio.sleep(POLL_S)
