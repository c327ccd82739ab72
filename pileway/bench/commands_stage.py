"""Where a benchmark of commands plays: embedded parts, a gateway of several lanes, and piles that answer.

Database, broker, gateway and piles are processes of their own, as in production; only the load is made here.
"""

import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from uuid import UUID

from psycopg_pool import ConnectionPool

from charging import starts
from charging.waits import Waits
from database.pool import Connection, open_pool
from gateway import service
from gateway.service import Gateway
from pileway import composition, gateway_process, logs
from pileway.bench import child_processes, commands_piles, installations
from pileway.bench.clients import Access
from pileway.bench.commands_piles import ECHO_ID, PORT_COUNT, PileIdentity
from pileway.bench.installations import Say
from pileway.settings import Settings

PREPAID_FEN = 300

_SERVING = "gateway serves"


@dataclass(frozen=True)
class Target:
    """A pile and a session of its that a command can name."""

    pile_id: str
    session_id: UUID


@dataclass(frozen=True)
class Stage:
    """Everything runs and is connected."""

    settings: Settings
    targets: Sequence[Target]
    access: Access
    """The gateway's own way to the broker."""
    _piles: Pipe

    @property
    def dsn(self) -> str:
        """The database's address."""
        return composition.database_url(self.settings)

    def heard_ns(self) -> dict[UUID, int]:
        """When the piles first heard each command since the last question: monotonic nanoseconds."""
        self._piles.send(None)
        return child_processes.receive(self._piles, "the piles")


@contextmanager
def open_stage(settings: Settings, *, pile_count: int, lane_count: int, progress: Say) -> Generator[Stage]:
    """Run all of it in a folder beside the home, on the same disk, and leave nothing behind. Raises PilewayError."""
    with ExitStack() as stack:
        running = stack.enter_context(installations.installed(settings, progress=progress))
        progress(f"enrolling {pile_count} piles")
        pool = stack.enter_context(
            open_pool(
                composition.database_url(running),
                min_size=1,
                max_size=2,
                timeout_s=child_processes.READY_LIMIT_S,
            )
        )
        names = [f"BENCH-{number:04}" for number in range(pile_count)]
        identities = _identities(
            running, installations.provision(pool, running, names, port_count=PORT_COUNT)
        )
        progress("starting the gateway and connecting the piles")
        log_folder = running.home / "log"
        gateway = stack.enter_context(
            child_processes.start(_serve_gateway, running, lane_count, log_folder / "gateway.log")
        )
        child_processes.receive(gateway, "the gateway")
        echo = installations.access(running, installations.device_authority(running), ECHO_ID)
        answering = stack.enter_context(
            child_processes.start(commands_piles.serve, identities, echo, log_folder / "piles.log")
        )
        child_processes.receive(answering, "the piles")
        yield Stage(
            running,
            _open_sessions(pool, running, identities),
            installations.gateway_access(running),
            answering,
        )


def _identities(settings: Settings, secrets: Mapping[str, bytes]) -> list[PileIdentity]:
    authority = installations.device_authority(settings)
    return [
        PileIdentity(name, secret, installations.access(settings, authority, name))
        for name, secret in secrets.items()
    ]


def _open_sessions(
    pool: ConnectionPool[Connection], settings: Settings, identities: Sequence[PileIdentity]
) -> list[Target]:
    """One unpaid order a pile; what holds it open is that no worker runs here."""
    targets: list[Target] = []
    for identity in identities:
        with pool.connection() as conn:
            order = starts.order(
                conn,
                pile_id=identity.pile_id,
                port_no=1,
                amount_fen=PREPAID_FEN,
                rail="wechat_pay",
                waits=Waits(),
                now=settings.clock.now(),
            )
        targets.append(Target(identity.pile_id, order.session.session_id))
    return targets


def _serve_gateway(settings: Settings, lane_count: int, log_path: Path, pipe: Pipe) -> None:
    """The gateway as its own process runs it, with more lanes."""
    logs.set_up("gateway", to=log_path)
    stop = threading.Event()

    def wait_for_end() -> None:
        try:
            pipe.recv()
        except EOFError:
            stop.set()

    def ready(_: Gateway) -> None:
        pipe.send(_SERVING)

    threading.Thread(target=wait_for_end, name="pipe", daemon=True).start()
    with composition.pool(settings, max_size=gateway_process.CONNECTIONS) as pool:
        parts = gateway_process.parts(settings, pool)
        parts = replace(parts, lanes=range(lane_count), lane_count=lane_count)
        service.run(parts, stop=stop, watch=ready)
