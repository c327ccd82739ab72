"""Where the ingest benchmark plays: its own parts, a fleet of charging piles, and the ways to the broker."""

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing.connection import Connection as Pipe

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from database import migrations
from pileway import composition, home
from pileway.bench import (
    child_processes,
    ingest_floors,
    installations,
    meter_fleet,
    publishing,
    served_gateway,
)
from pileway.bench.clients import Access
from pileway.bench.ingest_floors import FRAME_TABLE, SAMPLE_TABLE
from pileway.bench.installations import Say
from pileway.bench.meter_fleet import Fleet
from pileway.bench.processors import Reading
from pileway.bench.publishing import GO, Publish, Published
from pileway.bench.served_gateway import Stored
from pileway.errors import PilewayError
from pileway.settings import Settings

LANE_CLIENT = "gw-0"
FLOOR_CLIENT = "bench-floor"
SLOWEST_PER_S = 200
"""A gateway slower than this counts as standing still."""
GRACE_S = 60.0
BACK = timedelta(hours=1)
"""So long ago the first round was sampled, and later ones follow on it: frames of now, not of long ago."""
LATENCY_SHARE = 0.5

_LISTENERS = """
listener {plain_port} 127.0.0.1
allow_anonymous true

listener {tls_port} 127.0.0.1
cafile {{folder}}/service-ca.crt
certfile {{folder}}/server.crt
keyfile {{folder}}/server.key
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
allow_anonymous false
"""
"""For the load and the bare subscriber, which write and read every topic; made for this run and gone with it."""


class FramesMissing(PilewayError):
    """The database does not hold exactly what was sent."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one way to the broker gave: seconds, processors and memory by part, and each frame's way in ns.

    A way begins when the frame was due to leave.
    """

    frames: int
    copy_s: float
    subscriber_s: float
    gateway_s: float
    drain: dict[str, dict[str, float]]
    paced_per_s: float
    latencies_ns: Sequence[int]
    paced: dict[str, dict[str, float]]


@dataclass
class Stage:
    """Parts that run, and how many of the fleet's frames are used up."""

    settings: Settings
    fleet: Fleet
    floor_dsn: str
    """A database of the same tables that no gateway knows."""
    _access: dict[str, Access]
    _load: Pipe
    _parts: dict[int, str]
    _used: int = 0
    _copied: int = 0

    def measure(self, way: str, *, frames: int, seconds: float, say: Say) -> Measured:
        """Empty a backlog with the bare subscriber and with the gateway, then time frames at half of its speed.

        Half of the bare COPY comes right before the gateway and half right after: a machine changes its pace.
        """
        access = self._access[way]
        for client_id in (LANE_CLIENT, FLOOR_CLIENT):
            ingest_floors.keep_for(access, client_id)
        say(f"{way}: filling the broker")
        self._publish(Publish(access, self._next(frames)))
        say(f"{way}: bare subscriber")
        subscriber_s = self._subscribe(access, frames)
        say(f"{way}: bare COPY")
        copy_s = self._copy(frames // 2)
        say(f"{way}: gateway")
        settings = self.settings.with_values(broker_url=access.broker_url)
        log_path = settings.home / "log" / "gateway.log"
        with child_processes.start(served_gateway.serve, settings, log_path) as gateway:
            self._parts[child_processes.receive(gateway, "the gateway")] = "gateway"
            before = Reading.of(self._parts)
            drained = self._stored(gateway, frames)
            drain = Reading.of(self._parts).since(before)
            say(f"{way}: bare COPY again")
            copy_s += self._copy(frames - frames // 2)
            say(f"{way}: latency at half load")
            per_s = LATENCY_SHARE * frames / drained.seconds
            numbers = self._next(max(1, int(per_s * seconds)))
            self._load.send(Publish(access, numbers, per_s))
            self._sealed(len(numbers))
            before = Reading.of(self._parts)
            self._load.send(GO)
            arrived = self._stored(gateway, len(numbers))
            published: Published = self._published()
            paced = Reading.of(self._parts).since(before)
        return Measured(
            frames=frames,
            copy_s=copy_s,
            subscriber_s=subscriber_s,
            gateway_s=drained.seconds,
            drain=drain,
            paced_per_s=len(numbers) / published.seconds,
            latencies_ns=[arrived.at_ns[mark] - due_ns for mark, due_ns in published.due_ns.items()],
            paced=paced,
        )

    def check(self) -> None:
        """Every frame sent is stored with all its samples, and nothing else. Raises FramesMissing."""
        samples = sum(
            len(self.fleet.piles[number % len(self.fleet.piles)].session_ids) for number in range(self._used)
        )
        with psycopg.connect(composition.database_url(self.settings), connect_timeout=10) as conn:
            for table, sent in ((FRAME_TABLE, self._used), (SAMPLE_TABLE, samples)):
                count = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
                row = conn.execute(count).fetchone()
                if row is None or row[0] != sent:
                    raise FramesMissing(f"{table} holds {row and row[0]} rows, {sent} were sent")

    def _next(self, count: int) -> range:
        numbers = range(self._used, self._used + count)
        self._used += count
        return numbers

    def _copy(self, frames: int) -> float:
        numbers = range(self._copied, self._copied + frames)
        self._copied += frames
        return ingest_floors.bare_copy(self.floor_dsn, self.fleet, numbers)

    def _publish(self, wanted: Publish) -> None:
        self._load.send(wanted)
        self._published(limit_s=GRACE_S + len(wanted.numbers) / SLOWEST_PER_S)

    def _sealed(self, count: int) -> None:
        """Wait until the load only has to send: what comes before costs processor time of its own."""
        child_processes.receive(self._load, "the load", limit_s=GRACE_S + count / SLOWEST_PER_S)

    def _published(self, *, limit_s: float = GRACE_S) -> Published:
        return child_processes.receive(self._load, "the load", limit_s=limit_s)

    def _subscribe(self, access: Access, frames: int) -> float:
        log_path = self.settings.home / "log" / "subscriber.log"
        with child_processes.start(
            ingest_floors.serve_subscriber, access, FLOOR_CLIENT, frames, log_path
        ) as pipe:
            seconds = child_processes.receive(
                pipe, "the subscriber", limit_s=GRACE_S + frames / SLOWEST_PER_S
            )
        if seconds is None:
            raise FramesMissing("the bare subscriber did not get every frame")
        return seconds

    def _stored(self, gateway: Pipe, count: int) -> Stored:
        limit_s = GRACE_S + count / SLOWEST_PER_S
        gateway.send((count, limit_s))
        stored: Stored = child_processes.receive(gateway, "the gateway", limit_s=limit_s + GRACE_S)
        if stored.frames != count:
            raise FramesMissing(f"the gateway stored {stored.frames} of {count} frames")
        return stored


@contextmanager
def opened(settings: Settings, *, pile_count: int, port_count: int, say: Say) -> Generator[Stage]:
    """Run all of it in a folder beside the home and leave nothing behind. Raises PilewayError."""
    ports = {"plain_port": home.free_port(), "tls_port": home.free_port()}
    with ExitStack() as stack:
        running = stack.enter_context(
            installations.installed(settings, progress=say, broker_addition=_LISTENERS.format(**ports))
        )
        say("enrolling piles and opening sessions")
        fleet = meter_fleet.enrolled(running, pile_count=pile_count, port_count=port_count, back=BACK)
        access = installations.gateway_access(running)
        load = stack.enter_context(
            child_processes.start(publishing.serve, fleet, running.home / "log" / "load.log")
        )
        yield Stage(
            running,
            fleet,
            _second_database(running),
            {
                "tls": replace(access, broker_url=f"mqtts://127.0.0.1:{ports['tls_port']}"),
                "plain": replace(access, broker_url=f"mqtt://127.0.0.1:{ports['plain_port']}"),
            },
            load,
            {child_processes.receive(load, "the load"): "load"},
        )


def _second_database(settings: Settings) -> str:
    dsn = composition.database_url(settings)
    with psycopg.connect(dsn, autocommit=True, connect_timeout=10) as conn:
        conn.execute("CREATE DATABASE bench_floor")
    floor = make_conninfo(dsn, dbname="bench_floor")
    migrations.migrate(floor)
    return floor
