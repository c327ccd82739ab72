"""A server that gets TimescaleDB after years as a plain one keeps its samples and its reports."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from charging import meter, session_curves
from charging.session_curves import SampleSpan
from database import migrations
from database.errors import MigrationFailed
from tests import meter_frames
from tests.timescale.conftest import connect

SINCE = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOURLY = (
    "SELECT hour, pile_id, port_no, energy_dws, busy_s, peak_dw, samples FROM port_load_hour ORDER BY 1, 2, 3"
)
DAILY = "SELECT day, pile_id, energy_dws, busy_s, peak_dw, samples FROM pile_load_day ORDER BY 1, 2"
BY_SITE = "SELECT day, site_id, energy_dws, busy_s, peak_dw, samples FROM site_load_day ORDER BY 1, 2"


def _make_plain(dsn: str) -> None:
    """Leave the database as a migration without the extension leaves it."""
    with connect(dsn) as conn:
        conn.execute("DROP EXTENSION IF EXISTS timescaledb")
    _apply(dsn, "plain")


def _make_timescale(dsn: str, *, files: int) -> None:
    """Leave the database as a migration leaves it that ended after so many files of the extension's."""
    with connect(dsn) as conn:
        conn.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    _apply(dsn, "timescale", files=files)


def _apply(dsn: str, family: str, *, files: int | None = None) -> None:
    with connect(dsn) as conn:
        conn.execute(
            """
            CREATE TABLE schema_migration (
                name text PRIMARY KEY, sha256 bytea NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())
            """
        )
        root = migrations.MIGRATIONS_PATH
        for migration in (
            *migrations.read_migrations(root),
            *migrations.read_migrations(root.parent / family, family=family)[:files],
        ):
            conn.execute(migration.sql)
            conn.execute(
                "INSERT INTO schema_migration (name, sha256) VALUES (%(name)s, %(sha256)s)",
                {"name": migration.name, "sha256": migration.sha256},
            )


def test_plain_tables_become_hypertables_with_all_their_rows(empty_server_dsn: str) -> None:
    _make_plain(empty_server_dsn)
    session_id = uuid4()
    frames = meter_frames.steady(pile_id="veteran", session_id=session_id, since=SINCE, count=300)
    span = SampleSpan(session_id, "veteran", since=SINCE, until=SINCE + timedelta(days=1))
    with connect(empty_server_dsn) as conn:
        meter_frames.register(conn, "veteran")
        meter.write_batch(conn, frames, takes_copy=False)
        hourly, daily = conn.execute(HOURLY).fetchall(), conn.execute(DAILY).fetchall()
        by_site = conn.execute(BY_SITE).fetchall()
        curve = session_curves.curve(conn, span, most_points=1_000)
    report = migrations.migrate(empty_server_dsn)
    assert report.applied == (
        "timescale/0001_hypertables",
        "timescale/0002_load_aggregates",
        "timescale/0003_load_by_site",
        "timescale/0004_sessions_in_compressed_days",
    )
    with connect(empty_server_dsn) as conn:
        assert conn.execute(HOURLY).fetchall() == hourly
        assert conn.execute(DAILY).fetchall() == daily
        assert conn.execute(BY_SITE).fetchall() == by_site
        assert session_curves.curve(conn, span, most_points=1_000) == curve
        conn.execute("ALTER MATERIALIZED VIEW port_load_hour SET (timescaledb.materialized_only = true)")
        assert conn.execute(HOURLY).fetchall() == hourly
        later = meter_frames.steady(
            pile_id="veteran", session_id=session_id, since=SINCE + timedelta(days=1), count=2
        )
        assert meter.write_batch(conn, later, takes_copy=False).samples == 2


def test_aggregates_that_an_end_left_unfilled_are_filled_by_the_next_migration(empty_server_dsn: str) -> None:
    _make_timescale(empty_server_dsn, files=3)
    frames = meter_frames.steady(pile_id="early", session_id=uuid4(), since=SINCE, count=300)
    with connect(empty_server_dsn) as conn:
        meter_frames.register(conn, "early")
        meter.write_batch(conn, frames, takes_copy=False)
        told = [conn.execute(report).fetchall() for report in (HOURLY, DAILY, BY_SITE)]
    assert "timescale/0003_load_by_site" not in migrations.migrate(empty_server_dsn).applied
    with connect(empty_server_dsn) as conn:
        for view in ("port_load_hour", "pile_load_day", "site_load_day"):
            conn.execute(
                f"ALTER MATERIALIZED VIEW {view} SET (timescaledb.materialized_only = true)".encode()
            )
        assert [conn.execute(report).fetchall() for report in (HOURLY, DAILY, BY_SITE)] == told


def test_reports_that_reach_farther_back_than_the_samples_are_not_thrown_away(empty_server_dsn: str) -> None:
    _make_timescale(empty_server_dsn, files=2)
    frames = meter_frames.steady(
        pile_id="old", session_id=uuid4(), since=SINCE, count=8, every=timedelta(hours=6)
    )
    with connect(empty_server_dsn) as conn:
        meter_frames.register(conn, "old")
        meter.write_batch(conn, frames, takes_copy=False)
        conn.execute("CALL refresh_continuous_aggregate('port_load_hour', NULL, NULL)")
        conn.execute("SELECT drop_chunks('meter_sample', %(until)s)", {"until": SINCE + timedelta(days=1)})
        told = conn.execute(HOURLY).fetchall()
    with pytest.raises(MigrationFailed, match=r"reach back to .* farther than the samples"):
        migrations.migrate(empty_server_dsn)
    with connect(empty_server_dsn) as conn:
        assert conn.execute(HOURLY).fetchall() == told
        conn.execute("CREATE TABLE told AS SELECT * FROM port_load_hour")
        conn.execute("DROP MATERIALIZED VIEW port_load_hour CASCADE")
    assert "timescale/0003_load_by_site" in migrations.migrate(empty_server_dsn).applied
    with connect(empty_server_dsn) as conn:
        assert len(conn.execute(HOURLY).fetchall()) == len(told) - 2
