"""The whole platform on one machine, as the demo and the acceptance tests run it."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from psycopg_pool import ConnectionPool
from pydantic import BaseModel

from database import migrations
from database.pool import Connection, open_pool
from device_sim import enrolment as sim_enrolment
from pileway import composition, embedded, home, street
from pileway.clock import Clock
from pileway.settings import Settings
from pileway.sim_process import FleetFile, FleetPile
from pileway.street import StreetSite
from pileway.supervisor import Supervisor
from pileway.telemetry.server import PORT_AFTER_FIRST

LOCAL_EVENING = timedelta(hours=9)
"""The first clock of a street starts at 17:00 in Shanghai, when riders come home: 09:00 UTC."""
CLOCK_MARGIN = timedelta(seconds=5)
"""Real time between two notes of the clock, with room: a killed demo goes on later, never earlier."""
POOL_WAIT_S = 15.0
PORTS = ("port", "payment_sim_port", "enrolment_port")
METRICS_PORTS_APART = 100
METRICS_PORTS_TRIED = 10
PROCESSES = ("payment-sim", "gateway", "api", "worker")

Progress = Callable[[str], None]


class _KeptClock(BaseModel):
    """The newest time the street's clock has shown."""

    shown: datetime


@dataclass(frozen=True)
class DemoPlatform:
    """A running platform with its street."""

    settings: Settings
    supervisor: Supervisor
    pool: ConnectionPool[Connection]
    migrated: migrations.MigrationReport
    fleet_path: Path

    @property
    def now(self) -> datetime:
        """The street's time."""
        return self.settings.clock.now()

    def enrolled(self, pile_id: str) -> bool:
        """Whether the simulated pile has its identity."""
        return sim_enrolment.is_enrolled(_memory(self.settings) / pile_id)

    def keep_clock(self) -> None:
        """Note the time, so that the next start goes on from here."""
        kept = _KeptClock(shown=self.now)
        home.write_private(_clock_path(self.settings.home), kept.model_dump_json().encode())


@contextmanager
def platform(
    settings: Settings,
    *,
    sites: Sequence[StreetSite] = street.STREET,
    start_at: datetime | None = None,
    deepest_discharge: float = 0.9,
    leave_early_share: float = 0.08,
    with_piles: bool = True,
    progress: Progress = lambda _: None,
) -> Generator[DemoPlatform]:
    """Run everything while the block runs: database, broker, rail, gateway, API, worker and the simulated piles.

    `start_at` sets the clock; without it the street's clock goes on where it stood. Without `with_piles` the caller
    runs the piles of `fleet_path`. Raises PilewayError.
    """
    chosen = settings.with_values(**_free_ports(settings))
    progress("starting PostgreSQL and Mosquitto")
    with embedded.installation(chosen) as installation:
        clock = _clock(installation.settings, start_at)
        complete = installation.settings.with_values(clock_anchor=clock.anchor, clock_start=clock.start)
        progress("migrating the database")
        dsn = composition.database_url(complete)
        migrated = migrations.migrate(dsn)
        with open_pool(dsn, min_size=1, max_size=4, timeout_s=POOL_WAIT_S) as pool:
            fleet = _lay_out(
                pool,
                complete,
                sites,
                deepest_discharge=deepest_discharge,
                leave_early_share=leave_early_share,
            )
            running = DemoPlatform(complete, installation.supervisor, pool, migrated, fleet)
            running.keep_clock()
            _start_processes(running, with_piles=with_piles, progress=progress)
            yield running
            running.keep_clock()


def _start_processes(running: DemoPlatform, *, with_piles: bool, progress: Progress) -> None:
    environment = running.settings.environment()
    processes = [(name, [name]) for name in PROCESSES]
    if with_piles:
        processes.append(("sim", ["sim", "--fleet", str(running.fleet_path)]))
    for name, arguments in processes:
        progress(f"starting {name}")
        running.supervisor.add_process(name, arguments, environment)


def _lay_out(
    pool: ConnectionPool[Connection],
    settings: Settings,
    sites: Sequence[StreetSite],
    *,
    deepest_discharge: float,
    leave_early_share: float,
) -> Path:
    memory = _memory(settings)
    with pool.connection() as conn:
        claims = street.lay_out(
            conn,
            sites=sites,
            enrolled=lambda pile_id: sim_enrolment.is_enrolled(memory / pile_id),
            now=settings.clock.now(),
        )
    assert settings.server_certificate_path is not None, "the installation made one"
    fleet = FleetFile(
        enrolment_url=f"https://{settings.reachable_host}:{settings.enrolment_port}/device/v1/enroll",
        enrolment_ca=settings.home / "secrets" / "service-ca.crt",
        memory=memory,
        firmware_key=settings.firmware_public_key_path,
        deepest_discharge=deepest_discharge,
        leave_early_share=leave_early_share,
        piles=tuple(
            FleetPile(
                pile_id=claim.pile_id,
                port_count=claim.port_count,
                model=f"PW-{claim.port_count}",
                claim_code=claim.code,
                seed=number,
            )
            for number, claim in enumerate(claims)
        ),
    )
    path = settings.home / "fleet.json"
    home.write_private(path, fleet.model_dump_json(indent=2).encode())
    return path


def _clock(settings: Settings, start_at: datetime | None) -> Clock:
    anchor = datetime.now(UTC)
    return Clock(
        speed=settings.clock_speed,
        anchor=anchor,
        start=start_at or _kept_start(settings) or _first_start(anchor),
    )


def _kept_start(settings: Settings) -> datetime | None:
    path = _clock_path(settings.home)
    if not path.exists():
        return None
    kept = _KeptClock.model_validate_json(path.read_bytes())
    return kept.shown + CLOCK_MARGIN * settings.clock_speed


def _first_start(anchor: datetime) -> datetime:
    midnight = anchor.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + LOCAL_EVENING


def _memory(settings: Settings) -> Path:
    return settings.home / "sim"


def _clock_path(folder: Path) -> Path:
    return folder / "clock.json"


def _free_ports(settings: Settings) -> dict[str, int]:
    """Ports nobody asked for by name make way when somebody else has them."""
    chosen: dict[str, int] = {}
    for name in PORTS:
        if name not in settings.model_fields_set and not home.port_is_free(getattr(settings, name)):
            chosen[name] = home.free_port()
    if "metrics_port" not in settings.model_fields_set:
        chosen["metrics_port"] = _free_metrics_port(settings)
    return chosen


def _free_metrics_port(settings: Settings) -> int:
    """The first of ports in a row that are free; 0, which shows nothing, if there are none."""
    for number in range(METRICS_PORTS_TRIED):
        port = settings.metrics_port + number * METRICS_PORTS_APART
        if all(home.port_is_free(port + after) for after in PORT_AFTER_FIRST.values()):
            return port
    return 0
