"""Which lanes this process serves: taken and kept by leases in the database, one link a lane.

A lane is a fixed range of shards, consumed by exactly one gateway under the client id `gw-<lane>`. When a gateway
dies, its connection to the database goes with it, and another takes the lane within rounds: it connects with the same
client id and gets what the broker kept. When its machine is cut off instead, the lease lapses first.

A lease that cannot be renewed is given up before it lapses: the link is cut at once. If two believe to own a lane, the
broker serves the one that connected last; the other lost its link, and drops the lane unless its lease is confirmed.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from threading import Event
from time import monotonic
from typing import TypeVar

import structlog
from psycopg import Error, InterfaceError, OperationalError
from psycopg.errors import IdleInTransactionSessionTimeout
from psycopg_pool import ConnectionPool, PoolTimeout

from database import leases
from database.pool import Connection
from gateway.errors import LaneRangeInvalid
from gateway.kept_connection import KeptConnection
from gateway.link import Link
from protocol.topics import SHARD_COUNT

LEASE_S = 15.0
"""How long the lease of a gateway that is cut off keeps its lanes from the others."""
ROUND_S = 1.0
"""Between two looks at every lane; below `leases.PATIENCE_S`, so that who lives is never taken for dead: a connection
found broken is replaced within the round."""
ROUNDS_PER_LEASE = 3
"""At least; a short lease makes for shorter rounds."""

_Answer = TypeVar("_Answer")
_UNANSWERED = (OperationalError, InterfaceError, IdleInTransactionSessionTimeout)
_CONNECTION_ENDED = ("08", "57P", "25P03")
"""Classes of errors after which the server closes the connection."""

log = structlog.get_logger()


def shards_of(lane: int, *, lane_count: int) -> range:
    """The shards of a lane. Raises LaneRangeInvalid."""
    if lane_count < 1 or SHARD_COUNT % lane_count or not 0 <= lane < lane_count:
        raise LaneRangeInvalid(lane, lane_count)
    width = SHARD_COUNT // lane_count
    return range(lane * width, (lane + 1) * width)


def client_id(lane: int) -> str:
    """The name a lane's session has at the broker, whichever gateway serves it."""
    return f"gw-{lane}"


@dataclass
class _Held:
    """A lane of ours: until when by our own clock, and how its link was when the lease was last confirmed."""

    link: Link
    lapses_s: float
    served_s: float
    """When the link was last seen connected, or another gateway last renewed the lease."""
    connections: int = 0

    def confirmed(self, *, lapses_s: float) -> None:
        self.lapses_s = lapses_s
        self.connections = self.link.health.connections

    @property
    def was_cut(self) -> bool:
        """Whether the link broke since the lease was confirmed: another may have taken the session."""
        return not self.link.connected or self.link.health.connections != self.connections


class Lanes:
    """Takes, renews and drops lanes, in one thread; `serving` and `link_of` may be asked from any."""

    def __init__(
        self,
        *,
        pool: ConnectionPool[Connection],
        owner: str,
        lanes: Sequence[int],
        lane_count: int,
        make_link: Callable[[int], Link],
        changed: Callable[[], None],
        lease_s: float = LEASE_S,
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        """`owner` names this process uniquely; `changed` is called when a lane was taken or dropped."""
        self._conn = KeptConnection(pool, autocommit=True)
        self._owner = owner
        self._shards = {lane: shards_of(lane, lane_count=lane_count) for lane in lanes}
        self._make_link = make_link
        self._changed = changed
        self._lease_s = lease_s
        self._seconds = seconds
        self._held: dict[int, _Held] = {}
        self._links: dict[int, Link] = {}
        self.turned_s = monotonic()
        """When a round last began, by the monotonic clock."""

    @property
    def links(self) -> dict[int, Link]:
        """The links of the lanes held now, by lane."""
        return {lane: held.link for lane, held in self._held.copy().items()}

    def serving(self) -> list[int]:
        """The shards of lanes that are held and connected."""
        return [shard for shard, link in self._links.items() if link.connected]

    def link_of(self, shard: int) -> Link | None:
        """The link that serves a shard; None while this process does not."""
        return self._links.get(shard)

    def unserved_s(self, link: Link) -> float:
        """For how long nobody served the lane of a link that comes back just now."""
        served_s = [held.served_s for held in self._held.copy().values() if held.link is link]
        return self._seconds() - served_s[0] if served_s else 0.0

    def run(self, stop: Event) -> None:
        """Keep the lanes until `stop` is set; dropping them is `close`'s part."""
        while not stop.wait(min(ROUND_S, self._lease_s / ROUNDS_PER_LEASE)):
            try:
                self.keep()
            except Exception:
                log.exception("lanes_not_kept", owner=self._owner)

    def keep(self) -> None:
        """One round: drop the lanes that lapsed, take those that are free, renew those held, drop those lost."""
        self.turned_s = monotonic()
        self._look_over()
        lanes = tuple(self._shards)
        for position, lane in enumerate(lanes):
            try:
                held = self._held.get(lane)
                if held is None:
                    self._take(lane)
                else:
                    self._renew(lane, held)
            except _UNANSWERED as error:
                log.warning("lease_not_renewed", lane=lane, error=type(error).__name__)
                away = _has_no_connection(error)
                # Who waits for the same database lane by lane sees the last of them lapse meanwhile.
                unconfirmed = lanes[position:] if away else (lane,)
                self._drop([one for one in unconfirmed if self._was_cut(one)], why="cut")
                self._look_over()
                if away:
                    return

    def close(self) -> None:
        """Disconnect every lane and release its lease, so that another gateway need not wait."""
        lanes = list(self._held)
        self._drop(lanes, why="stopped")
        for lane in lanes:
            self._release(lane)
        self._conn.close()

    def _take(self, lane: int) -> None:
        asked_s = self._seconds()
        lease = self._ask(lambda conn: leases.take(conn, lane, self._owner, self._lease_s))
        if lease is None:
            return
        link = self._make_link(lane)
        # Known before it starts: it asks how long the lane was unserved.
        self._held[lane] = _Held(link, asked_s + self._lease_s, served_s=asked_s - lease.unserved_s)
        try:
            link.start()
        except (OSError, RuntimeError) as error:
            # No files to use, or no room for a thread: another gateway may do better, and our other lanes go on.
            log.exception("link_not_started", lane=lane, error=type(error).__name__)
            del self._held[lane]
            self._release(lane)
            return
        self._publish_links()
        log.info("lane_taken", lane=lane, owner=self._owner, unserved_s=round(lease.unserved_s, 1))

    def _renew(self, lane: int, held: _Held) -> None:
        asked_s = self._seconds()
        if self._ask(lambda conn: leases.renew(conn, lane, self._owner, self._lease_s)):
            held.confirmed(lapses_s=asked_s + self._lease_s)
        else:
            self._drop([lane], why="lost")

    def _release(self, lane: int) -> None:
        try:
            with self._conn.use(timeout_s=self._patience_s()) as conn:
                leases.release(conn, lane=lane, owner=self._owner)
        except _UNANSWERED as error:
            log.warning("lease_not_released", lane=lane, error=type(error).__name__)

    def _ask(self, question: Callable[[Connection], _Answer]) -> _Answer:
        """Ask the database, over another connection when the kept one has ended: a round later we count as dead."""
        try:
            with self._conn.use(timeout_s=self._patience_s()) as conn:
                return question(conn)
        except _UNANSWERED as error:
            if isinstance(error, PoolTimeout) or not _has_no_connection(error):
                raise
        with self._conn.use(timeout_s=self._patience_s()) as conn:
            return question(conn)

    def _patience_s(self) -> float:
        """How long a connection is waited for: never beyond the first lapse, so that it is seen when it comes."""
        now_s = self._seconds()
        left_s = [held.lapses_s - now_s for held in self._held.values()]
        return max(0.0, min([self._lease_s / ROUNDS_PER_LEASE, *left_s]))

    def _look_over(self) -> None:
        """See which links serve, and drop every lane whose lease may have lapsed."""
        now_s = self._seconds()
        for held in self._held.values():
            if held.link.connected:
                held.served_s = now_s
        self._drop([lane for lane, held in self._held.items() if now_s >= held.lapses_s], why="lapsed")

    def _was_cut(self, lane: int) -> bool:
        held = self._held.get(lane)
        return held is not None and held.was_cut

    def _drop(self, lanes: Iterable[int], *, why: str) -> None:
        dropped = {lane: self._held.pop(lane) for lane in lanes}
        if not dropped:
            return
        # Before the links stop, so that nobody publishes into one that is closing.
        self._publish_links()
        for held in dropped.values():
            held.link.leave()
        for lane, held in dropped.items():
            held.link.stop()
            log.info("lane_dropped", lane=lane, owner=self._owner, why=why)

    def _publish_links(self) -> None:
        self._links = {shard: held.link for lane, held in self._held.items() for shard in self._shards[lane]}
        self._changed()


def _has_no_connection(error: Error) -> bool:
    """Whether there is none any more, not one statement refused on it."""
    return error.sqlstate is None or error.sqlstate.startswith(_CONNECTION_ENDED)
