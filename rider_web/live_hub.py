"""Live sessions: one LISTEN connection a process feeds every rider who watches.

A thread of its own listens on `session_live`, loads each watched session that changed at most once a second and
hands the newest state to its subscribers. A subscriber holds one state: who reads slowly skips states and never
makes the process grow. When the database goes away the thread reconnects with growing pauses and, once back, loads
every watched session afresh, because whatever was notified meanwhile is lost.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Generic, TypeVar
from uuid import UUID

import psycopg
import structlog
from psycopg.rows import TupleRow

CHANNEL = "session_live"
MAX_SUBSCRIBERS = 2000
"""Watchers a process; beyond that it refuses and the page polls instead."""
MAX_SUBSCRIBERS_PER_SESSION = 16
LEAST_INTERVAL_S = 1.0
"""A session is loaded and sent at most once in so many real seconds."""
LISTEN_TICK_S = 0.25
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
CONNECT_TIMEOUT_S = 5
CLOSE_TIMEOUT_S = 10.0

StateT = TypeVar("StateT")

log = structlog.get_logger()


class HubFull(Exception):
    """No room for another subscriber, of this session or at all."""


@dataclass(eq=False)
class Subscription(Generic[StateT]):
    """One watcher, read in its event loop; holds the newest state and no more."""

    session_id: UUID
    loop: asyncio.AbstractEventLoop
    closed: bool = False
    """Nothing more comes."""
    _newest: StateT | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def next(self, *, timeout_s: float) -> StateT | None:
        """The next state; None when nothing came within `timeout_s` or when nothing more comes."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return None
        self._changed.clear()
        newest, self._newest = self._newest, None
        return newest

    def offer(self, state: StateT) -> None:
        """Replace the waiting state; runs in the event loop."""
        self._newest = state
        self._changed.set()

    def end(self) -> None:
        """Tell the watcher that nothing more comes; runs in the event loop."""
        self.closed = True
        self._changed.set()


class LiveHub(Generic[StateT]):
    """Feeds subscribers with the state of their sessions. Use as a context manager, or `start` and `close`."""

    def __init__(self, dsn: str, load: Callable[[Sequence[UUID]], dict[UUID, StateT]]) -> None:
        """`load` gives the states of sessions in one go; it runs in the hub's thread and may raise OperationalError."""
        self._dsn = dsn
        self._load = load
        self._lock = threading.Lock()
        self._subscribers: dict[UUID, list[Subscription[StateT]]] = {}
        self._dirty: set[UUID] = set()
        self._sent_at: dict[UUID, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-hub", daemon=True)

    def __enter__(self) -> "LiveHub[StateT]":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Begin to listen; returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening and end every subscription."""
        self._stopping.set()
        with self._lock:
            watchers = [watcher for group in self._subscribers.values() for watcher in group]
            self._subscribers.clear()
        for watcher in watchers:
            _in_loop(watcher, watcher.end)
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT_S)

    def subscribe(self, session_id: UUID, loop: asyncio.AbstractEventLoop) -> Subscription[StateT]:
        """Watch a session from `loop`: every change committed from now on is told. Raises HubFull."""
        watcher: Subscription[StateT] = Subscription(session_id, loop)
        with self._lock:
            group = self._subscribers.setdefault(session_id, [])
            total = sum(len(watchers) for watchers in self._subscribers.values())
            if (
                self._stopping.is_set()
                or total >= MAX_SUBSCRIBERS
                or len(group) >= MAX_SUBSCRIBERS_PER_SESSION
            ):
                if not group:
                    del self._subscribers[session_id]
                raise HubFull
            group.append(watcher)
        return watcher

    def unsubscribe(self, watcher: Subscription[StateT]) -> None:
        """Stop watching; a second call changes nothing."""
        with self._lock:
            group = self._subscribers.get(watcher.session_id, [])
            if watcher in group:
                group.remove(watcher)
            if not group:
                self._subscribers.pop(watcher.session_id, None)
                self._sent_at.pop(watcher.session_id, None)
                self._dirty.discard(watcher.session_id)

    @property
    def subscriber_count(self) -> int:
        with self._lock:
            return sum(len(group) for group in self._subscribers.values())

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            try:
                with psycopg.connect(
                    self._dsn,
                    autocommit=True,
                    connect_timeout=CONNECT_TIMEOUT_S,
                    application_name="pileway live hub",
                ) as conn:
                    conn.execute("LISTEN session_live")
                    self._mark_all()
                    log.info("live_hub_listening")
                    pause_s = FIRST_PAUSE_S
                    self._listen(conn)
            except Exception as error:  # noqa: BLE001 - outermost line of the thread: it must outlive any failure
                log.warning("live_hub_lost", error=type(error).__name__, pause_s=pause_s)
                self._stopping.wait(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _listen(self, conn: psycopg.Connection[TupleRow]) -> None:
        while not self._stopping.is_set():
            for notification in conn.notifies(timeout=LISTEN_TICK_S, stop_after=1):
                self._mark(notification.payload)
            self._send_due()

    def _mark(self, payload: str) -> None:
        try:
            session_id = UUID(payload)
        except ValueError:
            log.warning("live_hub_payload_odd", channel=CHANNEL)
            return
        with self._lock:
            if session_id in self._subscribers:
                self._dirty.add(session_id)

    def _mark_all(self) -> None:
        with self._lock:
            self._dirty.update(self._subscribers)

    def _send_due(self) -> None:
        moment = time.monotonic()
        with self._lock:
            due = [
                session_id
                for session_id in self._dirty
                if moment - self._sent_at.get(session_id, -LEAST_INTERVAL_S) >= LEAST_INTERVAL_S
            ]
            # Cleared before the load: a change committed during it marks the session again.
            self._dirty.difference_update(due)
            self._sent_at.update(dict.fromkeys(due, moment))
        if not due:
            return
        try:
            states = self._load(due)
        except Exception:
            with self._lock:
                self._dirty.update(session_id for session_id in due if session_id in self._subscribers)
            raise
        for session_id, state in states.items():
            with self._lock:
                watchers = list(self._subscribers.get(session_id, ()))
            for watcher in watchers:
                _in_loop(watcher, watcher.offer, state)


def _in_loop(watcher: Subscription[StateT], call: Callable[..., None], *arguments: object) -> None:
    if not watcher.loop.is_closed():
        watcher.loop.call_soon_threadsafe(call, *arguments)
