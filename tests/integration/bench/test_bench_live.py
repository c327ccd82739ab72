"""`pileway bench live` times every sample to the page that shows it, on parts of its own. No time is judged."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pileway.bench import live_watchers
from pileway.bench.live import WatchersDeaf

LIMIT_S = 180
FEW = ("--sessions", "10", "--rounds", "1", "--every", "1.5")


def test_bench_hears_of_every_sample_and_ends_with_its_figures(work_folder: Path) -> None:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PILEWAY_")}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pileway",
            "bench",
            "live",
            "--home",
            str(work_folder / "home"),
            *FEW,
            "--json",
        ],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=bare,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert (figures["watched_sessions"], figures["samples"]) == (10, 10)
    assert 0 < figures["latency_ms_p50"] <= figures["latency_ms_p99"] <= figures["latency_ms_max"]
    assert set(figures["processes"]) == {"api", "broker", "database", "gateway", "load"}
    assert not list(work_folder.glob(".pileway-bench-*"))


def test_deaf_watchers_are_one_failure_and_no_group() -> None:
    async def watch() -> None:
        async with live_watchers.watching([], 1):
            raise WatchersDeaf("nobody hears")

    with pytest.raises(WatchersDeaf):
        asyncio.run(watch())
