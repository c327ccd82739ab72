"""The folder of one installation: secrets, data of the embedded parts, logs; one process owns it."""

import fcntl
import os
import random
import secrets
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from pileway.errors import AccessDenied, HomeInUse, PortTaken

PREDECESSOR_LIMIT_S = 5.0

_PRIVATE_FOLDER = 0o700
_PRIVATE_FILE = 0o600
_CROSSABLE_FOLDER = 0o711
_PORTS = range(20_000, 32_000)
_PORT_TRIES = 100
_POLL_S = 0.05


def prepare(home: Path) -> Path:
    """Create the folder, closed to other users, and return its absolute path; raises `AccessDenied`."""
    home = home.absolute()
    try:
        home.mkdir(parents=True, exist_ok=True)
        # As root the embedded servers run under another account, which has to pass through.
        home.chmod(_CROSSABLE_FOLDER if os.geteuid() == 0 else _PRIVATE_FOLDER)
        private_folder(home / "secrets")
        private_folder(home / "log")
    except OSError as error:
        raise AccessDenied(f"cannot use {home}: {error.strerror}") from error
    return home


def private_folder(path: Path) -> Path:
    """Create a folder only its owner can enter."""
    path.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
    path.chmod(_PRIVATE_FOLDER)
    return path


@contextmanager
def lock(home: Path) -> Generator[None]:
    """Own the folder while the block runs; raises `HomeInUse`. The system frees the lock when we die."""
    with (home / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise HomeInUse(home, file.read().strip() or "unknown") from None
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def secret(path: Path, *, size_bytes: int = 32) -> str:
    """Return the URL-safe secret kept in `path`, making it on first use; the file has mode 600."""
    return secret_bytes(path, make=lambda: secrets.token_urlsafe(size_bytes).encode()).decode().strip()


def secret_bytes(path: Path, *, make: Callable[[], bytes]) -> bytes:
    """Return what `path` holds, writing `make()` there on first use, whole or not at all, with mode 600."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        write_private(path, make())
        return path.read_bytes()


def write_private(path: Path, content: bytes, *, owner: tuple[int, int] | None = None) -> None:
    """Replace `path` by `content`, mode 600, owned by `owner` (uid, gid) if given; readers see old or new."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if owner is not None:
        os.chown(draft, *owner)
    draft.replace(path)


def remembered_port(path: Path, *, wanted: int | None) -> int:
    """Return and keep `wanted`, or the port kept in `path` while it is free, or a new free loopback port."""
    if wanted is None:
        wanted = _read_port(path)
        if wanted is None or not _becomes_free(wanted):
            wanted = free_port()
    path.write_text(f"{wanted}\n")
    return wanted


def free_port() -> int:
    """Return a loopback port that nobody uses now.

    It lies below the range systems take for outgoing connections: a client that keeps trying a stopped server
    there would one day be given that very port and connect to itself.
    """
    for port in random.SystemRandom().sample(_PORTS, k=_PORT_TRIES):
        if port_is_free(port):
            return port
    raise PortTaken(f"no free port found between {_PORTS.start} and {_PORTS.stop - 1}")


def port_is_free(port: int) -> bool:
    """Say whether we could listen on the loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _becomes_free(port: int) -> bool:
    """Wait a moment: a predecessor killed with SIGKILL may have left its server shutting down."""
    deadline = time.monotonic() + PREDECESSOR_LIMIT_S
    while not port_is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _read_port(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
