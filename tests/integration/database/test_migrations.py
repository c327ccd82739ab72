"""Migrations are applied once, in order, and refuse a database they do not belong to."""

import shutil
import threading
from pathlib import Path

import psycopg
import pytest

from database import migrations
from database.errors import (
    DatabaseNewer,
    MigrationChanged,
    MigrationFailed,
    MigrationLockTimeout,
    MigrationMissing,
    MigrationOutOfOrder,
)
from database.pool import Connection

LIMIT_S = 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two small migrations."""
    path = tmp_path / "migrations"
    path.mkdir()
    (path / "0001_first.sql").write_text("CREATE TABLE first (n integer);")
    (path / "0002_second.sql").write_text("CREATE TABLE second (n integer); CREATE INDEX ON second (n);")
    return path


def test_every_file_is_applied_once(empty_dsn: str) -> None:
    first = migrations.migrate(empty_dsn)
    second = migrations.migrate(empty_dsn)
    common = [file.stem for file in sorted(migrations.MIGRATIONS_PATH.glob("*.sql"))]
    assert list(first.applied[: len(common)]) == common
    assert all(name.startswith(f"{first.time_series.family}/") for name in first.applied[len(common) :])
    assert second.applied == ()
    assert second.already_applied == len(first.applied)


def test_job_queue_tables_come_with_the_migrations(empty_dsn: str) -> None:
    report = migrations.migrate(empty_dsn)
    with psycopg.connect(empty_dsn) as conn:
        assert conn.execute("SELECT version FROM job_queue_version").fetchall() == [
            (report.job_queue_version,)
        ]
        assert conn.execute("SELECT count(*) FROM procrastinate_jobs").fetchone() == (0,)


def test_processes_starting_together_migrate_once(empty_dsn: str) -> None:
    reports: list[migrations.MigrationReport] = []
    threads = [
        threading.Thread(target=lambda: reports.append(migrations.migrate(empty_dsn)), daemon=True)
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert sorted(len(report.applied) for report in reports)[:3] == [0, 0, 0]
    assert len(reports) == 4


def test_waiting_for_another_migrator_has_a_limit(empty_dsn: str, folder: Path) -> None:
    with psycopg.connect(empty_dsn) as other:
        other.execute("SELECT pg_advisory_lock(%(key)s)", {"key": 0x70696C65776179})
        with pytest.raises(MigrationLockTimeout):
            migrations.migrate(empty_dsn, path=folder, lock_timeout_s=1)


def test_changed_file_is_refused_by_name(empty_dsn: str, folder: Path) -> None:
    migrations.migrate(empty_dsn, path=folder)
    (folder / "0001_first.sql").write_text("CREATE TABLE first (n bigint);")
    with pytest.raises(MigrationChanged, match="0001_first"):
        migrations.migrate(empty_dsn, path=folder)


def test_missing_file_is_refused_by_name(empty_dsn: str, folder: Path) -> None:
    migrations.migrate(empty_dsn, path=folder)
    (folder / "0001_first.sql").unlink()
    with pytest.raises(MigrationMissing, match="0001_first"):
        migrations.migrate(empty_dsn, path=folder)


def test_database_newer_than_the_code_is_refused_by_name(empty_dsn: str, folder: Path) -> None:
    migrations.migrate(empty_dsn, path=folder)
    (folder / "0002_second.sql").unlink()
    with pytest.raises(DatabaseNewer, match="0002_second"):
        migrations.migrate(empty_dsn, path=folder)


def test_new_file_before_an_applied_one_is_refused(empty_dsn: str, folder: Path) -> None:
    shutil.move(folder / "0001_first.sql", folder / "later")
    migrations.migrate(empty_dsn, path=folder)
    shutil.move(folder / "later", folder / "0001_first.sql")
    with pytest.raises(MigrationOutOfOrder, match="0001_first"):
        migrations.migrate(empty_dsn, path=folder)


def test_failed_file_leaves_nothing_and_earlier_ones_stand(empty_dsn: str, folder: Path) -> None:
    (folder / "0002_second.sql").write_text("CREATE TABLE second (n integer); SELECT 1 / 0;")
    with pytest.raises(MigrationFailed, match="0002_second"):
        migrations.migrate(empty_dsn, path=folder)
    with psycopg.connect(empty_dsn) as conn:
        assert conn.execute("SELECT to_regclass('first') IS NOT NULL, to_regclass('second')").fetchone() == (
            True,
            None,
        )
    (folder / "0002_second.sql").write_text("CREATE TABLE second (n integer);")
    assert migrations.migrate(empty_dsn, path=folder).applied == ("0002_second",)


def test_every_table_and_unit_is_commented(conn: Connection) -> None:
    bare = conn.execute(
        """
        SELECT c.relname FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
           AND c.relname NOT LIKE 'procrastinate_%%' AND obj_description(c.oid, 'pg_class') IS NULL
        """
    ).fetchall()
    assert bare == []


def test_what_code_needs_and_a_database_lacks_is_named(empty_dsn: str, folder: Path) -> None:
    needed = migrations.needed(folder)
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        assert migrations.missing(conn, needed) == ("0001_first", "0002_second")
        migrations.migrate(empty_dsn, path=folder)
        assert migrations.missing(conn, needed) == ()
        (folder / "0003_third.sql").write_text("CREATE TABLE third (n integer);")
        newer = migrations.needed(folder)
        assert migrations.missing(conn, newer) == ("0003_third",)
        migrations.migrate(empty_dsn, path=folder)
        assert migrations.missing(conn, needed) == (), "an older version goes on working beside a newer one"
