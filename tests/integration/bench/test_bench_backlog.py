"""`pileway bench backlog` in short: piles replay beside live frames while the database goes and comes back.

No time is judged.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

LIMIT_S = 300
PILES = 8
SHORT = (
    *("--piles", str(PILES), "--hours", "0.003", "--every", "1", "--ports", "2"),
    *("--calm", "0.3", "--outage-s", "0.5"),
)
KEPT = 10
"""Frames of each pile, at least, one for each second without a link: two bursts, the database gone between them."""


def test_whatever_piles_kept_is_stored_once_beside_live_frames_and_none_is_refused(work_folder: Path) -> None:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PILEWAY_")}
    arguments = ["bench", "backlog", "--home", str(work_folder / "home"), *SHORT, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "pileway", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=bare,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["exact"]
    assert told["backlog_frames"] >= PILES * KEPT
    assert told["sent"] == told["stored"] == told["samples"] / 2 > told["backlog_frames"]
    assert (told["missing"], told["strangers"], told["different"], told["refused"]) == (0, 0, 0, 0)
    assert (told["live_frames_during"] == 0) == (told["live_during_ms_p50"] is None)
    assert told["broker_dropped"] == 0
    assert not list(work_folder.glob(".pileway-bench-*"))
