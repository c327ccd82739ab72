"""What our parts share as processes: how to look at one, stop it, or kill it."""

import signal
import subprocess
from typing import ClassVar

from pileway import guard


class RunningProcess:
    """A process that is started again and again; `stop_signal` asks it to go, `stop_limit_s` is its time for that."""

    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    stop_limit_s: ClassVar[float] = 15.0
    _process: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        """Ask it to stop, wait until it is gone, and kill it if it takes too long."""
        if self._process is not None:
            guard.stop(self._process, by=self.stop_signal, limit_s=self.stop_limit_s)
            self._process = None

    def kill9(self) -> None:
        """Kill it at once, as a power cut would; for tests."""
        if self._process is not None:
            guard.kill(self._process)
            self._process = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def exit_code(self) -> int | None:
        """Exit code when it ended by itself, None while it runs."""
        return self._process.poll() if self._process is not None else None
