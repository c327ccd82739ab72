"""The simulated pile conforms: the whole pile side of the kit, as `pileway conformance pile` runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.case import Kind
from conformance.pile import cases
from conformance.report import Outcome, Report
from pileway import conformance_pile

LEAST_CASES = 45
CLI_LIMIT_S = 90


@pytest.fixture(scope="module")
def report() -> Report:
    """The report of every case; played once for this module."""
    return conformance_pile.judge_simulator(cases.ALL, progress=lambda _result: None)


def test_every_case_passes(report: Report) -> None:
    failed = [result.line() for result in report.results if result.result is not Outcome.PASSED]
    assert failed == []
    assert report.exit_code == 0


def test_the_kit_goes_every_path(report: Report) -> None:
    assert len(report.results) >= LEAST_CASES
    assert {result.kind for result in report.results} == set(Kind)
    assert len({result.id for result in report.results}) == len(report.results)


def test_command_ends_with_one_json_object_and_writes_a_page(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    command = [sys.executable, "-m", "pileway", "conformance", "pile", "--case", "stop.*", "--json"]
    ended = subprocess.run(
        [*command, "--html", str(page)], capture_output=True, text=True, timeout=CLI_LIMIT_S, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads(ended.stdout.splitlines()[-1])
    assert told["cases"] == told["passed"] == len(told["results"]) == 7
    assert (told["failed"], told["skipped"]) == (0, 0)
    assert {"id", "title", "clause", "kind", "result", "reason", "seconds"} == told["results"][0].keys()
    assert "stop.ends-the-session" in page.read_text()


def test_command_refuses_a_case_that_does_not_exist() -> None:
    command = [sys.executable, "-m", "pileway", "conformance", "pile", "--case", "no.such-case"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=CLI_LIMIT_S, check=False)
    assert ended.returncode == 2
    assert "no case has such an id" in ended.stderr
