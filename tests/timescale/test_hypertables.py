"""On a server with TimescaleDB the same names are hypertables and continuous aggregates."""

from datetime import UTC, datetime, time, timedelta
from uuid import UUID, uuid4

from charging import meter, session_curves
from charging.session_curves import SampleSpan
from charging.site_loads import LOCAL
from database import migrations
from database.pool import Connection
from tests import meter_frames

MIDNIGHT_SHANGHAI = datetime(2026, 5, 4, 16, tzinfo=UTC)
NEXT_MIDNIGHT = datetime.combine(datetime.now(LOCAL).date() + timedelta(days=1), time(), LOCAL)
"""In Shanghai; no refresh gets so far."""
LONG_AGO = datetime.now(UTC) - timedelta(days=40)


def _write(conn: Connection, *, pile_id: str, session_id: UUID, since: datetime, count: int) -> meter.Written:
    meter_frames.register(conn, pile_id)
    frames = meter_frames.steady(pile_id=pile_id, session_id=session_id, since=since, count=count)
    with conn.transaction():
        return meter.write_batch(conn, frames, takes_copy=False)


def _span(session_id: UUID, pile_id: str, since: datetime) -> SampleSpan:
    return SampleSpan(session_id, pile_id, since=since, until=since + timedelta(hours=12))


def _run_policies(conn: Connection, kind: str) -> None:
    """Run the background jobs of one kind now; the test server has no scheduler of its own."""
    jobs = conn.execute(
        "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = %(kind)s ORDER BY job_id",
        {"kind": kind},
    ).fetchall()
    assert jobs
    for (job_id,) in jobs:
        conn.execute("CALL run_job(%(job_id)s)", {"job_id": job_id})


def test_migration_says_that_it_found_timescaledb(report: migrations.MigrationReport) -> None:
    assert report.time_series.version is not None
    assert "timescale/0001_hypertables" in report.applied
    assert not any(name.startswith("plain/") for name in report.applied)


def test_meter_tables_are_hypertables_of_day_chunks(timescale: Connection) -> None:
    rows = timescale.execute(
        "SELECT hypertable_name, time_interval FROM timescaledb_information.dimensions ORDER BY 1"
    ).fetchall()
    found = {name: interval for name, interval in rows if not name.startswith("_")}
    assert found == dict.fromkeys(
        ("meter_frame", "meter_sample", "pile_event", "pile_telemetry"), timedelta(days=1)
    )


def test_replayed_frames_add_nothing(timescale: Connection) -> None:
    session_id = uuid4()
    first = _write(timescale, pile_id="replayed", session_id=session_id, since=MIDNIGHT_SHANGHAI, count=20)
    again = _write(timescale, pile_id="replayed", session_id=session_id, since=MIDNIGHT_SHANGHAI, count=25)
    assert (first.frames, first.samples) == (20, 20)
    assert (again.frames, again.samples) == (5, 5)


def test_hour_and_day_tell_the_newest_samples_at_once(timescale: Connection) -> None:
    _write(timescale, pile_id="real-time", session_id=uuid4(), since=NEXT_MIDNIGHT, count=180)
    hours = timescale.execute(
        """
        SELECT hour, energy_dws, busy_s, peak_dw, samples
          FROM port_load_hour WHERE pile_id = 'real-time' ORDER BY hour
        """
    ).fetchall()
    days = timescale.execute(
        "SELECT day, energy_dws, busy_s, peak_dw, samples FROM pile_load_day WHERE pile_id = 'real-time'"
    ).fetchall()
    assert hours == [
        (NEXT_MIDNIGHT, 2_400 * 3_600, 3_600, 2_410, 120),
        (NEXT_MIDNIGHT + timedelta(hours=1), 2_400 * 1_800, 1_800, 2_410, 60),
    ]
    assert days == [(NEXT_MIDNIGHT, 2_400 * 5_400, 5_400, 2_410, 180)]


def test_samples_that_arrive_after_a_refresh_are_counted_by_the_next(timescale: Connection) -> None:
    session_id = uuid4()
    hour = LONG_AGO.replace(minute=0, second=0, microsecond=0)
    _write(timescale, pile_id="offline", session_id=session_id, since=hour, count=10)
    _run_policies(timescale, "policy_refresh_continuous_aggregate")
    _write(timescale, pile_id="offline", session_id=session_id, since=hour + timedelta(minutes=30), count=10)
    _run_policies(timescale, "policy_refresh_continuous_aggregate")
    samples = timescale.execute(
        "SELECT sum(samples) FROM port_load_hour WHERE pile_id = 'offline'"
    ).fetchone()
    by_day = timescale.execute("SELECT sum(samples) FROM pile_load_day WHERE pile_id = 'offline'").fetchone()
    assert samples == by_day == (20,)


def test_old_chunks_are_compressed_and_still_read_and_deduplicated(timescale: Connection) -> None:
    session_id = uuid4()
    _write(timescale, pile_id="compressed", session_id=session_id, since=LONG_AGO, count=50)
    span = _span(session_id, "compressed", LONG_AGO)
    before = session_curves.curve(timescale, span, most_points=100)
    _run_policies(timescale, "policy_compression")
    assert timescale.execute(
        """
        SELECT bool_and(is_compressed) FROM timescaledb_information.chunks
         WHERE hypertable_name = 'meter_sample' AND range_end < now() - INTERVAL '8 days'
        """
    ).fetchone() == (True,)
    again = _write(timescale, pile_id="compressed", session_id=session_id, since=LONG_AGO, count=51)
    assert again.frames == 1
    assert session_curves.curve(timescale, span, most_points=100)[:50] == before
    assert session_curves.slots(timescale, span)


def test_retention_drops_what_is_older_than_two_years(timescale: Connection) -> None:
    session_id = uuid4()
    long_gone = datetime.now(UTC) - timedelta(days=800)
    _write(timescale, pile_id="forgotten", session_id=session_id, since=long_gone, count=5)
    _run_policies(timescale, "policy_retention")
    span = _span(session_id, "forgotten", long_gone)
    assert session_curves.curve(timescale, span, most_points=10) == []
    frames = timescale.execute("SELECT count(*) FROM meter_frame WHERE pile_id = 'forgotten'").fetchone()
    assert frames == (0,)
