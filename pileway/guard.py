"""Child processes that never outlive us, not even when we are killed with SIGKILL.

`spawn` starts a program in a process group of its own, so that Ctrl-C in the terminal reaches only us and we can
stop our children in order. Between us and the program runs this very file as a script: on Linux it asks the
kernel to signal the program when its parent dies and becomes the program; elsewhere it stays and watches.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

PR_SET_PDEATHSIG = 1
_WATCH_INTERVAL_S = 0.2
_KILL_AFTER_S = 20.0
_PARENT_GONE = 70


def spawn(
    command: Sequence[str | Path],
    *,
    death_signal: signal.Signals,
    output: IO[bytes] | int,
    environment: Mapping[str, str] | None = None,
    account: tuple[int, int] | None = None,
    directory: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command`; it gets `death_signal` when we die. `account` is its (uid, gid), if not ours.

    Call it from a thread that lives as long as the child should: Linux counts the death of the thread.
    """
    uid, gid = account or (-1, -1)
    guard = [sys.executable, "-I", "-S", str(Path(__file__).resolve())]
    settings = [str(os.getpid()), str(int(death_signal)), str(uid), str(gid)]
    return subprocess.Popen(
        [*guard, *settings, *(str(part) for part in command)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=dict(environment) if environment is not None else None,
        cwd=directory,
        process_group=0,
    )


def stop(process: subprocess.Popen[bytes], *, by: signal.Signals, limit_s: float) -> bool:
    """Signal `process` and wait; after `limit_s` seconds kill its group. True when it went by itself."""
    if process.poll() is not None:
        return True
    process.send_signal(by)
    try:
        process.wait(timeout=limit_s)
    except subprocess.TimeoutExpired:
        kill(process)
        return False
    return True


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and its group at once, and reap it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=_KILL_AFTER_S)


def _main(arguments: list[str]) -> int:
    parent, death_signal, uid, gid = (int(argument) for argument in arguments[:4])
    command = arguments[4:]
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform != "linux":
        return watch(command, parent=parent, death_signal=death_signal)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        return _PARENT_GONE
    os.execvp(command[0], command)  # noqa: S606 - a list, no shell
    raise AssertionError("unreachable: execvp does not return")


def watch(command: list[str], *, parent: int, death_signal: int) -> int:
    """Run `command`, pass signals on, and end it when `parent` is no longer our parent; return its exit code."""
    process = subprocess.Popen(command, process_group=0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: process.send_signal(received))
    while process.poll() is None:
        if os.getppid() != parent:
            stop(process, by=signal.Signals(death_signal), limit_s=_KILL_AFTER_S)
            return _PARENT_GONE
        time.sleep(_WATCH_INTERVAL_S)
    return process.returncode


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
