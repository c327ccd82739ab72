"""Where a benchmark of commands plays: embedded parts, a gateway of several lanes, and piles that answer.

Database, broker, gateway and piles are processes of their own, as in production; only the load is made here.
"""

import hashlib
import multiprocessing
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg_pool import ConnectionPool

from charging import enrolment, starts
from charging.waits import Waits
from database import migrations
from database.pool import Connection, open_pool
from gateway import service
from gateway.service import Gateway
from pileway import bench_piles, certificates, composition, embedded, gateway_process, home, logs, street
from pileway.bench_clients import Access
from pileway.bench_piles import ECHO_ID, PORT_COUNT, PileIdentity
from pileway.certificates import Authority
from pileway.errors import NotReady, SettingsInvalid
from pileway.settings import Settings, required

READY_LIMIT_S = 60.0
STOP_LIMIT_S = 20.0
PREPAID_FEN = 300
BENCH_FRAMES_PER_S = 10_000

Progress = Callable[[str], None]

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
        return _receive(self._piles, "the piles")


def refuse_foreign_parts(settings: Settings) -> None:
    """Raises SettingsInvalid when the settings name servers: a benchmark fills only what it makes itself."""
    for name in ("database_url", "broker_url"):
        if getattr(settings, name) is not None:
            raise SettingsInvalid(
                f"PILEWAY_{name.upper()}", "must not be set: the benchmark runs its own parts"
            )


@contextmanager
def open_stage(
    settings: Settings, *, pile_count: int, lane_count: int, progress: Progress
) -> Generator[Stage]:
    """Run all of it in a folder beside the home, on the same disk, and leave nothing behind. Raises PilewayError."""
    beside = home.prepare(settings.home).parent
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".pileway-bench-", dir=beside)))
        folder.chmod(0o711)
        progress("starting PostgreSQL and Mosquitto")
        own = settings.with_values(
            home=folder / "home",
            payment_sim_port=home.free_port(),
            clock_speed=1.0,
            # A few piles are to answer more than any pile on a street has to say.
            flood_frames_per_s=BENCH_FRAMES_PER_S,
        )
        running = stack.enter_context(embedded.installation(own)).settings
        migrations.migrate(composition.database_url(running))
        progress(f"enrolling {pile_count} piles")
        pool = stack.enter_context(
            open_pool(composition.database_url(running), min_size=1, max_size=2, timeout_s=READY_LIMIT_S)
        )
        identities = _enrol(pool, running, pile_count)
        progress("starting the gateway and connecting the piles")
        log_folder = running.home / "log"
        gateway = stack.enter_context(
            _process(_serve_gateway, running, lane_count, log_folder / "gateway.log")
        )
        _receive(gateway, "the gateway")
        echo = _access(running, _authority(running), ECHO_ID)
        answering = stack.enter_context(
            _process(bench_piles.serve, identities, echo, log_folder / "piles.log")
        )
        _receive(answering, "the piles")
        yield Stage(running, _open_sessions(pool, running, identities), _gateway_access(running), answering)


def _enrol(pool: ConnectionPool[Connection], settings: Settings, count: int) -> list[PileIdentity]:
    authority = _authority(settings)
    names = [f"BENCH-{number:04}" for number in range(count)]
    site = replace(street.STREET[0], piles=dict.fromkeys(names, PORT_COUNT))
    now = settings.clock.now()
    identities: list[PileIdentity] = []
    with pool.connection() as conn:
        street.lay_out(conn, sites=[site], enrolled=lambda _: True, now=now)
        for name in names:
            secret = hashlib.sha256(name.encode()).digest()
            enrolment.provision(
                conn,
                composition.vault(settings),
                pile_id=name,
                secret=secret,
                certificate_serial=name,
                certificate_expires_at=now + timedelta(days=1),
                now=now,
            )
            identities.append(PileIdentity(name, secret, _access(settings, authority, name)))
    return identities


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


def _authority(settings: Settings) -> Authority:
    return certificates.load_or_create_authority(settings.home / "secrets", "device-ca")


def _access(settings: Settings, authority: Authority, name: str) -> Access:
    identity = certificates.issue_client(authority, name)
    folder = home.private_folder(settings.home / "bench")
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    home.write_private(certificate, identity.certificate_pem)
    home.write_private(key, identity.key_pem)
    return Access(
        broker_url=required(settings.device_broker_url, "PILEWAY_DEVICE_BROKER_URL"),
        broker_ca=required(settings.broker_ca_path, "PILEWAY_BROKER_CA_PATH"),
        certificate=certificate,
        key=key,
    )


def _gateway_access(settings: Settings) -> Access:
    return Access(
        broker_url=required(settings.broker_url, "PILEWAY_BROKER_URL"),
        broker_ca=required(settings.broker_ca_path, "PILEWAY_BROKER_CA_PATH"),
        certificate=required(settings.gateway_certificate_path, "PILEWAY_GATEWAY_CERTIFICATE_PATH"),
        key=required(settings.gateway_key_path, "PILEWAY_GATEWAY_KEY_PATH"),
    )


@contextmanager
def _process(serve: Callable[..., None], *arguments: object) -> Generator[Pipe]:
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


def _receive(pipe: Pipe, who: str) -> Any:
    try:
        if pipe.poll(READY_LIMIT_S):
            return pipe.recv()
    except EOFError:
        pass
    raise NotReady(f"{who} did not answer within {READY_LIMIT_S:.0f} s")


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
