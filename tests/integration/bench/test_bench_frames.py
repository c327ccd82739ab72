"""`pileway bench frames` reads every kind of frame and tells its figures. No time is judged."""

import json
import subprocess
import sys

from protocol import fields
from protocol.topics import Direction


def test_bench_reads_every_message_up_and_hostile_frames_of_both_makers() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pileway", "bench", "frames", "--repeats", "10", "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    genuine = {cls.message for cls in fields.catalogue() if cls.direction is Direction.UP}
    assert genuine <= told["frames"].keys()
    hostile = {name.partition(":")[0] for name in told["frames"] if ":" in name}
    assert hostile == {"stranger", "pile"}
    assert all(figures["us_p99"] >= figures["us_p50"] > 0 for figures in told["frames"].values())
    assert told["frames"]["meter"]["floor_us_p50"] > 0
    assert told["worst_frame"] in told["frames"]
