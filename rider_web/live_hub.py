"""Live sessions: one listening thread a process feeds every rider who watches, without a query for each reading.

The hub says which sessions it watches, so that the gateways' batches tell of those. It loads a session when the watch
begins and when it is told of a change; a reading it is told of is applied to what was loaded. A subscriber hears at
most once a second and holds one state: who reads slowly skips states and never makes the process grow. When the
database goes away the hub reconnects and loads every watched session afresh, because what was notified meanwhile is
lost.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar
from uuid import UUID

import structlog
from psycopg_pool import PoolTimeout, TooManyRequests

from charging import live_readings
from charging.live_readings import CHANGES, READINGS, Reading
from database.listening import Listener
from database.pool import Connection

MAX_SUBSCRIBERS = 2000
"""Watchers a process; beyond that it refuses and the page polls instead."""
MAX_SUBSCRIBERS_PER_SESSION = 16
LEAST_INTERVAL_S = 1.0
"""A session is told of at most once in so many real seconds, and loaded so long after its watch began: by then a batch
that looked for watches before is committed."""
RELOAD_PAUSE_S = 2.0
"""After a load that got no connection: the pool is busy, and asking at once would keep it so."""
MOST_LOADED_AT_ONCE = 200
MOST_SENT_AT_ONCE = 100
MOST_READINGS_HELD = 100
"""Of one session, until they are sent; beyond that it is loaded."""
WATCH_LIFE_S = 60.0
WATCH_RENEWAL_S = 20.0

log = structlog.get_logger()


class HubFull(Exception):
    """No room for another subscriber, of this session or at all."""


class Metered(Protocol):
    """A state that readings can be applied to."""

    def with_readings(self, readings: Iterable[Reading], /) -> Self | None:
        """The state after them, itself where nothing changed, or None where it must be loaded."""
        ...


StateT = TypeVar("StateT")
MeteredT = TypeVar("MeteredT", bound=Metered)


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


@dataclass(eq=False)
class _Watched(Generic[StateT]):
    """A watched session: the state last sent or loaded, and what came since."""

    session_id: UUID
    watchers: list[Subscription[StateT]] = field(default_factory=list[Subscription[StateT]])
    announced: bool = False
    """Its watch is in the database."""
    state: StateT | None = None
    stale: bool = True
    """To be loaded."""
    readings: list[Reading] = field(default_factory=list[Reading])
    """Not applied yet; empty while stale."""
    due_s: float = 0.0
    """Not to be sent or loaded before."""


class LiveHub(Generic[MeteredT]):
    """Feeds subscribers with the state of their sessions. Use as a context manager, or `start` and `close`."""

    def __init__(self, dsn: str, load: Callable[[Sequence[UUID]], dict[UUID, MeteredT]]) -> None:
        """`load` gives the states of sessions in one go, in the hub's thread.

        Raising PoolTimeout or TooManyRequests it is called again after RELOAD_PAUSE_S; another OperationalError counts
        as a lost database.
        """
        self._load = load
        self._lock = threading.Lock()
        self._sessions: dict[UUID, _Watched[MeteredT]] = {}
        self._renewed_s = 0.0
        self._listener = Listener(
            dsn,
            (CHANGES, READINGS),
            name="live hub",
            connected=self._connected,
            heard=self._heard,
            tick=self._tick,
        )

    def __enter__(self) -> "LiveHub[MeteredT]":
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
        """Stop listening and end every subscription."""
        self._listener.stop()
        with self._lock:
            watchers = [watcher for watched in self._sessions.values() for watcher in watched.watchers]
            self._sessions.clear()
        for watcher in watchers:
            if not watcher.loop.is_closed():
                watcher.loop.call_soon_threadsafe(watcher.end)
        self._listener.close()

    def subscribe(self, session_id: UUID, loop: asyncio.AbstractEventLoop) -> Subscription[MeteredT]:
        """Watch a session from `loop`: every change committed from now on is told. Raises HubFull."""
        watcher: Subscription[MeteredT] = Subscription(session_id, loop)
        with self._lock:
            watched = self._sessions.get(session_id)
            here = len(watched.watchers) if watched else 0
            total = sum(len(each.watchers) for each in self._sessions.values())
            if self._listener.stopping or total >= MAX_SUBSCRIBERS or here >= MAX_SUBSCRIBERS_PER_SESSION:
                raise HubFull
            if watched is None:
                watched = self._sessions[session_id] = _Watched(session_id)
            watched.watchers.append(watcher)
        return watcher

    def unsubscribe(self, watcher: Subscription[MeteredT]) -> None:
        """Stop watching; a second call changes nothing."""
        with self._lock:
            watched = self._sessions.get(watcher.session_id)
            if watched is None or watcher not in watched.watchers:
                return
            watched.watchers.remove(watcher)
            if not watched.watchers:
                del self._sessions[watcher.session_id]

    @property
    def subscriber_count(self) -> int:
        """How many watch."""
        with self._lock:
            return sum(len(watched.watchers) for watched in self._sessions.values())

    def _connected(self) -> None:
        with self._lock:
            for watched in self._sessions.values():
                watched.announced = False

    def _heard(self, channel: str, payload: str) -> None:
        try:
            if channel == CHANGES:
                self._changed(UUID(payload))
            else:
                self._metered(live_readings.unpack(payload))
        except ValueError:
            log.warning("live_hub_payload_odd", channel=channel)

    def _changed(self, session_id: UUID) -> None:
        with self._lock:
            if watched := self._sessions.get(session_id):
                _must_load(watched)

    def _metered(self, readings: Iterable[Reading]) -> None:
        with self._lock:
            for reading in readings:
                watched = self._sessions.get(reading.session_id)
                if watched is None or watched.stale:
                    continue
                watched.readings.append(reading)
                if len(watched.readings) > MOST_READINGS_HELD:
                    _must_load(watched)

    def _tick(self, conn: Connection) -> None:
        self._announce(conn)
        moment = time.monotonic()
        with self._lock:
            due = [watched for watched in self._sessions.values() if watched.due_s <= moment]
            metered = [watched for watched in due if watched.readings]
            stale = [watched for watched in due if watched.stale and watched.announced]
        for first in range(0, len(metered), MOST_SENT_AT_ONCE):
            self._apply(metered[first : first + MOST_SENT_AT_ONCE], moment)
        self._reload(stale[:MOST_LOADED_AT_ONCE], moment)

    def _announce(self, conn: Connection) -> None:
        """Say what is watched: new watches at once, all of them before they lapse."""
        moment = time.monotonic()
        late_s = moment - self._renewed_s
        with self._lock:
            new = [watched for watched in self._sessions.values() if not watched.announced]
            named = list(self._sessions) if late_s >= WATCH_RENEWAL_S else [each.session_id for each in new]
        if late_s >= WATCH_RENEWAL_S:
            self._renewed_s = moment
        if not named:
            return
        live_readings.watch(conn, named, life_s=WATCH_LIFE_S)
        with self._lock:
            # Between a lapsed watch and its renewal nothing was told.
            anew = list(self._sessions.values()) if late_s >= WATCH_LIFE_S else new
            for watched in anew:
                watched.announced = True
                watched.due_s = time.monotonic() + LEAST_INTERVAL_S
                _must_load(watched)

    def _apply(self, metered: Sequence[_Watched[MeteredT]], moment: float) -> None:
        changed: list[tuple[_Watched[MeteredT], MeteredT]] = []
        for watched in metered:
            readings, watched.readings = watched.readings, []
            if watched.state is None:
                continue
            state = watched.state.with_readings(readings)
            if state is None:
                _must_load(watched)
            elif state is not watched.state:
                watched.state, watched.due_s = state, moment + LEAST_INTERVAL_S
                changed.append((watched, state))
        self._send(changed)

    def _reload(self, stale: Sequence[_Watched[MeteredT]], moment: float) -> None:
        if not stale:
            return
        try:
            states = self._load([watched.session_id for watched in stale])
        except (PoolTimeout, TooManyRequests) as error:
            # Listening is well and goes on: to connect anew would have everything loaded by the pool that has no room.
            log.warning("live_hub_load_postponed", sessions=len(stale), error=type(error).__name__)
            for watched in stale:
                watched.due_s = time.monotonic() + RELOAD_PAUSE_S
            return
        loaded: list[tuple[_Watched[MeteredT], MeteredT]] = []
        for watched in stale:
            # Whatever is told from now on was not heard before the load, so the next tick sees it.
            watched.stale, watched.due_s = False, moment + LEAST_INTERVAL_S
            watched.state = states.get(watched.session_id)
            if watched.state is not None:
                loaded.append((watched, watched.state))
        self._send(loaded)

    def _send(self, changed: Iterable[tuple[_Watched[MeteredT], MeteredT]]) -> None:
        offers: dict[asyncio.AbstractEventLoop, list[tuple[Subscription[MeteredT], MeteredT]]] = {}
        with self._lock:
            for watched, state in changed:
                for watcher in watched.watchers:
                    offers.setdefault(watcher.loop, []).append((watcher, state))
        for loop, offered in offers.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_offer, offered)


def _must_load(watched: _Watched[StateT]) -> None:
    watched.stale = True
    watched.readings.clear()


def _offer(offered: Iterable[tuple[Subscription[StateT], StateT]]) -> None:
    for watcher, state in offered:
        watcher.offer(state)
