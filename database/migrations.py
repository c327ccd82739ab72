"""Forward-only migrations: numbered plain SQL files, each applied once, in order, and never changed after.

Every applied file is recorded in `schema_migration` with its SHA-256. All work happens under one advisory
lock, so that processes starting together migrate once; each file has its own transaction.
"""

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.rows import class_row

from database import job_queue, timescale
from database.errors import (
    DatabaseNewer,
    MigrationChanged,
    MigrationFailed,
    MigrationLockTimeout,
    MigrationMisnamed,
    MigrationMissing,
    MigrationOutOfOrder,
    TimescaleGone,
)
from database.pool import APPLICATION_NAME, Connection
from database.timescale import TimeSeries

MIGRATIONS_PATH = Path(__file__).parent / "migrations"
LOCK_TIMEOUT_S = 60

_LOCK_KEY = 0x70696C65776179  # "pileway"
_FILE_NAME = re.compile(r"(?P<number>\d{4})_[a-z0-9_]+\.sql")


@dataclass(frozen=True)
class Migration:
    """One SQL file; its name without `.sql` identifies it for ever."""

    name: str
    sql: bytes
    sha256: bytes


@dataclass(frozen=True)
class AppliedMigration:
    """One row of `schema_migration`."""

    name: str
    sha256: bytes


@dataclass(frozen=True)
class Needed:
    """The migrations of one version of the code; of `families` a database has one."""

    common: tuple[Migration, ...]
    families: Mapping[str, tuple[Migration, ...]]


@dataclass(frozen=True)
class MigrationReport:
    """What `migrate` found and did: names applied now, and how many stood before."""

    applied: tuple[str, ...]
    already_applied: int
    time_series: TimeSeries
    job_queue_version: str


def migrate(
    dsn: str, *, path: Path = MIGRATIONS_PATH, lock_timeout_s: int = LOCK_TIMEOUT_S
) -> MigrationReport:
    """Bring the database to the newest migration of `path` and the job queue to its installed version.

    After the files of `path` come those of the folder `timescale` or `plain` beside it, as the server has it.

    Raises a `MigrationRefused` before anything is changed when files and database disagree, `MigrationFailed`
    when the server refuses a file, `MigrationLockTimeout` when another process migrates for longer than
    `lock_timeout_s` seconds.
    """
    with psycopg.connect(
        dsn, autocommit=True, prepare_threshold=None, connect_timeout=10, application_name=APPLICATION_NAME
    ) as conn:
        _lock(conn, lock_timeout_s)
        try:
            return _migrate(conn, dsn, path)
        finally:
            _unlock(conn)


def read_migrations(path: Path, *, family: str = "") -> tuple[Migration, ...]:
    """Read the folder's SQL files in order of their numbers; raises `MigrationMisnamed`.

    `family` goes before the names of files that only some servers get: `timescale/0001_...`.
    """
    seen: set[str] = set()
    migrations: list[Migration] = []
    for file in sorted(path.glob("*.sql")):
        match = _FILE_NAME.fullmatch(file.name)
        if match is None or match["number"] in seen:
            raise MigrationMisnamed(file.name)
        seen.add(match["number"])
        sql = file.read_bytes()
        migrations.append(
            Migration(
                name=f"{family}/{file.stem}" if family else file.stem,
                sql=sql,
                sha256=hashlib.sha256(sql).digest(),
            )
        )
    return tuple(migrations)


def plan(migrations: tuple[Migration, ...], applied: tuple[AppliedMigration, ...]) -> tuple[Migration, ...]:
    """Say which migrations are still to apply; raises a `MigrationRefused` when the two lists disagree."""
    known = {migration.name: migration for migration in migrations}
    newest_known = migrations[-1].name if migrations else ""
    newer = tuple(row.name for row in applied if row.name not in known and row.name > newest_known)
    if newer:
        raise DatabaseNewer(newer)
    for row in applied:
        if row.name not in known:
            raise MigrationMissing(row.name)
        if known[row.name].sha256 != row.sha256:
            raise MigrationChanged(row.name)
    newest_applied = applied[-1].name if applied else ""
    done = {row.name for row in applied}
    pending = tuple(migration for migration in migrations if migration.name not in done)
    for migration in pending:
        if migration.name < newest_applied:
            raise MigrationOutOfOrder(migration.name, newest=newest_applied)
    return pending


def needed(path: Path = MIGRATIONS_PATH) -> Needed:
    """What this code needs; asked once when a process starts, as the files may be replaced while it runs."""
    return Needed(
        common=read_migrations(path),
        families={
            family: read_migrations(path.parent / family, family=family)
            for family in (timescale.PLAIN, timescale.TIMESCALE)
        },
    )


def missing(conn: Connection, needed: Needed) -> tuple[str, ...]:
    """The migrations that are needed and the database has not had, in order; reads only.

    A database that has had more is that of a newer version, beside which an older one goes on working.
    Raises a `MigrationRefused` when files and database disagree otherwise, and psycopg's errors.
    """
    row = conn.execute("SELECT to_regclass('schema_migration') IS NOT NULL").fetchone()
    applied = _read_applied(conn) if row is not None and row[0] else ()
    family = timescale.TIMESCALE if _family(applied, timescale.TIMESCALE) else timescale.PLAIN
    pending: list[str] = []
    for part, migrations in (("", needed.common), (family, needed.families[family])):
        with suppress(DatabaseNewer):
            pending += [migration.name for migration in plan(migrations, _family(applied, part))]
    return tuple(pending)


def _migrate(conn: Connection, dsn: str, path: Path) -> MigrationReport:
    _create_record(conn)
    applied = _read_applied(conn)
    series = timescale.detect(conn, dsn)
    # A server that lost the extension cannot serve the hypertables it was given.
    if series.version is None and _family(applied, timescale.TIMESCALE):
        raise TimescaleGone(series.words)
    common = plan(read_migrations(path), _family(applied, ""))
    special = plan(
        read_migrations(path.parent / series.family, family=series.family), _family(applied, series.family)
    )
    pending = common + special
    for migration in pending:
        _apply(conn, migration)
    if series.family == timescale.TIMESCALE:
        timescale.fill_owed_aggregates(conn)
    return MigrationReport(
        applied=tuple(migration.name for migration in pending),
        already_applied=len(applied),
        time_series=series,
        job_queue_version=job_queue.migrate(conn),
    )


def _family(applied: tuple[AppliedMigration, ...], family: str) -> tuple[AppliedMigration, ...]:
    return tuple(row for row in applied if row.name.rpartition("/")[0] == family)


def _lock(conn: Connection, lock_timeout_s: int) -> None:
    conn.execute("SELECT set_config('lock_timeout', %(timeout)s, false)", {"timeout": f"{lock_timeout_s}s"})
    try:
        conn.execute("SELECT pg_advisory_lock(%(key)s)", {"key": _LOCK_KEY})
    except psycopg.errors.LockNotAvailable as error:
        raise MigrationLockTimeout(lock_timeout_s) from error


def _unlock(conn: Connection) -> None:
    if not conn.broken:
        conn.execute("SELECT pg_advisory_unlock(%(key)s)", {"key": _LOCK_KEY})


def _create_record(conn: Connection) -> None:
    conn.execute("SET client_min_messages = warning")
    conn.execute(
        """
        CREATE TABLE IF NOT EXISTS schema_migration (
            name       text PRIMARY KEY,
            sha256     bytea NOT NULL CHECK (length(sha256) = 32),
            applied_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    conn.execute(
        "COMMENT ON TABLE schema_migration IS 'Migration files applied to this database, with their SHA-256.'"
    )


def _read_applied(conn: Connection) -> tuple[AppliedMigration, ...]:
    with conn.cursor(row_factory=class_row(AppliedMigration)) as cursor:
        rows = cursor.execute(
            'SELECT name, sha256 FROM schema_migration ORDER BY name COLLATE "C"'
        ).fetchall()
    return tuple(rows)


def _apply(conn: Connection, migration: Migration) -> None:
    try:
        with conn.transaction():
            conn.execute(migration.sql)
            conn.execute(
                "INSERT INTO schema_migration (name, sha256) VALUES (%(name)s, %(sha256)s)",
                {"name": migration.name, "sha256": migration.sha256},
            )
    except psycopg.Error as error:
        raise MigrationFailed(migration.name, reason=str(error)) from error
