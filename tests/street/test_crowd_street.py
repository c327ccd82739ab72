"""Many piles at once: one that floods is shut out while the others are served, and all of them come back together."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from charging.session_states import SessionState
from device_sim import faults
from tests.street.block import Block, open_block
from tests.waiting import wait_until

SPEED = 60.0
FLOOD_S = 12
LIMIT_S = 40.0
QUARANTINED_WITHIN_S = 10.0
LOUD, CALM = "F-01", "F-02"


@pytest.fixture(scope="module")
def block(work_folder: Path) -> Iterator[Block]:
    folder = Path(tempfile.mkdtemp(prefix="crowd-", dir=work_folder))
    piles: dict[str, int] = dict.fromkeys((LOUD, CALM), 4)
    with open_block(folder, piles=piles, speed=SPEED) as block:
        yield block


def state_of(block: Block, pile_id: str) -> str:
    """A pile's state on the platform."""
    return block.desk.get(f"/piles/{pile_id}")["state"]


def test_a_pile_that_floods_is_shut_out_while_others_are_served(block: Block) -> None:
    said: list[str] = []
    charging = block.charge(CALM, 1)
    reached = block.wait_energy(charging)["energy_wh"]
    faults.begin(block.fleet, f"flood@{LOUD}:400,{FLOOD_S}", said.append)
    wait_until(
        lambda: state_of(block, LOUD) == "quarantined", limit_s=QUARANTINED_WITHIN_S, what="the quarantine"
    )
    assert block.desk.command(CALM, "locate")["state"] == "done"
    block.wait_for(block.charge(CALM, 2), SessionState.CHARGING)
    reached = block.wait_energy(charging, above_wh=reached + 2)["energy_wh"]
    wait_until(
        lambda: not block.fleet.ask(lambda fleet: fleet.pile(LOUD).online.is_set()),
        limit_s=LIMIT_S,
        what="the loud pile to be cut from the broker",
    )
    [change, *_] = block.desk.get(f"/piles/{LOUD}/state-changes")["changes"]
    assert (change["changed_by"], change["reason"]) == ("system", "flooding")
    wait_until(lambda: "flood: done" in said, limit_s=LIMIT_S, what="the flood to be over")
    block.fleet.unplug(CALM, 1)
    block.assert_settled_once(charging)
    block.wait_gapless(charging)
    assert state_of(block, CALM) == "active"


def test_a_pile_shut_out_for_flooding_is_served_again_once_a_person_lets_it_back(block: Block) -> None:
    assert state_of(block, LOUD) == "quarantined"
    block.desk.post(f"/piles/{LOUD}/release", {"by": "Li", "reason": "antenna replaced"})
    wait_until(
        lambda: block.desk.get(f"/piles/{LOUD}")["online"], limit_s=LIMIT_S, what="the pile to be back"
    )
    block.wait_for(block.charge(LOUD, 1), SessionState.CHARGING)
