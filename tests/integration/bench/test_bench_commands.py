"""`pileway bench commands` runs on parts of its own, answers every command and tells its figures. No time is judged."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT_S = 120
FIGURES = ("floor_ms_p50", "floor_ms_p99", "command_ms_p50", "command_ms_p99", "ratio_p50", "ratio_p99")


def _bench(*arguments: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PILEWAY_")}
    return subprocess.run(
        [sys.executable, "-m", "pileway", "bench", "commands", "--home", str(folder / "home"), *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=bare | environment,
        check=False,
    )


def test_bench_answers_every_command_and_ends_with_its_figures(work_folder: Path) -> None:
    few = ("--rate", "20", "--rate", "40", "--seconds", "0.5", "--piles", "3", "--lanes", "2")
    done = _bench(*few, "--json", folder=work_folder, environment={})
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert list(told["rates"]) == ["20", "40"]
    for figures in told["rates"].values():
        assert all(figures[name] > 0 for name in FIGURES)
        assert figures["answered"] == figures["asked"]
    assert "ratio" in done.stdout
    assert not list(work_folder.glob(".pileway-bench-*"))


@pytest.mark.parametrize("variable", ["PILEWAY_DATABASE_URL", "PILEWAY_BROKER_URL"])
def test_bench_never_touches_servers_of_ones_own(variable: str, work_folder: Path) -> None:
    url = "postgresql://127.0.0.1/x" if variable == "PILEWAY_DATABASE_URL" else "mqtts://127.0.0.1:8883"
    done = _bench(folder=work_folder, environment={variable: url})
    assert done.returncode == 2
    assert done.stderr.startswith(f"pileway: {variable}: ")
    assert done.stderr.count("\n") == 1
