"""The tracer a process's settings ask for, if any."""

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pileway.settings import Settings

if TYPE_CHECKING:
    from pileway.telemetry.tracing import Tracer


@contextmanager
def opened(settings: Settings, process: str) -> Generator["Tracer | None"]:
    """A tracer while the block runs; None where no collector is named."""
    if settings.otlp_endpoint is None:
        yield None
        return
    # Loading the library takes time and memory that nobody without a collector should pay.
    from pileway.telemetry.tracing import Tracer  # noqa: PLC0415

    tracer = Tracer(
        settings.otlp_endpoint,
        process=process,
        instance=f"{socket.gethostname()}-{os.getpid()}",
        ratio=settings.trace_ratio,
    )
    try:
        yield tracer
    finally:
        tracer.close()
