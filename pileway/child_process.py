"""One process of ours as a supervised part: started by name, ready when it says so, its output in the log."""

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pileway import guard
from pileway.errors import NotReady, PartFailed
from pileway.running_process import RunningProcess

READY_LIMIT_S = 60.0

_POLL_S = 0.05
_MAX_LINE_BYTES = 64 * 1024
_TAIL_LINES = 8
_PUMP_LIMIT_S = 5.0


@dataclass
class ChildProcess(RunningProcess):
    """`python -m pileway <arguments>`; its lines go to `output`, each with the part's name in front."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    output: logging.Logger
    _pump: threading.Thread | None = field(default=None, init=False)
    _last_lines: list[str] = field(default_factory=list[str], init=False)

    def start(self) -> None:
        """Start it and wait until it says it is ready; raises a `PartFailed` with its last lines."""
        self._last_lines.clear()
        with (
            tempfile.TemporaryDirectory(prefix="pileway-") as folder,
            _ReadySocket(Path(folder) / "ready") as ready,
        ):
            # A part may be killed at any instant without harm, so nothing of it survives us.
            self._process = guard.spawn(
                [sys.executable, "-m", "pileway", *self.arguments],
                death_signal=signal.SIGKILL,
                output=subprocess.PIPE,
                environment=os.environ | dict(self.environment) | {"NOTIFY_SOCKET": str(ready.path)},
            )
            assert self._process.stdout is not None
            self._pump = threading.Thread(
                target=self._carry, args=(self._process.stdout,), name=f"{self.name}-log", daemon=True
            )
            self._pump.start()
            self._wait_ready(self._process, ready)

    def stop(self) -> None:
        """Ask it to stop, wait, kill it if it does not, and take its last lines."""
        super().stop()
        self._join_pump()

    def _wait_ready(self, process: subprocess.Popen[bytes], ready: "_ReadySocket") -> None:
        deadline = time.monotonic() + READY_LIMIT_S
        while time.monotonic() < deadline:
            if ready.told(_POLL_S):
                return
            if process.poll() is not None:
                self._join_pump()
                raise PartFailed(f"{self.name} ended with code {process.returncode}:\n{self._tail()}")
        guard.kill(process)
        self._join_pump()
        raise NotReady(f"{self.name} was not ready within {READY_LIMIT_S:.0f} s:\n{self._tail()}")

    def _carry(self, source: IO[bytes]) -> None:
        with source:
            while line := source.readline(_MAX_LINE_BYTES):
                text = line.decode(errors="replace").rstrip()
                self._last_lines.append(text)
                del self._last_lines[:-_TAIL_LINES]
                self.output.info("%s | %s", self.name, text)

    def _join_pump(self) -> None:
        if self._pump is not None:
            self._pump.join(_PUMP_LIMIT_S)

    def _tail(self) -> str:
        return "\n".join(self._last_lines) or "(it said nothing)"


class _ReadySocket:
    """Where a starting process tells that it is ready."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def __enter__(self) -> "_ReadySocket":
        self._socket.bind(str(self.path))
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def told(self, limit_s: float) -> bool:
        self._socket.settimeout(limit_s)
        try:
            return b"READY=1" in self._socket.recv(1024)
        except TimeoutError:
            return False
