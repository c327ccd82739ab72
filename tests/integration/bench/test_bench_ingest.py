"""`pileway bench ingest` stores every frame once on parts of its own and tells its figures. No time is judged."""

import json
import os
import subprocess
import sys
from pathlib import Path

LIMIT_S = 180
FIGURES = (
    "frames_per_s",
    "samples_per_s",
    "subscriber_frames_per_s",
    "copy_samples_per_s",
    "ratio_to_subscriber",
    "ratio_to_copy",
    "latency_ms_p50",
    "latency_ms_p99",
    "gateway_rss_mb",
)


def _bench(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PILEWAY_")}
    return subprocess.run(
        [sys.executable, "-m", "pileway", "bench", "ingest", "--home", str(folder / "home"), *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=bare,
        check=False,
    )


def test_bench_stores_what_was_sent_both_ways_and_ends_with_its_figures(work_folder: Path) -> None:
    few = ("--frames", "1000", "--piles", "6", "--ports", "2", "--seconds", "1")
    done = _bench(*few, "--json", folder=work_folder)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert list(told["ways"]) == ["tls", "plain"]
    for figures in (told, *told["ways"].values()):
        assert all(figures[name] > 0 for name in FIGURES)
        assert set(figures["processes"]) == {"broker", "database", "gateway", "load"}
    assert "of the bare COPY" in done.stdout
    assert not list(work_folder.glob(".pileway-bench-*"))


def test_bench_refuses_a_way_it_does_not_know(work_folder: Path) -> None:
    done = _bench("--way", "pigeon", folder=work_folder)
    assert done.returncode == 2
    assert "--way is tls or plain" in done.stderr
