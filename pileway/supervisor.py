"""Keeps the parts of one installation running: starts them in order, restarts a dead one, stops them in reverse.

All starts and stops happen on one thread that lives until the last part is gone, because Linux ends a child when
the thread that started it dies.
"""

import logging
import logging.handlers
import queue
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import structlog

from pileway.child_process import ChildProcess
from pileway.errors import PartFailed

FIRST_DELAY_S = 0.2
MAX_DELAY_S = 10.0
STEADY_AFTER_S = 30.0
MAX_RESTARTS_IN_A_ROW = 12
LOG_SIZE_BYTES = 10 * 1024 * 1024
LOG_FILES = 3

_POLL_S = 0.1
_ADD_LIMIT_S = 300.0
_STOP_LIMIT_S = 180.0

log = structlog.get_logger()


T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Part(Protocol[T_co]):
    """Something that runs beside us and can be started again."""

    @property
    def name(self) -> str:
        """Its name in logs."""
        ...

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        ...

    def start(self) -> T_co:
        """Start it and wait until it works; say how to reach it; raises a `PartFailed`."""
        ...

    def exit_code(self) -> int | None:
        """Exit code when it ended without being asked to."""
        ...

    def stop(self) -> None:
        """Stop it and wait until it is gone."""
        ...


@dataclass(frozen=True)
class PartState:
    """How a part is: `pid` is None between death and restart; `given_up` after too many deaths in a row."""

    name: str
    pid: int | None
    restarts: int
    given_up: bool


@dataclass
class _Watched:
    part: Part[object]
    started_at_s: float
    restarts: int = 0
    restarts_in_a_row: int = 0
    restart_at_s: float | None = None
    given_up: bool = False
    halted: bool = False


class Supervisor:
    """A context manager; leaving it stops every part, the last added first."""

    def __init__(self, log_folder: Path) -> None:
        self._output, self._output_file = _open_output(log_folder / "pileway.log")
        self._tasks: queue.Queue[Callable[[], None]] = queue.Queue()
        self._watched: list[_Watched] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def __enter__(self) -> "Supervisor":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(_STOP_LIMIT_S)
        self._output.removeHandler(self._output_file)
        self._output_file.close()

    def add(self, part: Part[T]) -> T:
        """Start a part, wait until it is ready and keep it running from then on; raises a `PartFailed`."""
        return self._do(lambda: self._start(part))

    def add_process(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start `python -m pileway <arguments>` as a part; its output goes to `pileway.log`, prefixed by `name`."""
        self.add(ChildProcess(name=name, arguments=arguments, environment=environment, output=self._output))

    def remove(self, name: str) -> None:
        """Stop one part and forget it; raises `KeyError` for an unknown name."""
        watched = next((watched for watched in self._watched if watched.part.name == name), None)
        if watched is None:
            raise KeyError(name)
        self._do(lambda: self._stop(watched))

    @contextmanager
    def halted(self, name: str) -> Generator[None]:
        """Run without one part, of a name there is, while the block runs. Raises `PartFailed`."""
        watched = next(watched for watched in self._watched if watched.part.name == name)
        self._do(lambda: self._halt(watched))
        try:
            yield
        finally:
            self._do(lambda: self._resume(watched))

    def states(self) -> tuple[PartState, ...]:
        """How the parts are, in the order they were started."""
        return tuple(
            PartState(
                name=watched.part.name,
                pid=watched.part.pid,
                restarts=watched.restarts,
                given_up=watched.given_up,
            )
            for watched in tuple(self._watched)
        )

    def _do(self, task: Callable[[], T]) -> T:
        future: Future[T] = Future()
        self._tasks.put(lambda: _fulfil(future, task))
        return future.result(timeout=_ADD_LIMIT_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._work_one()
            for watched in tuple(self._watched):
                self._look_after(watched)
        for watched in reversed(tuple(self._watched)):
            self._stop(watched)

    def _work_one(self) -> None:
        try:
            task = self._tasks.get(timeout=_POLL_S)
        except queue.Empty:
            return
        task()

    def _start(self, part: Part[T]) -> T:
        try:
            reached = part.start()
        except BaseException:
            part.stop()
            raise
        self._watched.append(_Watched(part=part, started_at_s=time.monotonic()))
        log.info("part_started", part=part.name, pid=part.pid)
        return reached

    def _stop(self, watched: _Watched) -> None:
        watched.part.stop()
        self._watched.remove(watched)
        log.info("part_stopped", part=watched.part.name)

    def _halt(self, watched: _Watched) -> None:
        watched.halted = True
        watched.part.stop()
        log.info("part_halted", part=watched.part.name)

    def _resume(self, watched: _Watched) -> None:
        watched.part.start()
        watched.halted, watched.restart_at_s, watched.started_at_s = False, None, time.monotonic()
        log.info("part_resumed", part=watched.part.name, pid=watched.part.pid)

    def _look_after(self, watched: _Watched) -> None:
        now_s = time.monotonic()
        if watched.given_up or watched.halted:
            return
        if watched.restart_at_s is not None:
            if now_s >= watched.restart_at_s:
                self._restart(watched)
            return
        exit_code = watched.part.exit_code()
        if exit_code is not None:
            log.warning("part_died", part=watched.part.name, exit_code=exit_code)
            self._plan_restart(watched)

    def _plan_restart(self, watched: _Watched) -> None:
        if time.monotonic() - watched.started_at_s > STEADY_AFTER_S:
            watched.restarts_in_a_row = 0
        if watched.restarts_in_a_row >= MAX_RESTARTS_IN_A_ROW:
            watched.given_up = True
            log.error("part_given_up", part=watched.part.name, restarts=watched.restarts_in_a_row)
            return
        delay_s = min(FIRST_DELAY_S * 2**watched.restarts_in_a_row, MAX_DELAY_S)
        watched.restart_at_s = time.monotonic() + delay_s
        watched.restarts_in_a_row += 1

    def _restart(self, watched: _Watched) -> None:
        watched.restart_at_s = None
        watched.restarts += 1
        watched.started_at_s = time.monotonic()
        try:
            watched.part.start()
        except PartFailed as error:
            log.warning("part_restart_failed", part=watched.part.name, reason=str(error))
            self._plan_restart(watched)
        else:
            log.info("part_restarted", part=watched.part.name, pid=watched.part.pid)


def _fulfil(future: Future[T], task: Callable[[], T]) -> None:
    try:
        result = task()
    except BaseException as error:  # noqa: BLE001 - it belongs to the thread that asked
        future.set_exception(error)
    else:
        future.set_result(result)


def _open_output(path: Path) -> tuple[logging.Logger, logging.Handler]:
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=LOG_SIZE_BYTES, backupCount=LOG_FILES - 1, encoding="utf-8", delay=True
    )
    output = logging.Logger(f"pileway.parts.{path}", level=logging.INFO)
    output.addHandler(handler)
    return output, handler
