"""The supervisor restarts what dies, stops in reverse order, and says why something did not start."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pileway import guard, home
from pileway.errors import PartFailed
from pileway.supervisor import Supervisor
from tests import child_output
from tests.waiting import wait_until


@dataclass
class Sleeper:
    """A part that is a real process doing nothing; it notes when it stops."""

    name: str
    stopped: list[str] = field(default_factory=list[str])
    broken: bool = False
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    def start(self) -> str:
        if self.broken:
            raise PartFailed(f"{self.name} is broken")
        self.process = guard.spawn(["sleep", "600"], death_signal=signal.SIGKILL, output=subprocess.DEVNULL)
        return f"address of {self.name}"

    def exit_code(self) -> int | None:
        return self.process.poll() if self.process is not None else None

    def stop(self) -> None:
        if self.process is not None:
            guard.stop(self.process, by=signal.SIGTERM, limit_s=10)
        self.stopped.append(self.name)


@pytest.fixture
def log_folder(tmp_path: Path) -> Path:
    """Where the parts' output goes."""
    return home.private_folder(tmp_path / "log")


def test_parts_are_stopped_in_reverse_order_and_gone(log_folder: Path) -> None:
    stopped: list[str] = []
    parts = [Sleeper(name, stopped) for name in ("database", "broker", "gateway")]
    with Supervisor(log_folder) as supervisor:
        assert [supervisor.add(part) for part in parts] == [f"address of {part.name}" for part in parts]
        assert all(state.pid for state in supervisor.states())
    assert stopped == ["gateway", "broker", "database"]
    assert [part.pid for part in parts] == [None, None, None]


def test_dead_part_is_started_again(log_folder: Path) -> None:
    part = Sleeper("gateway")
    with Supervisor(log_folder) as supervisor:
        supervisor.add(part)
        first_pid = part.pid
        assert first_pid is not None
        os.kill(first_pid, signal.SIGKILL)
        wait_until(lambda: part.pid not in (None, first_pid))
        assert supervisor.states()[0].restarts == 1


def test_halted_part_stays_away_until_it_is_wanted_again(log_folder: Path) -> None:
    part = Sleeper("database")
    with Supervisor(log_folder) as supervisor:
        supervisor.add(part)
        first_pid = part.pid
        with supervisor.halted("database"):
            assert part.pid is None
            # Another part's start is a round of the supervisor in which it looks after all.
            supervisor.add(Sleeper("broker"))
            assert part.pid is None
        assert part.pid not in (None, first_pid)
        assert [state.restarts for state in supervisor.states()] == [0, 0]


def test_part_that_does_not_come_back_is_tried_again_ever_more_slowly(log_folder: Path) -> None:
    part = Sleeper("gateway")
    with Supervisor(log_folder) as supervisor:
        supervisor.add(part)
        part.broken = True
        assert part.pid is not None
        os.kill(part.pid, signal.SIGKILL)
        began = time.monotonic()
        wait_until(lambda: supervisor.states()[0].restarts == 3)
        assert time.monotonic() - began > 0.2 + 0.4 + 0.8 - 0.1
        part.broken = False
        wait_until(lambda: part.pid is not None)


def test_part_that_cannot_start_is_an_error_and_leaves_nothing(log_folder: Path) -> None:
    with Supervisor(log_folder) as supervisor:
        with pytest.raises(PartFailed, match="gateway is broken"):
            supervisor.add(Sleeper("gateway", broken=True))
        assert supervisor.states() == ()


def test_process_that_ends_at_once_shows_its_last_words(log_folder: Path) -> None:
    with Supervisor(log_folder) as supervisor:
        with pytest.raises(PartFailed, match="gateway ended with code 2") as failure:
            supervisor.add_process("gateway", ["gateway"], {"PILEWAY_CLOCK_SPEED": "fast"})
        assert "PILEWAY_CLOCK_SPEED" in str(failure.value)
    assert "gateway | pileway: PILEWAY_CLOCK_SPEED" in (log_folder / "pileway.log").read_text()


def test_removed_part_is_stopped_and_forgotten(log_folder: Path) -> None:
    part = Sleeper("payment-sim")
    with Supervisor(log_folder) as supervisor:
        supervisor.add(part)
        supervisor.remove("payment-sim")
        assert part.pid is None
        assert supervisor.states() == ()
        with pytest.raises(KeyError):
            supervisor.remove("payment-sim")


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_child_never_outlives_its_parent(ending: signal.Signals) -> None:
    script = (
        "import signal, subprocess, sys\n"
        "from pileway import guard\n"
        "child = guard.spawn(['sleep', '600'], death_signal=signal.SIGKILL, output=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    child_pid = int(child_output.line_of(parent))
    parent.send_signal(ending)
    parent.communicate(timeout=20)
    wait_until(lambda: not _alive(child_pid))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
