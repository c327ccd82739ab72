"""Real parts for the tests: a PostgreSQL database for each test, and a Mosquitto with its authorities.

Each worker process starts its own server once and clones a migrated template per test. With
`PILEWAY_TEST_DSN` the databases are made on that server instead (the role must be allowed to create databases).
"""

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool

from database import migrations
from database.pool import Connection, open_pool
from pileway import certificates, home
from pileway.certificates import Authority
from pileway.embedded_broker import BrokerAddress, EmbeddedBroker
from pileway.embedded_postgres import EmbeddedPostgres
from pileway.errors import HomeInUse

# Processes of tests that run beside each other would reach for the same ports; who asks for one gets it.
os.environ.setdefault("PILEWAY_METRICS_PORT", "0")

# Tests need no durability against a power cut, only the server's order of things.
_FAST_AND_FORGETFUL = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_wal_size": "64MB",
}
# Where it is roomy, a clone costs a fifth of what it costs on a disk.
_MEMORY = Path("/dev/shm")
_MEMORY_WANTED_BYTES = 4_000_000_000
_FOLDER_PREFIX = "pileway-test-"
_YOUNG_S = 60.0


@dataclass(frozen=True)
class DatabaseServer:
    """A server tests may create databases on."""

    admin_dsn: str
    strategy: str = "wal_log"
    """How a template is copied; `file_copy` is cheaper where nothing waits for a disk."""

    def create(self, *, template: str | None = None) -> str:
        """Create a database, empty or as a clone, and return its DSN."""
        name = f"pileway_test_{uuid.uuid4().hex}"
        source = sql.SQL("")
        if template:
            source = sql.SQL(" TEMPLATE {} STRATEGY {}").format(
                sql.Identifier(template), sql.Literal(self.strategy)
            )
        with self._connect() as conn:
            conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)) + source)
        return make_conninfo(self.admin_dsn, dbname=name)

    def drop(self, dsn: str) -> None:
        """Drop a database and whatever still talks to it."""
        name = _name_of(dsn)
        with self._connect() as conn:
            conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def allow_connections(self, dsn: str, *, allowed: bool) -> None:
        """Let a database refuse whoever comes and turn out whoever is there, or take it back."""
        name = _name_of(dsn)
        with self._connect() as conn:
            conn.execute(
                sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(
                    sql.Identifier(name), sql.Literal(allowed)
                )
            )
            if not allowed:
                conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
                )

    def close_off(self, dsn: str) -> None:
        """Let nobody into a database any more, and have those who are in it leave: then it can be cloned."""
        name = _name_of(dsn)
        with self._connect() as conn:
            conn.execute(
                sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false").format(sql.Identifier(name))
            )
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %(name)s",
                {"name": name},
            )

    def ease_log_in(self) -> None:
        """Store the password with one round of hashing: 4096 are most of what a short connection costs."""
        password = conninfo_to_dict(self.admin_dsn)["password"]
        assert isinstance(password, str)
        with self._connect() as conn:
            conn.execute("SET scram_iterations = 1")
            conn.execute(sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(sql.Literal(password)))

    def _connect(self) -> Connection:
        return psycopg.connect(self.admin_dsn, autocommit=True, connect_timeout=10)


@dataclass(frozen=True)
class PileFiles:
    """Paths of one pile's certificate and key."""

    certificate_path: Path
    key_path: Path


@dataclass
class Broker:
    """A running Mosquitto: where it listens, what its clients need, and how to hurt it."""

    server: EmbeddedBroker
    address: BrokerAddress
    folder: Path

    @property
    def device_url(self) -> str:
        """Address for piles, mqtts://host:port."""
        return self.address.device_url

    @property
    def service_url(self) -> str:
        """Address for gateways, mqtts://host:port."""
        return self.address.service_url

    @property
    def ca_path(self) -> Path:
        """Certificate that every client checks the broker's own certificate against."""
        return self.address.server_ca_path

    @property
    def gateway_cert_path(self) -> Path:
        """Client certificate of the user `gateway`, for the service listener."""
        return self.address.gateway_certificate_path

    @property
    def gateway_key_path(self) -> Path:
        """Key of the gateway's certificate."""
        return self.address.gateway_key_path

    @property
    def device_authority(self) -> Authority:
        """The authority that signs pile certificates."""
        return certificates.load_or_create_authority(self.server.secrets, "device-ca")

    def issue_pile(self, pile_id: str, *, authority: Authority | None = None) -> PileFiles:
        """Issue a pile certificate, by the device authority or by one the broker should refuse."""
        identity = certificates.issue_client(authority or self.device_authority, pile_id)
        files = PileFiles(self.folder / f"{pile_id}.crt", self.folder / f"{pile_id}.key")
        home.write_private(files.certificate_path, identity.certificate_pem)
        home.write_private(files.key_path, identity.key_pem)
        return files

    def kill9(self) -> None:
        """Kill the broker as a power cut would."""
        self.server.kill9()

    def stop(self) -> None:
        """Stop the broker in order."""
        self.server.stop()

    def restart(self) -> None:
        """Start it again on the same ports with the same data, stopping it first if it runs."""
        self.server.stop()
        self.address = self.server.start()


@pytest.fixture(scope="session")
def work_folder() -> Iterator[Path]:
    """A folder of this worker that the servers' own account can enter."""
    memory = _roomy_memory()
    if memory is not None:
        _clear_away_the_dead(memory)
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=memory))
    folder.chmod(0o711)
    with home.lock(folder):
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def database_server(work_folder: Path) -> Iterator[DatabaseServer]:
    """The server of this worker, or the one `PILEWAY_TEST_DSN` names."""
    given = os.environ.get("PILEWAY_TEST_DSN")
    if given:
        yield DatabaseServer(admin_dsn=given)
        return
    root = home.prepare(work_folder / "database")
    server = EmbeddedPostgres(
        folder=root / "postgres",
        secrets=root / "secrets",
        log_path=root / "log" / "postgres.log",
        options=_FAST_AND_FORGETFUL,
    )
    started = DatabaseServer(admin_dsn=server.start(), strategy="file_copy")
    started.ease_log_in()
    yield started
    server.stop()


@pytest.fixture(scope="session")
def migrated_template(database_server: DatabaseServer) -> Iterator[str]:
    """Name of a migrated database to clone."""
    dsn = database_server.create()
    migrations.migrate(dsn)
    _quiet_background_workers(dsn)
    database_server.close_off(dsn)
    yield _name_of(dsn)
    database_server.drop(dsn)


@pytest.fixture
def empty_dsn(database_server: DatabaseServer) -> Iterator[str]:
    """DSN of a new database without any table."""
    dsn = database_server.create()
    yield dsn
    database_server.drop(dsn)


@pytest.fixture
def dsn(database_server: DatabaseServer, migrated_template: str) -> Iterator[str]:
    """DSN of this test's own migrated database."""
    dsn = database_server.create(template=migrated_template)
    yield dsn
    database_server.drop(dsn)


@pytest.fixture
def pool(dsn: str) -> Iterator[ConnectionPool[Connection]]:
    """A pool on this test's database."""
    with open_pool(dsn, min_size=1, max_size=8, timeout_s=10) as pool:
        yield pool


@pytest.fixture
def conn(dsn: str) -> Iterator[Connection]:
    """A connection on this test's database; the test commits what it wants to keep."""
    with psycopg.connect(dsn, connect_timeout=10) as conn:
        yield conn
        conn.rollback()


@pytest.fixture
def broker(work_folder: Path) -> Iterator[Broker]:
    """This test's own Mosquitto."""
    root = Path(tempfile.mkdtemp(prefix="broker-", dir=work_folder))
    home.prepare(root)
    server = EmbeddedBroker(
        folder=root / "broker", secrets=root / "secrets", log_path=root / "log" / "broker.log"
    )
    yield Broker(server=server, address=server.start(), folder=root)
    server.kill9()  # in order it takes a tenth of a second, and nobody reads what it would keep


def _roomy_memory() -> Path | None:
    """The file system in memory, if there is one that takes files and has room for every worker."""
    usable = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK | os.X_OK)
    return _MEMORY if usable and shutil.disk_usage(_MEMORY).free > _MEMORY_WANTED_BYTES else None


def _clear_away_the_dead(memory: Path) -> None:
    """Give back the memory of workers that were killed; a young folder's owner may not have locked it yet."""
    for folder in memory.glob(f"{_FOLDER_PREFIX}*"):
        try:
            if time.time() - folder.stat().st_mtime > _YOUNG_S:
                with home.lock(folder):
                    shutil.rmtree(folder, ignore_errors=True)
        except (HomeInUse, OSError):
            continue


def _name_of(dsn: str) -> str:
    name = conninfo_to_dict(dsn)["dbname"]
    assert isinstance(name, str)
    return name


def _quiet_background_workers(dsn: str) -> None:
    """TimescaleDB's scheduler would hold the template, which then could not be cloned."""
    with psycopg.connect(dsn, autocommit=True, connect_timeout=10) as conn:
        row = conn.execute("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'").fetchone()
        if row is not None:
            conn.execute("SELECT _timescaledb_functions.stop_background_workers()")
