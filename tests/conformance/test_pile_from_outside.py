"""A pile that connects from outside is judged as it is: asked to enrol, restarted by command, put right again."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from device_sim.configuration import PileConfig
from device_sim.fleet import FleetThread
from tests.waiting import wait_until

PILE_ID = "YQ-77"
CHILDREN = ("YQ-77-A", "YQ-77-B")
LIMIT_S = 120.0


@contextmanager
def judged(*options: str) -> Generator[tuple[list[str], subprocess.Popen[str]]]:
    """The command with a pile from outside; gives the lines it has printed so far."""
    command = [sys.executable, "-m", "pileway", "conformance", "pile", "--outside", PILE_ID, *options]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        lines: list[str] = []
        output = process.stdout
        assert output is not None
        reader = threading.Thread(target=lambda: lines.extend(output), daemon=True)
        reader.start()
        try:
            yield lines, process
        finally:
            process.terminate()
            reader.join(LIMIT_S)


def told(lines: list[str], what: str) -> Callable[[], str | None]:
    """What the command printed after some words."""

    def look() -> str | None:
        found = re.search(rf"{what} +(\S+)", "".join(lines))
        return found.group(1) if found else None

    return look


def invited(lines: list[str], folder: Path, pile_id: str, *, host: str | None = None) -> PileConfig:
    """What a pile is given that the command waits for."""
    code = wait_until(told(lines, f"{pile_id}\n *claim code"), limit_s=60, what="the claim code")
    return PileConfig(
        pile_id=pile_id,
        port_count=4,
        folder=folder / pile_id,
        enrolment_url=told(lines, "enrolment address")() or "",
        enrolment_ca=Path(told(lines, "trusted CA")() or ""),
        claim_code=code,
        host=host,
    )


def test_pile_that_connects_is_judged_and_left_as_it_was(tmp_path: Path) -> None:
    cases = ("stop.already-ended", "config.out-of-range", "port_state.tells-a-plug", "relay.*-a-stranger*")
    options = [option for case in cases for option in ("--case", case)]
    with judged("--unattended", "--no-children", "--json", "--wait", "60", *options) as (lines, process):
        config = invited(lines, tmp_path, PILE_ID)
        with FleetThread([config], clock=lambda: datetime.now(UTC), speed=1.0) as fleet:
            assert process.wait(LIMIT_S) == 0
            settings = fleet.ask(lambda piles: piles.pile(PILE_ID).pile.thresholds.settings())
    report = json.loads(lines[-1])
    results = {entry["id"]: (entry["result"], entry["reason"]) for entry in report["results"]}
    assert results == {
        "stop.already-ended": ("passed", ""),
        "config.out-of-range": ("passed", ""),
        "port_state.tells-a-plug": ("skipped", "needs hands"),
        "relay.for-a-stranger": ("passed", ""),
        "relay.for-a-stranger-beside-children": ("not_applicable", "stated: carries no other piles"),
    }
    assert report["profile"] == ["carries no other piles"]
    assert settings["volume"] == 60


def test_host_that_connects_is_judged_with_the_piles_behind_it(tmp_path: Path) -> None:
    cases = ("host.command-reaches-the-pile-it-names", "relay.for-the-other-child")
    options = [option for case in cases for option in ("--case", case)]
    options += [option for child in CHILDREN for option in ("--child", child)]
    with judged("--unattended", "--json", "--wait", "60", *options) as (lines, process):
        configs = [invited(lines, tmp_path, PILE_ID)]
        configs += [invited(lines, tmp_path, child, host=PILE_ID) for child in CHILDREN]
        with FleetThread(configs, clock=lambda: datetime.now(UTC), speed=1.0):
            assert process.wait(LIMIT_S) == 0
    report = json.loads(lines[-1])
    assert {entry["id"]: entry["result"] for entry in report["results"]} == dict.fromkeys(cases, "passed")
    assert report["profile"] == []


def test_pile_that_never_comes_is_not_judged() -> None:
    with judged("--unattended", "--wait", "1", "--case", "stop.*") as (lines, process):
        assert process.wait(LIMIT_S) == 2
    assert "No case could be played" in "".join(lines)
