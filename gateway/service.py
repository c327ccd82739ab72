"""The gateway as a process: lanes, links, writer and outbox put together.

Threads: one per link, which enqueues frames, drops those of a flood, and says what others leave with it; the reader
ahead and the writer; the outbox; the warden; the keeper of the leases. A stop lets the writer store what has arrived
and the outbox answer it, then disconnects.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event, Thread

import structlog
from psycopg_pool import ConnectionPool

from charging.enrolment import SecretVault
from charging.waits import Waits
from database.pool import Connection
from gateway import flood_guard, interpreter, lanes
from gateway.broker_address import BrokerAddress
from gateway.doorman import Doorman
from gateway.downlink import Downlink
from gateway.flood_guard import FloodLimits
from gateway.inbound import Inbound
from gateway.lanes import LEASE_S, Lanes
from gateway.link import Frame, Link, LinkHealth, LinkLimits, TlsFiles
from gateway.measures import Measures, Tracing
from gateway.outbox import Outbox, OutboxHealth
from gateway.pile_registry import PileRegistry
from gateway.replay_window import ReplayWindow
from gateway.sample_batch import BatchLimits, SampleBatch
from gateway.warden import Warden, WardenHealth
from gateway.writer import Writer, WriterHealth
from protocol import topics
from protocol.topics import Direction

SPARE_FRAMES = 1000
"""Room beyond what the links may have open: frames sent at QoS 0, which no receive maximum bounds."""
STOP_TIMEOUT_S = 10.0

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class GatewayParts:
    """Everything a gateway is made of.

    `listen_dsn` is the database by its own address, for LISTEN; `owner` names the process uniquely; `waits` are
    already scaled to the clock, and `speed` is how many clock seconds pass in a real one.
    """

    pool: ConnectionPool[Connection]
    listen_dsn: str
    broker_url: str
    tls: TlsFiles
    vault: SecretVault
    owner: str
    clock: Callable[[], datetime]
    waits: Waits
    speed: float = 1.0
    lanes: Sequence[int] = (0,)
    lane_count: int = 1
    lease_s: float = LEASE_S
    link_limits: LinkLimits = field(default_factory=LinkLimits)
    batch_limits: BatchLimits = field(default_factory=BatchLimits)
    flood_limits: FloodLimits = field(default_factory=FloodLimits)
    tracing: Tracing | None = None


@dataclass(frozen=True)
class GatewayHealth:
    """A look at a running gateway; `turned_s` is when each of its loops last turned, by the monotonic clock."""

    links: dict[int, LinkHealth]
    writer: WriterHealth
    outbox: OutboxHealth
    warden: WardenHealth
    waiting_frames: int
    waiting_messages: int
    turned_s: dict[str, float]

    @property
    def ready(self) -> bool:
        """Whether every held lane is connected and the database answers."""
        connected = all(link.connected for link in self.links.values())
        return bool(self.links) and connected and not self.writer.database_away


class Gateway:
    """A gateway's threads; `run` uses it, tests start and stop it."""

    def __init__(self, parts: GatewayParts) -> None:
        self._parts = parts
        self._stop_keeper = Event()
        self._stop_writer = Event()
        self._stop_outbox = Event()
        self._stop_warden = Event()
        self.measures = Measures(clock=parts.clock, speed=parts.speed, tracing=parts.tracing)
        self._batch = SampleBatch(
            limits=parts.batch_limits,
            capacity_frames=parts.link_limits.receive_maximum * len(parts.lanes) + SPARE_FRAMES,
            held_up=self._held_up,
        )
        self.lanes = Lanes(
            pool=parts.pool,
            owner=parts.owner,
            lanes=parts.lanes,
            lane_count=parts.lane_count,
            make_link=self._make_link,
            changed=self._lanes_changed,
            lease_s=parts.lease_s,
        )
        self.outbox = Outbox(
            pool=parts.pool,
            listen_dsn=parts.listen_dsn,
            downlink=Downlink(pool=parts.pool, vault=parts.vault, link_of=self.lanes.link_of),
            shards=self.lanes,
            clock=parts.clock,
            speed=parts.speed,
            resend=parts.waits.resend,
            measures=self.measures,
            stop=self._stop_outbox,
        )
        self.warden = Warden(
            pool=parts.pool,
            doorman=Doorman(broker_url=parts.broker_url, tls=parts.tls),
            flood_limits=parts.flood_limits,
            clock=parts.clock,
            episode=parts.waits.identity_episode,
            stop=self._stop_warden,
        )
        self._writer = Writer(
            pool=parts.pool,
            batch=self._batch,
            inbound=Inbound(
                registry=PileRegistry(vault=parts.vault),
                window=ReplayWindow(),
                wards=self.warden,
                waits=parts.waits,
            ),
            replies=self.outbox,
            measures=self.measures,
            stop=self._stop_writer,
        )
        self._writer_thread = Thread(target=self._writer.run, name="writer")
        self._outbox_thread = Thread(target=self.outbox.run, name="outbox")
        self._warden_thread = Thread(target=self.warden.run, name="warden")
        self._keeper_thread = Thread(target=self.lanes.run, args=(self._stop_keeper,), name="keeper")

    @property
    def wanted_lanes(self) -> Sequence[int]:
        """The lanes this gateway is to serve whenever no other does."""
        return self._parts.lanes

    @property
    def health(self) -> GatewayHealth:
        """Counters and states as they are now."""
        writer, outbox, warden = self._writer.health, self.outbox.health, self.warden.health
        return GatewayHealth(
            links={lane: link.health for lane, link in self.lanes.links.items()},
            writer=writer,
            outbox=outbox,
            warden=warden,
            waiting_frames=len(self._batch) + self._writer.waiting_frames,
            waiting_messages=self.outbox.waiting,
            turned_s={
                **self._writer.turned_s,
                "outbox": outbox.turned_s,
                "warden": warden.turned_s,
                "keeper": self.lanes.turned_s,
            },
        )

    def start(self) -> None:
        """Take the lanes that are free and start the threads. Raises OSError for unusable TLS files."""
        if BrokerAddress.parse(self._parts.broker_url).encrypted:
            # A running gateway gives a lane back over this; one that begins with it would serve none.
            self._parts.tls.context()
        self.lanes.keep()
        self._writer_thread.start()
        self._outbox_thread.start()
        self._warden_thread.start()
        self._keeper_thread.start()

    def stop(self) -> None:
        """Store and answer what has arrived, then disconnect and release the lanes."""
        self._batch.close()
        self._stop_writer.set()
        self._writer_thread.join(STOP_TIMEOUT_S)
        self._stop_outbox.set()
        self.outbox.ring()
        self._outbox_thread.join(STOP_TIMEOUT_S)
        self._stop_warden.set()
        self._warden_thread.join(STOP_TIMEOUT_S)
        self._stop_keeper.set()
        self._keeper_thread.join(STOP_TIMEOUT_S)
        self.lanes.close()

    def _make_link(self, lane: int) -> Link:
        parts = self._parts
        shards = lanes.shards_of(lane, lane_count=parts.lane_count)
        return Link(
            client_id=lanes.client_id(lane),
            broker_url=parts.broker_url,
            tls=parts.tls,
            topic_filters=[topics.subscription(Direction.UP, shard=shard) for shard in shards],
            limits=parts.link_limits,
            clock=parts.clock,
            deliver=self._deliver,
            resumed=self._resumed,
        )

    def _deliver(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        """Called in a link's thread: a pile that floods is dropped at the door, and the broker is told it is done."""
        admits = self.warden.guard.admits
        admitted: list[Frame] = []
        dropped: list[Frame] = []
        for frame in frames:
            (admitted if admits(flood_guard.pile_of(frame.topic)) else dropped).append(frame)
        if dropped:
            dropped[0].link.ack(dropped)
        return self._batch.put_many(admitted)

    def _resumed(self, link: Link, generation: int) -> None:
        self.warden.guard.catching_up(self.lanes.unserved_s(link))
        self._batch.forget_unacknowledged(link, generation)

    def _held_up(self, busy_s: float) -> None:
        self.warden.guard.catching_up(busy_s)

    def _lanes_changed(self) -> None:
        self.outbox.lanes_changed()


def run(parts: GatewayParts, *, stop: Event, watch: Callable[[Gateway], None] | None = None) -> None:
    """Serve until `stop` is set. `watch` is given the running gateway, for metrics of its health."""
    gateway = Gateway(parts)
    gateway.start()
    interpreter.settle()
    log.info("gateway_started", owner=parts.owner, lanes=list(parts.lanes))
    try:
        if watch is not None:
            watch(gateway)
        stop.wait()
    finally:
        gateway.stop()
        log.info("gateway_stopped", owner=parts.owner)
