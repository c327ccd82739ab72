"""`pileway bench survive` in short: parts killed under load, and exactly what was sent is stored. No time is judged."""

import json
import os
import subprocess
import sys
from pathlib import Path

LIMIT_S = 300
SHORT = ("--frames", "6000", "--kills", "1", "--piles", "20", "--rate", "2000", "--kept", "9")


def _bench(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PILEWAY_")}
    return subprocess.run(
        [sys.executable, "-m", "pileway", "bench", "survive", "--home", str(folder / "home"), *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=bare,
        check=False,
    )


def test_whatever_is_killed_exactly_what_was_sent_is_stored(work_folder: Path) -> None:
    done = _bench(*SHORT, "--json", folder=work_folder)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["exact"]
    assert (told["sent"], told["stored"], told["samples"]) == (6_000, 6_000, 12_000)
    assert (told["missing"], told["strangers"], told["different"]) == (0, 0, 0)
    assert told["kills"] == {"broker": 1, "database": 1, "gateway": 1}
    restarts = told["restarts"]
    # A database whose predecessor is not quite gone is started once more.
    assert min(restarts["broker"], restarts["database"], restarts["gateway-1"] + restarts["gateway-2"]) >= 1
    assert told["said_again"] > 0
    assert told["sent_twice"] > 0
    assert told["seconds_to_stored"] < told["seconds"]
    assert not list(work_folder.glob(".pileway-bench-*"))
