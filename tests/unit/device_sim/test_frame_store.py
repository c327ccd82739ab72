"""Meter frames on a pile's flash: a power cut loses none that the platform has not said to have stored."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from device_sim.battery import PACKS, Battery
from device_sim.frame_store import REWRITTEN_AFTER, FrameStore
from device_sim.sample_queue import BURST
from protocol import codec
from protocol.envelope import Counter
from protocol.messages import BootAck, FrameReceipt, MeterFrame, MeterReceipt
from protocol.topics import Direction
from protocol.words import FrameResult, ReceiptWish

if TYPE_CHECKING:
    from tests.unit.device_sim.conftest import Bench


def test_what_was_kept_and_not_forgotten_is_there_after_a_power_cut(tmp_path: Path) -> None:
    store = FrameStore(tmp_path)
    for number in range(1, 6):
        store.keep(number, bytes([number]))
    store.forget([2, 4, 77])
    assert FrameStore(tmp_path).kept == {1: b"\1", 3: b"\3", 5: b"\5"}


def test_a_power_cut_in_the_middle_of_writing_costs_only_what_was_being_written(tmp_path: Path) -> None:
    store = FrameStore(tmp_path)
    for number in range(1, 4):
        store.keep(number, b"frame")
    log = tmp_path / "frames.log"
    log.write_bytes(log.read_bytes()[:-3])
    store = FrameStore(tmp_path)
    assert list(store.kept) == [1, 2]
    store.keep(3, b"again")
    assert FrameStore(tmp_path).kept[3] == b"again"


def test_the_log_does_not_grow_with_frames_that_are_gone(tmp_path: Path) -> None:
    store = FrameStore(tmp_path)
    for number in range(1, 20 * REWRITTEN_AFTER):
        store.keep(number, bytes(100))
        store.forget([number - 3])
    assert (tmp_path / "frames.log").stat().st_size < 4 * REWRITTEN_AFTER * 120
    assert len(FrameStore(tmp_path).kept) == 3


def say(bench: "Bench") -> dict[Counter, MeterFrame]:
    """Let all leave that may leave now; the meter frames by their counters."""
    said: dict[Counter, MeterFrame] = {}
    while (message := bench.pile.outbox.take()) is not None:
        counter = bench.pile.next_counter()
        bench.pile.outbox.sealed(message, counter)
        if isinstance(message, MeterFrame):
            said[counter] = message
    return said


def receipt(counters: list[Counter], result: FrameResult = FrameResult.STORED) -> MeterReceipt:
    return MeterReceipt(tuple(FrameReceipt(*counter, result) for counter in counters))


def offline_for_an_hour(bench: "Bench") -> None:
    """A session charges while there is no link."""
    bench.pile.plug(1, Battery(PACKS[0], 0.9), now_ms=bench.now_ms)
    bench.start()
    bench.wait(60)
    say(bench)
    bench.pile.link_changed(False, now_ms=bench.now_ms)
    bench.now_ms += 3_600_000
    bench.pile.advance(bench.now_ms)


def test_a_power_cut_in_the_middle_of_a_replay_loses_nothing(bench: "Bench") -> None:
    offline_for_an_hour(bench)
    instants = set(frame_instants(bench))
    assert len(instants) >= 120
    bench.pile.link_changed(True, now_ms=bench.now_ms)
    first = say(bench)
    assert len(first) == BURST
    assert {frame.receipt for frame in first.values()} == {ReceiptWish.NOW}
    stored = list(first)[:5]
    bench.pile.receive(receipt(stored), now_ms=bench.now_ms)
    bench.pile.lose_power(now_ms=bench.now_ms)
    bench.power_up(acknowledged=False)
    bench.pile.receive(BootAck(bench.now_ms, 60, 30, 0), now_ms=bench.now_ms)
    assert set(frame_instants(bench)) >= instants - {first[counter].sampled_at_ms for counter in stored}
    again = say(bench)
    assert [frame.sampled_at_ms for frame in again.values()] == sorted(frame_instants(bench))[:BURST]


def test_a_frame_the_platform_cannot_take_is_kept_aside_and_said_no_more(bench: "Bench") -> None:
    offline_for_an_hour(bench)
    bench.pile.link_changed(True, now_ms=bench.now_ms)
    first = say(bench)
    waiting = len(frame_instants(bench))
    bench.pile.receive(receipt(list(first), FrameResult.OUT_OF_RANGE), now_ms=bench.now_ms)
    assert len(frame_instants(bench)) == waiting - BURST
    bench.pile.lose_power(now_ms=bench.now_ms)
    bench.power_up()
    assert len(bench.pile.memory.refused_frames) == BURST
    assert bench.pile.memory.rejected == []
    assert not {frame.sampled_at_ms for frame in first.values()} & set(frame_instants(bench))


def test_a_frame_is_saved_aside_before_it_is_forgotten(bench: "Bench") -> None:
    offline_for_an_hour(bench)
    bench.pile.link_changed(True, now_ms=bench.now_ms)
    first = say(bench)
    waiting = frame_instants(bench)
    memory = bench.config.folder / "memory.json"
    memory.unlink()
    memory.mkdir()
    with pytest.raises(IsADirectoryError):
        bench.pile.receive(receipt(list(first), FrameResult.OUT_OF_RANGE), now_ms=bench.now_ms)
    assert frame_instants(bench) == waiting


def frame_instants(bench: "Bench") -> list[int]:
    """The instants of the frames on the flash as a new board would find them."""
    kept = FrameStore(bench.config.folder).kept.values()
    frames = [codec.decode(Direction.UP, "meter", body) for body in kept]
    return [frame.sampled_at_ms for frame in frames if isinstance(frame, MeterFrame)]
