"""The gateway of `pileway bench backlog`: as its own process runs it, with a note of each live frame's lag."""

import os
import resource
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any, NamedTuple

from gateway import service
from gateway.measures import BatchSteps
from gateway.service import Gateway
from pileway import composition, gateway_process, logs
from pileway.settings import Settings


class Lag(NamedTuple):
    """A live frame: when it was committed, monotonic seconds, and how many ms after it was sampled."""

    at_s: float
    ms: float

    @property
    def sampled_s(self) -> float:
        """When it was sampled, monotonic seconds."""
        return self.at_s - self.ms / 1000


@dataclass(frozen=True)
class Noted:
    """The live frames since the last question, and the most memory the process ever held, in MB."""

    lags: Sequence[Lag]
    peak_mb: float


def serve(settings: Settings, live_from_ms: int, log_path: Path, pipe: Pipe) -> None:
    """Serve one lane of all shards until the pipe closes.

    Says its process id once it serves; then any question is answered with `Noted`. Frames sampled at `live_from_ms`
    (Unix) or later are live.
    """
    logs.set_up("gateway", to=log_path)
    stop = threading.Event()
    lags: list[Lag] = []

    def watch(gateway: Gateway) -> None:
        committed = gateway.measures.committed

        def noted(steps: BatchSteps, *, sampled_ms: Sequence[int], **facts: Any) -> None:
            at_s, now_ms = time.monotonic(), time.time() * 1000
            lags.extend(Lag(at_s, now_ms - one) for one in sampled_ms if one >= live_from_ms)
            committed(steps, sampled_ms=sampled_ms, **facts)

        gateway.measures.committed = noted
        pipe.send(os.getpid())
        threading.Thread(target=answer, name="pipe", daemon=True).start()

    def answer() -> None:
        try:
            while True:
                pipe.recv()
                count = len(lags)
                pipe.send(Noted(lags[:count], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3))
                del lags[:count]
        except EOFError:
            stop.set()

    with composition.pool(settings, max_size=gateway_process.CONNECTIONS) as pool:
        service.run(gateway_process.parts(settings, pool), stop=stop, watch=watch)
