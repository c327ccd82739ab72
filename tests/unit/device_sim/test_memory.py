"""What a pile writes down outlives power cuts: what it has heard, its secrets, its log."""

import json
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_sim import enrolment
from device_sim.heard import HeardCounters
from device_sim.journal import LINES_KEPT, Journal
from device_sim.keyring import Keyring
from device_sim.nvm import Nvm
from device_sim.pile import Pile
from device_sim.rooms import PARTS
from protocol.envelope import Counter
from protocol.messages import BootAck, CommandAck, KeyRotate
from protocol.words import BootReason, CommandCause, CommandResult, LogLevel

if TYPE_CHECKING:
    from tests.unit.device_sim.conftest import Bench

OLD, NEW = bytes(32), bytes(range(32))


def test_the_newest_counter_of_each_epoch_is_kept(tmp_path: Path) -> None:
    heard = HeardCounters(tmp_path)
    assert heard.newest(1) == (0, 0)
    for epoch, counter in ((1, Counter(0, 5)), (1, Counter(1, 2)), (2, Counter(0, 1))):
        heard.note(epoch, counter)
        assert HeardCounters(tmp_path).newest(epoch) == counter
    assert HeardCounters(tmp_path).newest(1) == (1, 2)


@given(st.data())
def test_a_write_cut_short_leaves_the_counter_before_it(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("heard")
    heard = HeardCounters(folder)
    for seq in range(1, data.draw(st.integers(2, 6))):
        heard.note(1, Counter(3, seq))
    before, content = heard.newest(1), (folder / "heard.bin").read_bytes()
    heard.note(1, Counter(3, 99))
    after = (folder / "heard.bin").read_bytes().ljust(32, b"\0")
    written = data.draw(st.integers(0, 16))
    place = next((at for at in (0, 16) if after[at : at + 16] != content[at : at + 16]), 0)
    torn = bytearray(content.ljust(32, b"\0"))
    torn[place : place + written] = after[place : place + written]
    (folder / "heard.bin").write_bytes(torn)
    assert HeardCounters(folder).newest(1) in (before, Counter(3, 99))


def test_the_log_is_bounded_in_memory_and_on_disk(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for at_ms in range(5 * LINES_KEPT):
        journal.note(at_ms, LogLevel.INFO, f"line {at_ms}")
    kept = Journal(tmp_path).since(0, most=10_000)
    assert [line.at_ms for line in kept] == list(range(4 * LINES_KEPT, 5 * LINES_KEPT))
    assert len((tmp_path / "journal.jsonl").read_bytes().splitlines()) <= 2 * LINES_KEPT


def test_a_line_half_written_is_passed_over(tmp_path: Path) -> None:
    Journal(tmp_path).note(1, LogLevel.INFO, "whole")
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'[2,2,"ha')
    assert [line.text for line in Journal(tmp_path).since(0, most=9)] == ["whole"]
    Journal(tmp_path).note(3, LogLevel.INFO, "after")
    assert Journal(tmp_path).since(0, most=9)[-1].text == "after"


def enrolled(bench: "Bench") -> Keyring:
    """The keyring of an enrolled pile, as its folder has it now."""
    path = enrolment.identity_path(bench.config.folder)
    if not path.exists():
        facts = {"broker_url": "mqtts://b", "device_secret": b64encode(OLD).decode(), "key_epoch": 1}
        path.write_text(json.dumps(facts))
    identity = enrolment.load(bench.config)
    assert identity is not None
    return identity.keys


def power_up(bench: "Bench") -> Pile:
    """The pile with the keys in its folder."""
    bench.pile = Pile(
        bench.config,
        Nvm(bench.config.folder),
        keys=enrolled(bench),
        parts=PARTS,
        now_ms=bench.now_ms,
        reason=BootReason.POWER,
        clock_tolerance_ms=2_000,
    )
    bench.pile.outbox.linked = True
    bench.tell(BootAck(bench.now_ms, 60, 30, 0))
    return bench.pile


def rotation(bench: "Bench", epoch: int = 2, *, late: bool = False) -> KeyRotate:
    """The next secret."""
    return KeyRotate(uuid4(), epoch, NEW, bench.now_ms + (-1 if late else 60_000))


def test_a_new_secret_seals_the_answer_and_outlives_a_power_cut(bench: "Bench") -> None:
    pile = power_up(bench)
    bench.tell(rotation(bench))
    assert bench.heard(CommandAck)[-1].result is CommandResult.DONE
    assert (pile.keys.epoch, pile.keys.secret) == (2, NEW)
    again = enrolled(bench)
    assert (again.epoch, again.secret) == (2, NEW)
    assert again == pile.keys


def test_the_answer_to_a_rotation_goes_before_everything_that_waits(bench: "Bench") -> None:
    pile = power_up(bench)
    pile.outbox.put(pile.heartbeat_message())
    pile.receive(rotation(bench), now_ms=bench.now_ms)
    assert isinstance(pile.outbox.take(), CommandAck)


def test_the_old_secret_opens_until_the_platform_is_heard_under_the_new(bench: "Bench") -> None:
    keys = power_up(bench).keys
    bench.tell(rotation(bench))
    before = enrolled(bench)
    keys.heard_under(1)
    assert enrolled(bench) == before
    keys.heard_under(2)
    assert enrolled(bench) == keys
    assert enrolled(bench) != before


def test_a_rotation_whose_answer_a_power_cut_took_is_done_already(bench: "Bench") -> None:
    pile = power_up(bench)
    rotate = rotation(bench)
    pile.keys.take(rotate.epoch, rotate.secret)
    power_up(bench)
    bench.tell(rotate)
    assert bench.heard(CommandAck)[-1].result is CommandResult.DONE
    assert bench.pile.keys.epoch == 2


@pytest.mark.parametrize("epoch", [3, 9])
def test_an_epoch_that_is_not_the_next_is_refused(bench: "Bench", epoch: int) -> None:
    pile = power_up(bench)
    bench.tell(rotation(bench, epoch))
    refused = bench.heard(CommandAck)[-1]
    assert (refused.result, refused.cause) == (CommandResult.REFUSED, CommandCause.WRONG_EPOCH)
    assert (pile.keys.epoch, enrolled(bench).epoch) == (1, 1)


def test_another_secret_for_the_epoch_in_use_is_refused(bench: "Bench") -> None:
    pile = power_up(bench)
    bench.tell(rotation(bench))
    bench.tell(replace(rotation(bench), secret=OLD))
    assert bench.heard(CommandAck)[-1].cause is CommandCause.WRONG_EPOCH
    assert pile.keys.secret == NEW


def test_a_late_rotation_changes_nothing(bench: "Bench") -> None:
    pile = power_up(bench)
    bench.tell(rotation(bench, late=True))
    assert bench.heard(CommandAck)[-1].result is CommandResult.EXPIRED
    assert pile.keys.epoch == 1
