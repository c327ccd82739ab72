"""The other processes of a benchmark: each talks over a pipe and ends when the pipe closes."""

import multiprocessing
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Any

from pileway.errors import NotReady, PartFailed, PilewayError

READY_LIMIT_S = 60.0
STOP_LIMIT_S = 20.0


@dataclass(frozen=True)
class _Failure:
    words: str


@contextmanager
def start(serve: Callable[..., None], *arguments: object) -> Generator[Pipe]:
    """A process that gets a pipe as its last argument and ends when the pipe closes, however we end."""
    spawner = multiprocessing.get_context("spawn")
    ours, theirs = spawner.Pipe()
    process = spawner.Process(target=_run, args=(serve, *arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join(STOP_LIMIT_S)
        if process.is_alive():
            process.kill()
            process.join(STOP_LIMIT_S)


def receive(pipe: Pipe, who: str, *, limit_s: float = READY_LIMIT_S) -> Any:
    """What the other side says next.

    Raises PartFailed with its words when it failed, and NotReady, naming it, when it says nothing in time or is gone.
    """
    said: Any = None
    try:
        if not pipe.poll(limit_s):
            raise NotReady(f"{who} did not answer within {limit_s:.0f} s")
        said = pipe.recv()
    except EOFError:
        raise NotReady(f"{who} ended without a word") from None
    if isinstance(said, _Failure):
        raise PartFailed(f"{who}: {said.words}")
    return said


def _run(serve: Callable[..., None], *arguments: Any) -> None:
    try:
        serve(*arguments)
    except (PilewayError, OSError) as error:
        with suppress(OSError):
            arguments[-1].send(_Failure(str(error)))
