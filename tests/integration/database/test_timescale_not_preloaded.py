"""A server that has TimescaleDB on its disk and cannot load it still gets its tables.

The extension here is a stand-in of two small files: like the real one without `shared_preload_libraries`, it ends
the connection that creates it.
"""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from database import migrations
from pileway import home
from pileway.embedded_postgres import EmbeddedPostgres

CONTROL = "comment = 'ends the connection'\ndefault_version = '2.0.0'\n"
SCRIPT = "SELECT pg_terminate_backend(pg_backend_pid());\n"


@pytest.fixture
def unloadable_dsn(work_folder: Path) -> Iterator[str]:
    """DSN of a server of its own that offers the stand-in."""
    root = home.prepare(work_folder / "unloadable")
    extensions = work_folder / "share" / "extension"
    extensions.mkdir(parents=True)
    (extensions / "timescaledb.control").write_text(CONTROL)
    (extensions / "timescaledb--2.0.0.sql").write_text(SCRIPT)
    server = EmbeddedPostgres(
        folder=root / "postgres",
        secrets=root / "secrets",
        log_path=root / "log" / "postgres.log",
        options={"fsync": "off", "extension_control_path": f"$system:{extensions.parent}"},
    )
    yield server.start()
    server.stop()


def test_an_extension_that_ends_the_connection_leaves_plain_tables_and_its_reason(
    unloadable_dsn: str,
) -> None:
    report = migrations.migrate(unloadable_dsn)
    assert report.time_series.version is None
    assert "terminating connection due to administrator command" in report.time_series.words
    assert any(name.startswith("plain/") for name in report.applied)
    with psycopg.connect(unloadable_dsn) as conn:
        assert conn.execute("SELECT count(*) FROM port_load_hour").fetchone() == (0,)
    assert migrations.migrate(unloadable_dsn).applied == ()
