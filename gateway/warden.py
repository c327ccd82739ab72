"""Keeps those out who are shut out, shuts out those who flood, and writes down what looks like two piles in one.

It works beside the stream of messages, in its own thread with its own connection. A pile that was quarantined or
revoked is turned out of the broker at once and again a little later, in case it came back before the broker knew of
its certificate; after that whenever it is heard.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event, Lock
from time import monotonic

import structlog
from psycopg import InterfaceError, OperationalError
from psycopg_pool import ConnectionPool

from charging import identity_conflicts, pile_states, rejections, standings
from charging.errors import ChargingError
from charging.pile_states import BARRED, BY_SYSTEM
from database.pool import Connection
from gateway.doorman import Doorman
from gateway.errors import Refusal
from gateway.flood_guard import FloodGuard, FloodLimits
from gateway.identity_watch import Sign

ROUND_S = 0.5
TURN_OUT_AFTER_S = (0.0, 1.5, 3.0, 10.0)
"""Real seconds after a pile was found barred at which it is turned out."""
HEARD_AGAIN_S = 2.0
"""A barred pile that is heard is turned out, but not more often than this."""
LOOK_BACK = timedelta(hours=24)
"""A gateway that starts turns out whoever was barred within this time."""
MOST_BARRED = 2_000
MAX_SIGNS = 10_000
MAX_REMEMBERED = 10_000

log = structlog.get_logger()


@dataclass
class WardenHealth:
    """Counters since the process began; written by the warden's thread."""

    turned_out: int = 0
    quarantined: int = 0
    signs: int = 0
    dropped: int = 0
    turned_s: float = field(default_factory=monotonic)
    """When its loop last turned, by the monotonic clock."""


@dataclass(slots=True)
class _Barred:
    """A pile to be kept out: since when, and at which of our seconds it was turned out or is to be."""

    state_since: datetime
    due_s: list[float]
    last_s: float = float("-inf")


class Warden:
    """One thread runs it; `suspects`, `heard_barred` and the guard are used by the writer's and the links'."""

    def __init__(
        self,
        *,
        pool: ConnectionPool[Connection],
        doorman: Doorman,
        flood_limits: FloodLimits,
        clock: Callable[[], datetime],
        episode: timedelta,
        stop: Event,
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        """`episode` is how long without another sign ends an episode, by the clock."""
        self.health = WardenHealth()
        self.guard = FloodGuard(flood_limits, caught=self._caught, seconds=seconds)
        self._pool = pool
        self._doorman = doorman
        self._clock = clock
        self._episode = episode
        self._stop = stop
        self._seconds = seconds
        self._lock = Lock()
        self._signs: deque[tuple[str, Sign]] = deque(maxlen=MAX_SIGNS)
        self._heard: set[str] = set()
        self._floods: deque[str] = deque()
        self._barred: OrderedDict[str, _Barred] = OrderedDict()
        self._shut_out: set[str] = set()

    def suspects(self, pile_id: str, signs: Sequence[Sign]) -> None:
        """Something looks like two devices in one, or like a forgotten counter."""
        self._signs.extend((pile_id, sign) for sign in signs)

    def heard_barred(self, pile_id: str) -> None:
        """A pile spoke that is quarantined or revoked: it still has a connection."""
        with self._lock:
            if len(self._heard) < MAX_REMEMBERED:
                self._heard.add(pile_id)

    def run(self) -> None:
        """Make rounds until `stop` is set."""
        while not self._stop.wait(ROUND_S):
            self.health.turned_s = monotonic()
            try:
                self.make_round()
            except (OperationalError, InterfaceError) as error:
                log.warning("warden_waits_for_database", error=type(error).__name__)
            except Exception:
                log.exception("warden_failed")

    def make_round(self) -> None:
        """Quarantine floods, look who is barred, turn them out, and write down signs."""
        self._quarantine_floods()
        self._find_barred()
        self._turn_out()
        self._note_signs()
        self._forgive_released()

    def _caught(self, pile_id: str) -> None:
        self._floods.append(pile_id)

    def _quarantine_floods(self) -> None:
        while self._floods:
            pile_id = self._floods[0]
            try:
                with self._pool.connection() as conn:
                    moved = pile_states.quarantine(
                        conn, pile_id, by=BY_SYSTEM, reason="flooding", now=self._clock()
                    )
            except ChargingError as error:
                log.warning("flooding_pile_not_quarantined", pile_id=pile_id, error=type(error).__name__)
            else:
                self.health.quarantined += moved
                log.warning("pile_quarantined", pile_id=pile_id, reason="flooding")
            self._floods.popleft()
            self._shut_out.add(pile_id)
        dropped = self.guard.take_dropped()
        if dropped:
            self.health.dropped += dropped
            with self._pool.connection() as conn:
                rejections.count(conn, reason=Refusal.FLOODING, messages=dropped, now=self._clock())

    def _find_barred(self) -> None:
        with self._pool.connection() as conn:
            barred = pile_states.barred_lately(conn, within=LOOK_BACK, limit=MOST_BARRED, now=self._clock())
        now_s = self._seconds()
        for pile in barred:
            known = self._barred.get(pile.pile_id)
            if known is None or known.state_since != pile.state_since:
                due_s = [now_s + after_s for after_s in TURN_OUT_AFTER_S]
                self._barred[pile.pile_id] = _Barred(pile.state_since, due_s)
        while len(self._barred) > MAX_REMEMBERED:
            self._barred.popitem(last=False)

    def _turn_out(self) -> None:
        with self._lock:
            heard, self._heard = self._heard, set()
        now_s = self._seconds()
        for pile_id in heard:
            known = self._barred.setdefault(pile_id, _Barred(self._clock(), []))
            if now_s - known.last_s >= HEARD_AGAIN_S:
                known.due_s.insert(0, now_s)
        for pile_id, known in list(self._barred.items()):
            if known.due_s and known.due_s[0] <= now_s:
                known.due_s = [due_s for due_s in known.due_s if due_s > now_s]
                known.last_s = now_s
                self._turn_out_one(pile_id)

    def _turn_out_one(self, pile_id: str) -> None:
        # Asked again: a person may have released it since, and then its connection is to stay.
        with self._pool.connection() as conn:
            standing = next(iter(standings.of(conn, [pile_id])), None)
        if standing is not None and standing.state not in BARRED:
            self._barred.pop(pile_id, None)
            return
        if self._doorman.turn_out(pile_id):
            self.health.turned_out += 1
            log.info("pile_turned_out", pile_id=pile_id)

    def _note_signs(self) -> None:
        together: dict[tuple[str, str], tuple[Sign, int]] = {}
        while self._signs:
            pile_id, sign = self._signs.popleft()
            first, count = together.get((pile_id, sign.kind), (sign, 0))
            together[pile_id, sign.kind] = (first, count + 1)
        for (pile_id, _), (sign, count) in together.items():
            with self._pool.connection() as conn:
                identity_conflicts.observed(
                    conn,
                    pile_id=pile_id,
                    kind=sign.kind,
                    observations=count,
                    detail=sign.detail,
                    episode=self._episode,
                    now=self._clock(),
                )
            self.health.signs += count

    def _forgive_released(self) -> None:
        if not self._shut_out:
            return
        with self._pool.connection() as conn:
            free = [
                standing.pile_id
                for standing in standings.of(conn, sorted(self._shut_out))
                if standing.state not in BARRED
            ]
        for pile_id in free:
            self._shut_out.discard(pile_id)
            self.guard.forgive(pile_id)
