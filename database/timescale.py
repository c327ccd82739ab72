"""The one place that knows whether TimescaleDB is there.

With the extension the meter tables are hypertables and the load reports continuous aggregates; without it the
same names are plain tables and views, so no query elsewhere knows the difference. A server that gets the extension
later is converted by the next migration.
"""

from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta

import psycopg
import structlog

from database.pool import APPLICATION_NAME, Connection

PLAIN = "plain"
TIMESCALE = "timescale"

log = structlog.get_logger()

_WINDOW = timedelta(days=700)
"""Farther back than any instant that is believed (400 days), so that nothing comes too late for a refresh, and not as
far as retention (24 months), or a refresh would erase what the dropped samples had told."""


@dataclass(frozen=True)
class _Aggregate:
    """A continuous aggregate: buckets of one `unit`, refreshed so often up to the last `behind`."""

    view: str
    unit: str
    behind: timedelta
    every: timedelta


_AGGREGATES = (
    _Aggregate("port_load_hour", "hour", behind=timedelta(hours=1), every=timedelta(minutes=30)),
    _Aggregate("pile_load_day", "day", behind=timedelta(days=1), every=timedelta(hours=1)),
    _Aggregate("site_load_day", "day", behind=timedelta(days=1), every=timedelta(hours=1)),
)
"""Each stands on the one before."""


@dataclass(frozen=True)
class TimeSeries:
    """What the server offers: the extension's version, or the reason why the tables are plain."""

    version: str | None
    plain_because: str | None

    @property
    def family(self) -> str:
        """Folder of the migrations to apply after the common ones."""
        return PLAIN if self.version is None else TIMESCALE

    @property
    def words(self) -> str:
        """One line for people."""
        if self.version is not None:
            return (
                f"TimescaleDB {self.version}: hypertables, compression, retention and continuous aggregates"
            )
        return f"no TimescaleDB ({self.plain_because}): plain tables and views of the same names"


def detect(conn: Connection, dsn: str) -> TimeSeries:
    """Find the extension, creating it when the server has it and lets us; takes a connection in autocommit.

    Raises `psycopg.OperationalError` when `dsn` does not give a second connection to the database of `conn`.
    """
    row = conn.execute(
        """
        SELECT available.default_version, installed.extversion
          FROM pg_available_extensions available LEFT JOIN pg_extension installed ON installed.extname = available.name
         WHERE available.name = 'timescaledb'
        """
    ).fetchone()
    if row is None:
        return TimeSeries(version=None, plain_because="the server does not have the extension")
    refusal = _create(dsn) if row[1] is None else None
    if refusal is not None:
        log.warning("timescaledb_not_created", reason=refusal)
        return TimeSeries(version=None, plain_because=f"the extension cannot be created: {refusal}")
    return TimeSeries(version=row[1] or row[0], plain_because=None)


def _create(dsn: str) -> str | None:
    """Create the extension; says why where the server refuses.

    The connection is one to throw away: a server that did not preload the extension's library ends it.
    """
    with closing(
        psycopg.connect(
            dsn,
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=10,
            application_name=APPLICATION_NAME,
        )
    ) as conn:
        try:
            conn.execute("CREATE EXTENSION timescaledb")
        except psycopg.Error as error:
            return (error.diag.message_primary or str(error)).splitlines()[0]
    return None


def fill_owed_aggregates(conn: Connection) -> None:
    """Fill the aggregates that never were, and only then have them refreshed in the background; in autocommit.

    A refresh policy is the record that an aggregate is filled: a fill that was interrupted is done anew, and no
    refresh moves on from its own window before, which would hide everything older.
    """
    for aggregate in _AGGREGATES:
        if _is_owed(conn, aggregate):
            _fill(conn, aggregate)
            _refresh_from_now_on(conn, aggregate)


def fill_aggregates(conn: Connection) -> None:
    """Compute the aggregates over all samples there are; in autocommit."""
    for aggregate in _AGGREGATES:
        _fill(conn, aggregate)


@dataclass(frozen=True)
class Sizes:
    """Bytes on disk of a table with its indexes, and how many of them the indexes are."""

    total_bytes: int
    index_bytes: int


def is_here(conn: Connection) -> bool:
    """Whether this database has the extension."""
    row = conn.execute("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'").fetchone()
    return row is not None


def sizes(conn: Connection, table: str) -> Sizes:
    """What a table takes on disk, all its chunks together, compressed or not."""
    statement = (
        """
        SELECT coalesce(sum(total_bytes), 0)::bigint, coalesce(sum(index_bytes), 0)::bigint
          FROM hypertable_detailed_size(%(table)s::regclass)
        """
        if is_here(conn)
        else "SELECT pg_total_relation_size(%(table)s::regclass), pg_indexes_size(%(table)s::regclass)"
    )
    row = conn.execute(statement, {"table": table}).fetchone()
    assert row is not None, "a sum has a row"
    return Sizes(*row)


def compress_next(conn: Connection, table: str, *, older_than: timedelta) -> bool:
    """Compress one chunk of a hypertable that ended so long ago, oldest first; says whether there was one."""
    row = conn.execute(
        """
        SELECT format('%%I.%%I', chunk_schema, chunk_name)::regclass::text
          FROM timescaledb_information.chunks
         WHERE hypertable_name = %(table)s AND NOT is_compressed AND range_end < now() - %(older_than)s
         ORDER BY range_start LIMIT 1
        """,
        {"table": table, "older_than": older_than},
    ).fetchone()
    if row is not None:
        conn.execute("SELECT compress_chunk(%(chunk)s::regclass)", {"chunk": row[0]})
    return row is not None


def rest_jobs(conn: Connection) -> None:
    """Keep the extension's policies from running in this database, which can be dropped and measured then.

    Workers that are at work end; a restart of the server begins none of them again.
    """
    conn.execute(
        """
        SELECT alter_job(job_id, scheduled => false)
          FROM timescaledb_information.jobs WHERE hypertable_name IS NOT NULL
        """
    )
    conn.execute("SELECT _timescaledb_functions.stop_background_workers()")


def _is_owed(conn: Connection, aggregate: _Aggregate) -> bool:
    row = conn.execute(
        """
        SELECT 1 FROM timescaledb_information.continuous_aggregates made
         WHERE view_schema = current_schema() AND view_name = %(view)s
           AND NOT EXISTS (
               SELECT FROM timescaledb_information.jobs
                WHERE proc_name = 'policy_refresh_continuous_aggregate'
                  AND hypertable_name IN (made.view_name, made.materialization_hypertable_name))
        """,
        {"view": aggregate.view},
    ).fetchone()
    return row is not None


def _fill(conn: Connection, aggregate: _Aggregate) -> None:
    conn.execute(
        """
        CALL refresh_continuous_aggregate(
            %(view)s::regclass, NULL, date_trunc(%(unit)s, now(), 'Asia/Shanghai'))
        """,
        {"view": aggregate.view, "unit": aggregate.unit},
    )


def _refresh_from_now_on(conn: Connection, aggregate: _Aggregate) -> None:
    conn.execute(
        """
        SELECT add_continuous_aggregate_policy(
            %(view)s::regclass, start_offset => %(window)s::interval, end_offset => %(behind)s::interval,
            schedule_interval => %(every)s::interval)
        """,
        {
            "view": aggregate.view,
            "window": _WINDOW,
            "behind": aggregate.behind,
            "every": aggregate.every,
        },
    )
