"""A real TimescaleDB (PostgreSQL 17 compiled to WebAssembly) for all tests of a worker.

It serves one connection, knows no COPY FROM STDIN and no transactions side by side; the whole suite runs on a
native server when `PILEWAY_TEST_DSN` names one.
"""

import json
import select
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from database import migrations
from database.pool import Connection

START_LIMIT_S = 90
STOP_LIMIT_S = 20

_ROOT = Path(__file__).parents[2]
_NODE = Path(sys.executable).parent / "node"


@contextmanager
def _running_server() -> Generator[str]:
    """Start the server and yield its DSN; it ends when its standard input closes, so also when we are killed."""
    if not (_ROOT / "node_modules").is_dir():
        raise RuntimeError("the npm packages are missing; run: make setup")
    process = subprocess.Popen(
        [_NODE, Path(__file__).parent / "server.mjs"],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        readable, _, _ = select.select([process.stdout], [], [], START_LIMIT_S)
        line = process.stdout.readline() if readable else b""
        if not line:
            raise RuntimeError(f"TimescaleDB did not start within {START_LIMIT_S} s")
        yield f"postgresql://postgres:none@127.0.0.1:{json.loads(line)['port']}/postgres?sslmode=disable"
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(STOP_LIMIT_S)


@pytest.fixture
def empty_server_dsn() -> Iterator[str]:
    """DSN of this test's own empty server."""
    with _running_server() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def timescale_dsn() -> Iterator[str]:
    """DSN of a server that tests share; each has piles of its own."""
    with _running_server() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def report(timescale_dsn: str) -> migrations.MigrationReport:
    """What the first migration of the shared server said."""
    return migrations.migrate(timescale_dsn)


@pytest.fixture
def timescale(timescale_dsn: str, report: migrations.MigrationReport) -> Iterator[Connection]:
    """The one connection to the migrated server, in autocommit."""
    with connect(timescale_dsn) as conn:
        yield conn


def connect(dsn: str) -> Connection:
    """Connect as this server needs it: without prepared statements, each statement its own transaction."""
    return psycopg.connect(dsn, autocommit=True, prepare_threshold=None, connect_timeout=10)
