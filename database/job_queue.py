"""The tables of procrastinate, the job queue: made from its own schema file, upgraded by its own migrations."""

import re
from importlib.metadata import version
from pathlib import Path

import psycopg
from procrastinate.schema import SchemaManager

from database.errors import MigrationFailed
from database.pool import Connection

_FILE_NAME = re.compile(r"(?P<version>\d+\.\d+\.\d+)_\d+_\w+\.sql")

Version = tuple[int, ...]


def migrate(conn: Connection) -> str:
    """Create the queue's tables or bring them to the installed version, each file in its own transaction.

    Takes a connection in autocommit that holds the migration lock. Returns the version; raises
    `MigrationFailed`.
    """
    installed = version("procrastinate")
    conn.execute(
        """
        CREATE TABLE IF NOT EXISTS job_queue_version (
            version    text PRIMARY KEY,
            applied_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    conn.execute(
        "COMMENT ON TABLE job_queue_version IS 'Versions of procrastinate this database has had the tables of.'"
    )
    row = conn.execute("SELECT to_regclass('procrastinate_jobs') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        _apply(conn, name=f"procrastinate {installed}", sql=SchemaManager.get_schema().encode(), to=installed)
        return installed
    recorded = [_parse(name) for (name,) in conn.execute("SELECT version FROM job_queue_version").fetchall()]
    current = max(recorded, default=_parse(installed))
    for file, to in pending_files(Path(SchemaManager.get_migrations_path()), after=current):
        _apply(conn, name=file.name, sql=file.read_bytes(), to=to)
    _record(conn, installed)
    return installed


def pending_files(path: Path, *, after: Version) -> tuple[tuple[Path, str], ...]:
    """List procrastinate's migration files of versions later than `after`, in the order it documents."""
    found: list[tuple[Version, str, Path, str]] = []
    for file in path.glob("*.sql"):
        match = _FILE_NAME.fullmatch(file.name)
        if match is not None and _parse(match["version"]) > after:
            found.append((_parse(match["version"]), file.name, file, match["version"]))
    return tuple((file, to) for _, _, file, to in sorted(found))


def _parse(text: str) -> Version:
    return tuple(int(part) for part in text.split(".")[:3])


def _apply(conn: Connection, *, name: str, sql: bytes, to: str) -> None:
    try:
        with conn.transaction():
            conn.execute(sql)
            _record(conn, to)
    except psycopg.Error as error:
        raise MigrationFailed(name, reason=str(error)) from error


def _record(conn: Connection, name: str) -> None:
    conn.execute(
        "INSERT INTO job_queue_version (version) VALUES (%(version)s) ON CONFLICT (version) DO NOTHING",
        {"version": name},
    )
