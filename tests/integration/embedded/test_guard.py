"""Where the kernel has no parent-death signal, the guard itself watches; it is tried here on any system."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from pileway import guard
from tests import child_output
from tests.waiting import wait_until

PARENT = """
import subprocess, sys
from pathlib import Path
from pileway import guard
command = [sys.executable, "-c", "import os, sys; from pileway import guard; sys.exit(guard.watch("
           "['sh', '-c', 'echo $$; exec sleep 600'], parent=os.getppid(), death_signal=15))"]
subprocess.Popen(command)
sys.stdin.read()
"""


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_watching_guard_ends_its_program_when_the_parent_is_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    program_pid = int(child_output.line_of(parent))
    parent.send_signal(signal.SIGKILL)
    parent.communicate(timeout=20)
    wait_until(lambda: not _alive(program_pid))


def test_program_gets_the_signal_we_send(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as output:
        process = guard.spawn(
            [
                sys.executable,
                "-c",
                "import signal, sys; print('up', flush=True); signal.sigwait([15]); print('told')",
            ],
            death_signal=signal.SIGKILL,
            output=output,
        )
    wait_until(lambda: "up" in (tmp_path / "out").read_text() or process.poll() is not None)
    guard.stop(process, by=signal.SIGTERM, limit_s=10)
    assert process.returncode in (0, -signal.SIGTERM)


def test_program_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    script = "trap '' TERM; echo up; while :; do sleep 0.1; done"
    with (tmp_path / "out").open("wb") as output:
        process = guard.spawn(["sh", "-c", script], death_signal=signal.SIGKILL, output=output)
    wait_until(lambda: "up" in (tmp_path / "out").read_text())
    assert not guard.stop(process, by=signal.SIGTERM, limit_s=0.3)
    assert process.returncode == -signal.SIGKILL
