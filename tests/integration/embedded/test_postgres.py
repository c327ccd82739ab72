"""The embedded PostgreSQL keeps its data, explains why it cannot start, and never outlives us."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from pileway import home
from pileway.embedded_postgres import EmbeddedPostgres
from pileway.errors import AccessDenied, HomeInUse, PortTaken
from tests import child_output
from tests.waiting import wait_until

OWNER = """
import sys, time
from pathlib import Path
from pileway import home, logs
from pileway.embedded_postgres import EmbeddedPostgres
logs.set_up("owner")
root = home.prepare(Path(sys.argv[1]))
with home.lock(root):
    server = EmbeddedPostgres(root / "postgres", root / "secrets", root / "log" / "postgres.log")
    server.start()
    print(server.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def root(work_folder: Path, request: pytest.FixtureRequest) -> Path:
    """A home folder of this test."""
    return home.prepare(work_folder / request.node.name)


def _server(root: Path, port: int | None = None) -> EmbeddedPostgres:
    return EmbeddedPostgres(
        folder=root / "postgres", secrets=root / "secrets", log_path=root / "log" / "postgres.log", port=port
    )


def _runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists() if sys.platform == "linux" else _signalled(pid)


def _signalled(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_second_start_finds_port_and_data(root: Path) -> None:
    server = _server(root)
    dsn = server.start()
    with psycopg.connect(dsn) as conn:
        conn.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    server.kill9()
    again = _server(root)
    assert again.start() == dsn
    with psycopg.connect(dsn) as conn:
        assert conn.execute("SELECT answer FROM kept").fetchone() == (42,)
    again.stop()
    assert again.pid is None


def test_only_the_password_opens_it_and_only_its_owner_reads_that(root: Path) -> None:
    server = _server(root)
    dsn = server.start()
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(dsn, password="guess")
    assert (root / "secrets" / "postgres-password").stat().st_mode & 0o777 == 0o600
    assert (root / "secrets").stat().st_mode & 0o777 == 0o700
    server.stop()


def test_killed_owner_leaves_no_server(root: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    server_pid = int(child_output.line_of(owner))
    with pytest.raises(HomeInUse, match=str(owner.pid)), home.lock(root):
        pass
    owner.send_signal(signal.SIGKILL)
    owner.communicate(timeout=30)
    wait_until(lambda: not _runs(server_pid))


def test_pid_file_that_names_a_stranger_is_no_obstacle(root: Path) -> None:
    server = _server(root)
    server.start()
    server.kill9()
    pid_file = root / "postgres" / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getppid()), *lines[1:]]))
    again = _server(root)
    again.start()
    again.stop()


def test_taken_port_is_named(root: Path) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        with pytest.raises(PortTaken, match=str(port)):
            _server(root, port=port).start()


def test_lost_password_is_said_plainly(root: Path) -> None:
    server = _server(root)
    server.start()
    server.stop()
    (root / "secrets" / "postgres-password").write_text("another")
    with pytest.raises(AccessDenied, match="postgres-password"):
        _server(root).start()
