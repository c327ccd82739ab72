"""The gateway of the ingest benchmark: as its own process runs it, with a stamp on every commit."""

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

from gateway import service
from gateway.link import Frame
from gateway.service import Gateway
from pileway import composition, gateway_process, logs
from pileway.settings import Settings

POLL_S = 0.02


@dataclass(frozen=True)
class Stored:
    """What a gateway committed since the last question: seconds, frames, and when, by the payload's last eight bytes.

    The seconds begin with the first frame that arrived and end with the last commit; instants are monotonic ns.
    """

    seconds: float
    frames: int
    at_ns: dict[bytes, int]


@dataclass
class _Stamps:
    """Notes the frames of each acknowledgement, which follows the commit at once."""

    begun_at: datetime | None = None
    ended_at: datetime | None = None
    at_ns: dict[bytes, int] = field(default_factory=dict[bytes, int])

    def watch(self, gateway: Gateway) -> None:
        """Stamp what this gateway's only link acknowledges."""
        [link] = gateway.lanes.links.values()
        acknowledge = link.ack

        def stamped(frames: Sequence[Frame]) -> None:
            now_ns = time.monotonic_ns()
            self.at_ns.update((frame.payload[-8:], now_ns) for frame in frames)
            self.begun_at = self.begun_at or frames[0].received_at
            self.ended_at = datetime.now(UTC)
            acknowledge(frames)

        link.ack = stamped

    def wait_for(self, count: int, *, limit_s: float) -> Stored:
        """Until so many frames are committed, or the limit has passed."""
        deadline_s = time.monotonic() + limit_s
        while len(self.at_ns) < count and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
        if self.begun_at is None or self.ended_at is None:
            return Stored(0.0, 0, {})
        stored = Stored((self.ended_at - self.begun_at).total_seconds(), len(self.at_ns), dict(self.at_ns))
        self.begun_at = None
        self.at_ns.clear()
        return stored


def serve(settings: Settings, log_path: Path, pipe: Pipe) -> None:
    """Serve one lane of all shards until the pipe closes.

    Says its process id once it serves; then a pair (frames, limit in s) is answered with `Stored`.
    """
    logs.set_up("gateway", to=log_path)
    stop = threading.Event()

    def watch(gateway: Gateway) -> None:
        stamps = _Stamps()
        stamps.watch(gateway)
        pipe.send(os.getpid())
        threading.Thread(target=answer, args=(stamps,), name="pipe", daemon=True).start()

    def answer(stamps: _Stamps) -> None:
        try:
            while True:
                count, limit_s = pipe.recv()
                pipe.send(stamps.wait_for(count, limit_s=limit_s))
        except EOFError:
            stop.set()

    with composition.pool(settings, max_size=gateway_process.CONNECTIONS) as pool:
        service.run(gateway_process.parts(settings, pool), stop=stop, watch=watch)
