"""The grown table of `pileway bench growth`: a database of its own, piles on sites, days of charging in it."""

import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from charging import made_samples, piles, sites
from charging.made_samples import DAY, SAMPLES_PER_PORT_DAY, Curve
from charging.session_curves import SampleSpan
from charging.site_loads import LOCAL
from database import migrations, timescale
from database.pool import Connection
from database.timescale import Sizes, TimeSeries
from device_sim import battery
from pileway import home
from pileway.embedded_postgres import EmbeddedPostgres

MOST_DAYS = 30
PORTS = 10
PILES_PER_SITE = 20
COMPRESSED_AFTER = timedelta(days=7)
"""As the policy of the migrations has it."""
SPANS_A_DAY = 10
TABLES = ("meter_sample", "meter_frame")

Progress = Callable[[str, float], None]
"""Told what is being done, and which share of it is."""


@dataclass(frozen=True, kw_only=True)
class Grown:
    """What was made: so many samples up to `grown_at`, `spans` to read of them, sizes before and after compression."""

    plan: "Plan"
    grown_at: datetime
    samples: int
    spans: Sequence[SampleSpan]
    before: dict[str, Sizes]
    after: dict[str, Sizes]


@dataclass(frozen=True)
class Plan:
    """So many piles charging for so many days make about the samples that were asked for."""

    piles: int
    days: int

    @property
    def pile_ids(self) -> list[str]:
        """The piles by name."""
        return [f"GROWN-{number:06}" for number in range(self.piles)]

    @property
    def site_ids(self) -> list[str]:
        """Their sites by name."""
        return [site_of(number) for number in range(0, self.piles, PILES_PER_SITE)]


def plan(samples: int) -> Plan:
    """As many days as a month has and as many piles as it then takes; for few samples, one pile and fewer days."""
    a_pile_day = PORTS * SAMPLES_PER_PORT_DAY
    count = max(1, round(samples / (MOST_DAYS * a_pile_day)))
    return Plan(count, max(1, min(MOST_DAYS, round(samples / (count * a_pile_day)))))


def site_of(pile_number: int) -> str:
    """The site of the pile with this number."""
    return f"grown-{pile_number // PILES_PER_SITE:04}"


@contextmanager
def own_server(beside: Path) -> Generator[str]:
    """A PostgreSQL of our own in a folder beside the home, on the same disk; leaves nothing behind."""
    with TemporaryDirectory(prefix=".pileway-bench-", dir=beside) as name:
        folder = Path(name)
        folder.chmod(0o711)
        root = home.prepare(folder / "home")
        server = EmbeddedPostgres(
            folder=root / "postgres", secrets=root / "secrets", log_path=root / "log" / "postgres.log"
        )
        try:
            yield server.start()
        finally:
            server.stop()


@contextmanager
def own_database(server_dsn: str) -> Generator[tuple[str, TimeSeries]]:
    """A new, migrated database on that server; dropped in the end, whatever happened."""
    name = f"pileway_bench_growth_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_dsn, autocommit=True, connect_timeout=10) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield migrated(make_conninfo(server_dsn, dbname=name))
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def migrated(dsn: str) -> tuple[str, TimeSeries]:
    """The database with all migrations and without jobs that work beside a measurement."""
    series = migrations.migrate(dsn).time_series
    if series.version is not None:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=10) as conn:
            timescale.rest_jobs(conn)
    return dsn, series


def grown(conn: Connection, series: TimeSeries, plan: Plan, *, progress: Progress) -> Grown:
    """Grow an empty database as planned, up to its server's now."""
    now = _server_now(conn)
    with conn.transaction():
        lay_out(conn, plan, now=now)
    made, spans = grow(conn, plan, now=now, progress=progress)
    before = sizes(conn)
    settle(conn, series, progress=progress)
    return Grown(plan=plan, grown_at=now, samples=made, spans=spans, before=before, after=sizes(conn))


def lay_out(conn: Connection, plan: Plan, *, now: datetime) -> None:
    """Register the sites and piles."""
    for site_id in plan.site_ids:
        sites.add(conn, site_id=site_id, name=site_id, address="-", now=now)
    for number, pile_id in enumerate(plan.pile_ids):
        piles.register(
            conn,
            pile_id=pile_id,
            site_id=site_of(number),
            model="bench",
            port_count=PORTS,
            power_limit_w=10_000,
            now=now,
        )


def grow(conn: Connection, plan: Plan, *, now: datetime, progress: Progress) -> tuple[int, list[SampleSpan]]:
    """Fill the days up to now, each in a transaction of its own; gives the samples made and sessions to read again."""
    made_samples.prepare(conn, [_curve(pack) for pack in battery.PACKS])
    today = now.astimezone(LOCAL).replace(hour=0, minute=0, second=0, microsecond=0)
    spans: list[SampleSpan] = []
    made = 0
    for ago in range(plan.days - 1, -1, -1):
        progress(f"making samples: {made:,}", 1 - (ago + 1) / plan.days)
        with conn.transaction():
            made += made_samples.make_day(conn, plan.pile_ids, day=today - ago * DAY, until=now, ports=PORTS)
        if ago:
            spans += made_samples.long_sessions(conn, limit=SPANS_A_DAY)
    return made, spans


def settle(conn: Connection, series: TimeSeries, *, progress: Progress) -> None:
    """What a server does in time: compress old days, compute the aggregates, gather statistics."""
    if series.version is not None:
        for table in TABLES:
            done = 0
            while timescale.compress_next(conn, table, older_than=COMPRESSED_AFTER):
                done += 1
                progress(f"compressing {table}", done / MOST_DAYS)
        progress("computing the aggregates", 0.0)
        timescale.fill_aggregates(conn)
    progress("gathering statistics", 0.0)
    conn.execute("VACUUM (ANALYZE)")


def sizes(conn: Connection) -> dict[str, Sizes]:
    """What the meter's tables take on disk."""
    return {table: timescale.sizes(conn, table) for table in TABLES}


def _server_now(conn: Connection) -> datetime:
    row = conn.execute("SELECT statement_timestamp()").fetchone()
    assert row is not None, "a server has a clock"
    return row[0].replace(microsecond=0)


def _curve(pack: battery.Pack) -> Curve:
    return Curve(pack.start_w, pack.end_w, pack.cc_h, pack.tau_min, pack.cutoff_w, pack.rest_w)


def frames_of(plan: Plan, *, since: datetime, ticks: int) -> Sequence[tuple[str, datetime]]:
    """Pile and instant of the frames that come in next, as many ticks of all piles."""
    return [
        (pile_id, since + tick * timedelta(seconds=made_samples.SAMPLE_S))
        for tick in range(ticks)
        for pile_id in plan.pile_ids
    ]
