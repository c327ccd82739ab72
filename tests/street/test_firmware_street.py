"""A release goes from its maker to the piles in stages, and one that does not boot goes no further than the first."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from charging.session_states import SessionState
from tests.street.block import SITE, Block, Json, open_block
from tests.waiting import wait_until

SPEED = 60.0
LIMIT_S = 60.0
PILES = ("V-01", "V-02", "V-03")
MODEL = "PW-4"


def pileway(*arguments: str) -> None:
    """The command line, as the maker types it."""
    subprocess.run(
        [sys.executable, "-m", "pileway", *arguments], check=True, capture_output=True, timeout=LIMIT_S
    )


@pytest.fixture(scope="module")
def workshop(work_folder: Path) -> Path:
    """The maker's folder, with its key."""
    folder = Path(tempfile.mkdtemp(prefix="maker-", dir=work_folder))
    pileway("firmware", "keygen", "--key", str(folder / "maker.pem"))
    return folder


@pytest.fixture(scope="module")
def block(work_folder: Path, workshop: Path) -> Iterator[Block]:
    folder = Path(tempfile.mkdtemp(prefix="firmware-", dir=work_folder))
    piles: dict[str, int] = dict.fromkeys(PILES, 4)
    with open_block(
        folder, piles=piles, speed=SPEED, firmware_public_key_path=workshop / "maker.pem.pub"
    ) as block:
        yield block


def release(block: Block, workshop: Path, version: str, *, boots: bool = True) -> int:
    """Make an image, sign it and upload it; its release."""
    image, manifest = workshop / f"{version}.img", workshop / f"{version}.json"
    image.write_text(
        json.dumps({"model": MODEL, "version": version, "boots": boots, "filling": "x" * 20_000})
    )
    pileway(
        *("firmware", "sign", str(image), "--model", MODEL, "--version", version),
        *("--minimum-version", "0.1.0", "--key", str(workshop / "maker.pem"), "--out", str(manifest)),
    )
    answer = block.desk.http.post(
        "/firmware/releases",
        data={"manifest": manifest.read_text()},
        files={"image": (image.name, image.read_bytes())},
    )
    uploaded = block.desk.said(answer, httpx.codes.CREATED)
    assert uploaded["signature_checked"]
    return int(uploaded["release_id"])


def roll_out(block: Block, release_id: int) -> Json:
    """Bring a release to a third of the piles, then to all, and wait for the end of it."""
    wish = {
        "release_id": release_id,
        "site_id": SITE.site_id,
        "stages_percent": [33, 100],
        "stop_at_failures": 1,
    }
    begun = block.desk.post("/firmware/rollouts", wish, httpx.codes.CREATED)
    return wait_until(
        lambda: (
            seen
            if (seen := block.desk.get(f"/firmware/rollouts/{begun['rollout_id']}"))["ended_at"]
            else None
        ),
        limit_s=LIMIT_S,
        what="the rollout to end",
    )


def parts_of(block: Block, rollout: Json) -> dict[str, Json]:
    """What became of each pile, by its id."""
    found = block.desk.get(f"/firmware/rollouts/{rollout['rollout_id']}/piles")["piles"]
    return {part["pile_id"]: part for part in found}


def running(block: Block) -> dict[str, str]:
    """The version each pile told at its newest boot."""
    return {pile_id: block.desk.get(f"/piles/{pile_id}")["firmware"] for pile_id in PILES}


def test_a_release_reaches_every_pile_and_waits_for_the_one_that_charges(
    block: Block, workshop: Path
) -> None:
    session_id = block.charge(PILES[0], 1)
    block.wait_energy(session_id)
    release_id = release(block, workshop, "2.0.0")
    wish = {"release_id": release_id, "pile_ids": [PILES[0]], "stages_percent": [100]}
    begun = block.desk.post("/firmware/rollouts", wish, httpx.codes.CREATED)
    wait_until(
        lambda: parts_of(block, begun)[PILES[0]]["step"] == "waiting",
        limit_s=LIMIT_S,
        what="the pile to wait",
    )
    assert block.session(session_id)["state"] == "charging"
    block.fleet.unplug(PILES[0], 1)
    block.assert_settled_once(session_id)
    wait_until(lambda: running(block)[PILES[0]] == "2.0.0", limit_s=LIMIT_S, what="the first pile's update")
    ended = roll_out(block, release_id)
    assert (ended["state"], [sum(stage["piles"].values()) for stage in ended["stages"]]) == ("done", [1, 1])
    assert set(running(block).values()) == {"2.0.0"}


def test_an_image_that_does_not_boot_stops_its_rollout_at_the_first_pile(
    block: Block, workshop: Path
) -> None:
    ended = roll_out(block, release(block, workshop, "2.1.0", boots=False))
    assert ended["state"] == "stopped"
    parts = parts_of(block, ended)
    [failed] = [part for part in parts.values() if part["state"] == "failed"]
    assert (failed["error"], failed["running"]) == ("boot_failed", "2.0.0")
    assert [part["told_at"] for part in parts.values() if part is not failed] == [None, None]
    assert set(running(block).values()) == {"2.0.0"}
    session_id = block.charge(failed["pile_id"], 2)
    block.wait_for(session_id, SessionState.CHARGING)
