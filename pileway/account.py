"""The system account the embedded servers run under when we are root: PostgreSQL refuses to run as root."""

import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path

import structlog

from pileway.errors import AccessDenied, PartMissing

ACCOUNT_NAME = "pileway"

_USERADD_LIMIT_S = 30

log = structlog.get_logger()


def for_servers() -> tuple[int, int] | None:
    """Return (uid, gid) for the servers, or None when we are not root and they run as ourselves.

    As root the account is created on first use; raises `PartMissing` when the system cannot do that.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(ACCOUNT_NAME)
    except KeyError:
        _create()
        entry = pwd.getpwnam(ACCOUNT_NAME)
    return entry.pw_uid, entry.pw_gid


def give(path: Path, account: tuple[int, int] | None) -> None:
    """Create the folder, private to the account (or to us)."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    if account is not None:
        os.chown(path, *account)


def open_way(path: Path, account: tuple[int, int] | None) -> None:
    """Let the account pass through the folders above `path`: search permission only, never reading."""
    if account is None:
        return
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if mode & stat.S_IXOTH:
            continue
        try:
            folder.chmod(mode | stat.S_IXOTH | stat.S_IXGRP)
        except OSError as error:
            raise AccessDenied(
                f"user {ACCOUNT_NAME} cannot pass through {folder}: {error.strerror}"
            ) from error
        log.warning("folder_opened_for_passing", folder=str(folder), account=ACCOUNT_NAME)


def _create() -> None:
    useradd = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if useradd is None:
        raise PartMissing(f"running as root needs a system user {ACCOUNT_NAME}, and useradd is not installed")
    command = [
        useradd,
        "--system",
        "--no-create-home",
        "--user-group",
        "--shell",
        "/usr/sbin/nologin",
        ACCOUNT_NAME,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_USERADD_LIMIT_S, check=False)
    # Exit 9: another process created the account between our look and this call.
    if done.returncode not in (0, 9):
        raise AccessDenied(f"cannot create the system user {ACCOUNT_NAME}: {done.stderr.strip()}")
