"""The other processes of a benchmark: each talks over a pipe and ends when the pipe closes."""

import multiprocessing
from collections.abc import Callable, Generator
from contextlib import contextmanager
from multiprocessing.connection import Connection as Pipe
from typing import Any

from pileway.errors import NotReady

READY_LIMIT_S = 60.0
STOP_LIMIT_S = 20.0


@contextmanager
def start(serve: Callable[..., None], *arguments: object) -> Generator[Pipe]:
    """A process that gets a pipe as its last argument and ends when the pipe closes, however we end."""
    spawner = multiprocessing.get_context("spawn")
    ours, theirs = spawner.Pipe()
    process = spawner.Process(target=serve, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join(STOP_LIMIT_S)
        if process.is_alive():
            process.kill()
            process.join()


def receive(pipe: Pipe, who: str, *, limit_s: float = READY_LIMIT_S) -> Any:
    """What the other side says next. Raises NotReady, naming it, when it says nothing in time or is gone."""
    try:
        if pipe.poll(limit_s):
            return pipe.recv()
    except EOFError:
        pass
    raise NotReady(f"{who} did not answer within {limit_s:.0f} s")
