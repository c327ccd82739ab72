"""`pileway bench growth`: what a large table costs those who write to it and those who read from it.

The same batches go into the empty table and into the grown one; sessions of twelve hours and days of a site are read
from the grown one. The samples are made by the server itself, day by day, from the simulated batteries' curves.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from time import perf_counter_ns
from uuid import UUID

import psycopg
from rich.console import Console
from rich.table import Table

from charging import made_samples, meter, session_curves, site_loads
from charging.made_samples import SAMPLE_S
from charging.meter_frames import MeterFrame, PortSample
from charging.session_curves import SampleSpan
from charging.site_loads import LOCAL
from database.pool import Connection
from database.timescale import TimeSeries
from pileway import home
from pileway.bench import growth_kept, growth_table
from pileway.bench.figures import percentile_ms, progress_bar
from pileway.bench.growth_table import PORTS, Grown, Plan, Progress
from pileway.settings import Settings

FRAMES_A_BATCH = 200
MOST_BATCHES = 60
SAMPLES_A_BATCH = 100_000
"""For so many in the table one batch more is written, up to the most; a sixth of them before, to warm up."""
MOST_READS = 200
SAMPLES_A_READ = 1_000
CURVE_POINTS = 300
_CHOICE_SEED = 4


@dataclass(frozen=True, kw_only=True)
class Growth:
    """What was measured; reads in nanoseconds each, in the order they were made."""

    grown: Grown
    series: TimeSeries
    empty_samples_per_s: float
    grown_samples_per_s: float
    curves_ns: Sequence[int]
    points: int
    site_days_ns: Sequence[int]
    todays_ns: Sequence[int]

    def figures(self) -> dict[str, object]:
        """By the names they have in JSON."""
        return {
            "samples": self.grown.samples,
            "days": self.grown.plan.days,
            "piles": self.grown.plan.piles,
            "timescaledb": self.series.version,
            "empty_samples_per_s": round(self.empty_samples_per_s),
            "grown_samples_per_s": round(self.grown_samples_per_s),
            "ratio_to_empty": round(self.grown_samples_per_s / self.empty_samples_per_s, 3),
            "curve_ms_p50": percentile_ms(self.curves_ns, 50),
            "curve_ms_p95": percentile_ms(self.curves_ns, 95),
            "curve_points": self.points,
            "site_day_ms_p50": percentile_ms(self.site_days_ns, 50),
            "site_day_ms_p95": percentile_ms(self.site_days_ns, 95),
            "site_today_ms_p50": percentile_ms(self.todays_ns, 50),
            "site_today_ms_p95": percentile_ms(self.todays_ns, 95),
            "bytes_before": {table: size.total_bytes for table, size in self.grown.before.items()},
            "bytes_after": {table: size.total_bytes for table, size in self.grown.after.items()},
            "index_bytes_before": {table: size.index_bytes for table, size in self.grown.before.items()},
            "processors": os.cpu_count(),
        }


def run(settings: Settings, *, samples: int, server_dsn: str | None, keep: str | None, as_json: bool) -> None:
    """Make so many samples on a server of our own, or in a new database of the one given; measure, print, clean up.

    With `keep` the database has that name on the server given and stays; grown before, it is only measured again.
    Raises PilewayError.
    """
    with progress_bar() as bar:
        task = bar.add_task("starting", total=1.0)

        def progress(words: str, share: float) -> None:
            bar.update(task, description=words, completed=share)

        if server_dsn is not None:
            growth = _measure(server_dsn, samples, keep, progress)
        else:
            with growth_table.own_server(home.prepare(settings.home).parent) as own_dsn:
                growth = _measure(own_dsn, samples, None, progress)
    console = Console(highlight=False)
    console.print(_table(growth))
    console.print(growth.series.words)
    if as_json:
        print(json.dumps(growth.figures()))


def _measure(server_dsn: str, samples: int, keep: str | None, progress: Progress) -> Growth:
    with (
        growth_kept.database(server_dsn, keep) if keep else growth_table.own_database(server_dsn) as (
            dsn,
            series,
        ),
        growth_table.own_database(server_dsn) as (empty_dsn, _),
        psycopg.connect(dsn, autocommit=True, connect_timeout=10) as conn,
        psycopg.connect(empty_dsn, autocommit=True, connect_timeout=10) as empty,
    ):
        grown = growth_kept.recall(conn)
        if grown is None:
            grown = growth_table.grown(conn, series, growth_table.plan(samples), progress=progress)
            growth_kept.note(conn, grown)
        plan = grown.plan
        progress("reading", 0.0)
        reads = max(10, min(MOST_READS, grown.samples // SAMPLES_A_READ))
        points, curves_ns = _read_curves(conn, grown.spans, reads=reads)
        closed_ns, todays_ns = (
            _read_days(conn, plan, now=grown.grown_at, ago=ago, reads=reads)
            for ago in (range(1, max(2, plan.days)), range(1))
        )
        progress("writing into both tables", 0.0)
        since = made_samples.newest_at(conn, since=grown.grown_at) + timedelta(seconds=SAMPLE_S)
        empty_per_s, grown_per_s = _write((empty, conn), _batches(plan, grown.samples, since=since))
        return Growth(
            grown=grown,
            series=series,
            empty_samples_per_s=empty_per_s,
            grown_samples_per_s=grown_per_s,
            curves_ns=curves_ns,
            points=points,
            site_days_ns=closed_ns,
            todays_ns=todays_ns,
        )


def _batches(plan: Plan, samples: int, *, since: datetime) -> list[list[MeterFrame]]:
    """The next frames of all piles in turn, as many as are written."""
    wanted = FRAMES_A_BATCH * max(3, min(MOST_BATCHES, samples // SAMPLES_A_BATCH))
    places = growth_table.frames_of(plan, since=since, ticks=-(-wanted // plan.piles))[:wanted]
    frames = [_frame(pile_id, at) for pile_id, at in places]
    return [frames[first : first + FRAMES_A_BATCH] for first in range(0, wanted, FRAMES_A_BATCH)]


def _frame(pile_id: str, at: datetime) -> MeterFrame:
    sessions = Random(pile_id)  # noqa: S311 - a choice, not a secret
    return MeterFrame(
        pile_id=pile_id,
        sampled_at=at,
        received_at=at + timedelta(milliseconds=350),
        samples=[
            PortSample(
                session_id=UUID(int=sessions.getrandbits(128)),
                port_no=port_no,
                elapsed_s=3600,
                voltage_dv=2304,
                current_ma=1300 + port_no,
                power_dw=2400,
                power_min_dw=2390,
                power_max_dw=2411,
                power_mean_dw=2400,
                power_factor_milli=604,
                energy_dwh=2400,
                temperature_dc=310,
                phase=0,
                window_s=SAMPLE_S,
            )
            for port_no in range(1, PORTS + 1)
        ],
    )


def _write(conns: Sequence[Connection], batches: Sequence[Sequence[MeterFrame]]) -> list[float]:
    """Samples a second into each, with a durable commit a batch, the first sixth not counted.

    Batch by batch in turn: what else the machine does slows all alike.
    """
    spent_ns, written = [0] * len(conns), [0] * len(conns)
    for place, batch in enumerate(batches):
        for number, conn in enumerate(conns):
            begun_ns = perf_counter_ns()
            with conn.transaction():
                samples = meter.write_batch(conn, batch).samples
            if place >= len(batches) // 6:
                spent_ns[number] += perf_counter_ns() - begun_ns
                written[number] += samples
    return [count / ns * 1e9 for count, ns in zip(written, spent_ns, strict=True)]


def _read_curves(conn: Connection, spans: Sequence[SampleSpan], *, reads: int) -> tuple[int, list[int]]:
    """Times, and how many samples the first curve stands on."""
    if not spans:
        return 0, []
    points = len(session_curves.curve(conn, spans[0], most_points=100_000))
    chosen = Random(_CHOICE_SEED).choices(spans, k=reads)  # noqa: S311 - a choice, not a secret
    return points, [
        _timed(lambda span=span: session_curves.curve(conn, span, most_points=CURVE_POINTS))
        for span in chosen
    ]


def _read_days(conn: Connection, plan: Plan, *, now: datetime, ago: range, reads: int) -> list[int]:
    chance = Random(_CHOICE_SEED)  # noqa: S311 - a choice, not a secret
    today = now.astimezone(LOCAL).date()
    chosen = [
        (chance.choice(plan.site_ids), today - timedelta(days=chance.choice(ago))) for _ in range(reads)
    ]
    return [
        _timed(lambda place=place: site_loads.of_day(conn, site_id=place[0], day=place[1]))
        for place in chosen
    ]


def _timed(read: Callable[[], object]) -> int:
    begun_ns = perf_counter_ns()
    read()
    return perf_counter_ns() - begun_ns


def _table(growth: Growth) -> Table:
    table = Table(
        title=f"{growth.grown.samples:,} samples of {growth.grown.plan.piles} piles in {growth.grown.plan.days} days"
    )
    for heading in ("", "", ""):
        table.add_column(heading, justify="left" if not table.columns else "right")
    ratio = growth.grown_samples_per_s / growth.empty_samples_per_s
    table.add_row("samples/s into the empty table", f"{growth.empty_samples_per_s:,.0f}", "")
    table.add_row("samples/s into the grown table", f"{growth.grown_samples_per_s:,.0f}", f"x {ratio:.2f}")
    table.add_row("ms to read", "p50", "p95")
    for words, times in (
        (f"a curve of 12 h ({growth.points} samples)", growth.curves_ns),
        ("a site's day", growth.site_days_ns),
        ("a site's day so far", growth.todays_ns),
    ):
        table.add_row(words, f"{percentile_ms(times, 50):.1f}", f"{percentile_ms(times, 95):.1f}")
    compressed = growth.series.version is not None
    table.add_row("MB on disk", "at first", "days older than 7 compressed" if compressed else "")
    for name, before in growth.grown.before.items():
        after = f"{growth.grown.after[name].total_bytes / 1e6:,.1f}" if compressed else ""
        table.add_row(name, f"{before.total_bytes / 1e6:,.1f}", after)
    return table
