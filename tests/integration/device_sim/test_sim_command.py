"""``pileway sim`` as somebody types it: one pile with a fault, the list of faults, and one line where it goes wrong."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from device_sim import PileConfig
from device_sim.faults import FAULTS
from protocol.messages import Settlement
from tests import child_output

if TYPE_CHECKING:
    from tests.integration.device_sim.conftest import Platform

LIMIT_S = 30.0
COMMAND = [sys.executable, "-m", "pileway", "sim"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def test_an_enrolled_pile_runs_with_a_fault_until_it_is_interrupted(
    platform: "Platform", config: PileConfig, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(config.folder, home / "sim" / config.pile_id)
    arguments = ["--pile", config.pile_id, "--home", str(home), "--fault", "settlement_orphan:50"]
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as sim:
        [record] = platform.wait_for(Settlement)
        assert record.energy_dwh == 500
        lines = [child_output.line_of(sim) for _ in range(4)]
        sim.send_signal(signal.SIGINT)
        _, complaints = sim.communicate(timeout=LIMIT_S)
    assert lines[:2] == ["P-1: connects", "P-1: in service, 10 ports"]
    assert lines[2].endswith("which nobody started")
    assert lines[3] == "settlement_orphan: done"
    assert (sim.returncode, complaints) == (0, "")


def test_the_faults_are_listed_with_what_must_come_of_them() -> None:
    listed = run("--list-faults")
    assert listed.returncode == 0
    for fault in FAULTS.values():
        assert fault.usage in listed.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        ([], 2, "give either --fleet FILE or --pile ID"),
        (["--pile", "P-9", "--fleet", "x.json"], 2, "give either --fleet FILE or --pile ID"),
        (["--pile", "P-9", "--fault", "earthquake"], 2, "there is no fault 'earthquake'"),
        (["--pile", "P-9", "--fault", "offline:soon"], 2, "parameters are numbers"),
        (["--fleet", "no-such-file.json"], 1, "no-such-file.json"),
        (["--pile", "P-9"], 1, "its claim code is needed"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_an_exit_code(
    tmp_path: Path, arguments: list[str], code: int, complaint: str
) -> None:
    told = run(*arguments, "--home", str(tmp_path))
    assert (told.returncode, told.stdout) == (code, "")
    assert complaint in told.stderr
    assert told.stderr.count("\n") == 1
