"""A grown database that stays, to be measured again: what was made of it stands in its own comment, as JSON."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from charging.session_curves import SampleSpan
from database.pool import Connection
from database.timescale import Sizes, TimeSeries
from pileway.bench import growth_table
from pileway.bench.growth_table import Grown, Plan
from pileway.errors import PilewayError


class NothingGrown(PilewayError):
    """A database of that name is there, and no growth in it that came to its end."""

    def __init__(self, name: str) -> None:
        super().__init__(f"the database {name} was not grown to its end; drop it, or keep another name")
        self.name = name


@contextmanager
def database(server_dsn: str, name: str) -> Generator[tuple[str, TimeSeries]]:
    """The migrated database of this name, made where it is not there. Raises NothingGrown."""
    dsn = make_conninfo(server_dsn, dbname=name)
    with psycopg.connect(server_dsn, autocommit=True, connect_timeout=10) as server:
        found = server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
        if found is None:
            server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    if found is not None:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=10) as conn:
            if recall(conn) is None:
                raise NothingGrown(name)
    yield growth_table.migrated(dsn)


def note(conn: Connection, grown: Grown) -> None:
    """Write down what this database was grown to."""
    told = json.dumps(asdict(grown), default=str)
    statement = sql.SQL("COMMENT ON DATABASE {} IS {}")
    conn.execute(statement.format(sql.Identifier(conn.info.dbname), sql.Literal(told)))


def recall(conn: Connection) -> Grown | None:
    """What this database was grown to, None of one that was not."""
    row = conn.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    if row is None or row[0] is None:
        return None
    try:
        told = json.loads(row[0])
        return Grown(
            plan=Plan(**told["plan"]),
            grown_at=datetime.fromisoformat(told["grown_at"]),
            samples=told["samples"],
            spans=[_span(span) for span in told["spans"]],
            before={table: Sizes(**size) for table, size in told["before"].items()},
            after={table: Sizes(**size) for table, size in told["after"].items()},
        )
    except (ValueError, KeyError, TypeError):
        return None


def _span(told: dict[str, str]) -> SampleSpan:
    return SampleSpan(
        UUID(told["session_id"]),
        told["pile_id"],
        since=datetime.fromisoformat(told["since"]),
        until=datetime.fromisoformat(told["until"]),
    )
