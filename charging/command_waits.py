"""Waiting for commands to end: one LISTEN connection a process wakes whoever waits for the outcome of one.

A waiter reads the command itself, when it is told and once a second besides: what was told while the connection was
away is not missed for long. It holds no connection while it waits.
"""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType
from uuid import UUID

import structlog
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

from charging import command_records
from charging.command_records import CommandRecord
from database.listening import Listener

CHANNEL = "command_outcome"
MAX_WAITERS = 16
"""At once in a process: each occupies a thread of the web server."""
LONGEST_WAIT_S = 30.0
LOOK_S = 1.0
"""A waiter looks by itself after so many real seconds."""

log = structlog.get_logger()


class CommandWaits:
    """Waits for outcomes, in the threads that ask. Use as a context manager, or `start` and `close`."""

    def __init__(self, dsn: str, pool: ConnectionPool[Connection[TupleRow]]) -> None:
        """`dsn` is the database by its own address, for LISTEN; `pool` serves the look-ups."""
        self._pool = pool
        self._lock = threading.Lock()
        self._bells: dict[UUID, set[threading.Event]] = {}
        self._waiters = threading.BoundedSemaphore(MAX_WAITERS)
        self._listener = Listener(
            dsn,
            (CHANNEL,),
            name="command waits",
            connected=self._ring_all,
            heard=lambda _, payload: self._ring(payload),
        )

    def __enter__(self) -> "CommandWaits":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Begin to listen; returns at once."""
        self._listener.start()

    def close(self) -> None:
        """Stop listening and let every waiter go with what it knows."""
        self._listener.stop()
        self._ring_all()
        self._listener.close()

    def outcome(self, command_id: UUID, *, wait_s: float) -> CommandRecord:
        """The command once it has ended, or as it is after `wait_s` real seconds (at most LONGEST_WAIT_S).

        Where too many wait already the command comes as it is, at once. Raises CommandUnknown.
        """
        if wait_s <= 0 or not self._waiters.acquire(blocking=False):
            return self._read(command_id)
        try:
            with self._bell(command_id) as bell:
                return self._wait(command_id, bell, time.monotonic() + min(wait_s, LONGEST_WAIT_S))
        finally:
            self._waiters.release()

    def _wait(self, command_id: UUID, bell: threading.Event, deadline: float) -> CommandRecord:
        while True:
            bell.clear()
            record = self._read(command_id)
            left_s = deadline - time.monotonic()
            if record.ended or left_s <= 0 or self._listener.stopping:
                return record
            bell.wait(min(left_s, LOOK_S))

    def _read(self, command_id: UUID) -> CommandRecord:
        with self._pool.connection() as conn:
            return command_records.get(conn, command_id)

    @contextmanager
    def _bell(self, command_id: UUID) -> Generator[threading.Event]:
        bell = threading.Event()
        with self._lock:
            self._bells.setdefault(command_id, set()).add(bell)
        try:
            yield bell
        finally:
            with self._lock:
                bells = self._bells[command_id]
                bells.discard(bell)
                if not bells:
                    del self._bells[command_id]

    def _ring(self, payload: str) -> None:
        try:
            command_id = UUID(payload)
        except ValueError:
            log.warning("command_outcome_payload_odd")
            return
        with self._lock:
            for bell in self._bells.get(command_id, ()):
                bell.set()

    def _ring_all(self) -> None:
        with self._lock:
            for bells in self._bells.values():
                for bell in bells:
                    bell.set()
