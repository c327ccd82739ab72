"""Without power, without the platform, without a register one can trust: what a session comes to."""

from typing import TYPE_CHECKING

import pytest

from device_sim.battery import PACKS, Battery
from protocol.messages import Heartbeat, MeterFrame, PortStateChanged
from protocol.words import PortState, StopReason

if TYPE_CHECKING:
    from tests.unit.device_sim.conftest import Bench

SMALL = Battery(PACKS[1], 0.8, seed=3)


def charge(bench: "Bench", *ports: int) -> None:
    for port in ports:
        bench.pile.plug(port, SMALL, now_ms=bench.now_ms)
        bench.start(port)


def rules(bench: "Bench", **settings: int) -> None:
    bench.pile.memory.settings.update(settings)
    bench.pile.adopt(bench.pile.thresholds.with_settings(settings))
    bench.pile.save()


def blackout(bench: "Bench", seconds: float, *, unplug: int | None = None) -> None:
    """The mains go for a while; somebody may pull a plug meanwhile."""
    around = bench.pile.lose_power(now_ms=bench.now_ms)
    if unplug is not None:
        del around.batteries[unplug]
    bench.now_ms += round(seconds * 1000)
    bench.power_up(surroundings=around)


def test_sessions_go_on_after_the_power_cut_but_not_where_the_plug_was_pulled(bench: "Bench") -> None:
    rules(bench, resume_after_power=1)
    charge(bench, *range(1, 11))
    bench.wait(3_000)
    before = {n: port.register_dwh(bench.now_ms) for n, port in bench.pile.ports.items()}
    blackout(bench, 1_200, unplug=4)
    [lost] = bench.settlements()
    assert (lost.port, lost.stop_reason) == (4, StopReason.POWER_LOSS)
    states = {change.port: change.state for change in bench.heard(PortStateChanged)[-10:]}
    assert states == dict.fromkeys(range(1, 11), PortState.CHARGING) | {4: PortState.IDLE}
    before_cut = len(bench.heard(MeterFrame))
    bench.wait(600)
    again = bench.heard(MeterFrame)[before_cut:]
    assert len(again) == 20
    assert all(len(frame.samples) == 9 for frame in again)
    for number in (1, 2, 3, 10):
        assert bench.pile.ports[number].register_dwh(bench.now_ms) > before[number]
    bench.wait(12 * 3_600)
    record = next(record for record in bench.settlements() if record.port == 1)
    assert record.stop_reason is StopReason.FULL
    assert sum(slot.energy_dwh for slot in record.slots) == record.energy_dwh
    assert sum(slot.duration_s for slot in record.slots) == record.duration_s
    assert (record.ended_at_ms - record.started_at_ms) // 1000 == record.duration_s
    assert record.end_register_dwh - record.start_register_dwh == record.energy_dwh


@pytest.mark.parametrize(("resume", "dark_s"), [(0, 5), (1, 1_801)])
def test_sessions_are_settled_where_they_may_not_go_on(bench: "Bench", resume: int, dark_s: int) -> None:
    rules(bench, resume_after_power=resume)
    charge(bench, 1)
    bench.wait(600)
    blackout(bench, dark_s)
    [record] = bench.settlements()
    assert record.stop_reason is StopReason.POWER_LOSS
    assert bench.pile.ports[1].state is PortState.PLUGGED


def test_a_port_that_waits_for_its_load_goes_on_waiting(bench: "Bench") -> None:
    rules(bench, resume_after_power=1)
    around = bench.pile.lose_power(now_ms=bench.now_ms)
    bench.power_up(surroundings=around)
    start = bench.start(1, plug_wait_s=120)
    around = bench.pile.lose_power(now_ms=bench.now_ms)
    around.batteries[1] = SMALL
    bench.now_ms += 60_000
    bench.power_up(surroundings=around)
    bench.wait(60)
    session = bench.pile.ports[1].session
    assert session is not None
    assert session.session_id == start.session_id
    assert session.meter is not None


@pytest.mark.parametrize("after_s", [31, 299, 3_600])
def test_no_register_falls_below_what_was_told_and_little_is_lost(bench: "Bench", after_s: int) -> None:
    charge(bench, 1, 2)
    bench.wait(after_s)
    told_wh = bench.heard(Heartbeat)[-1].energy_wh
    sampled_dwh = bench.heard(MeterFrame)[-1].samples[0].energy_dwh
    true_dwh = bench.pile.ports[1].register_dwh(bench.now_ms)
    blackout(bench, 10)
    kept_dwh = bench.pile.ports[1].register_dwh(bench.now_ms)
    bench.wait(60)
    assert bench.heard(Heartbeat)[-1].energy_wh >= told_wh
    assert sampled_dwh <= kept_dwh
    assert true_dwh - kept_dwh <= 30 * 200 / 360


def test_sessions_end_after_the_set_time_without_the_platform(bench: "Bench") -> None:
    rules(bench, offline_s=900, offline_policy=1)
    charge(bench, 1)
    bench.wait(300)
    bench.pile.link_changed(False, now_ms=bench.now_ms)
    bench.wait(600)
    bench.pile.link_changed(True, now_ms=bench.now_ms)
    bench.wait(600)
    assert bench.settlements() == []
    bench.pile.link_changed(False, now_ms=bench.now_ms)
    bench.wait(901)
    [record] = bench.settlements()
    assert record.stop_reason is StopReason.OFFLINE_TIMEOUT
    assert record.ended_at_ms == bench.now_ms - 1_000


def test_sessions_go_on_without_the_platform_unless_told_otherwise(bench: "Bench") -> None:
    rules(bench, offline_s=900)
    charge(bench, 1)
    bench.pile.link_changed(False, now_ms=bench.now_ms)
    bench.wait(7_200)
    assert bench.settlements() == []


@pytest.mark.parametrize("shift_dwh", [50_000, -1_000_000])
def test_a_register_that_jumps_or_resets_leaves_the_energy_right(bench: "Bench", shift_dwh: int) -> None:
    port = bench.pile.ports[1]
    port.shift_register(20_000, at_ms=bench.now_ms)
    charge(bench, 1)
    bench.wait(1_800)
    count_dwh = bench.heard(MeterFrame)[-1].samples[0].energy_dwh
    port.shift_register(shift_dwh, at_ms=bench.now_ms)
    bench.wait(12 * 3_600)
    [record] = bench.settlements()
    assert record.stop_reason is StopReason.FULL
    assert sum(slot.energy_dwh for slot in record.slots) == record.energy_dwh
    if shift_dwh > 0:
        assert record.end_register_dwh - record.start_register_dwh == record.energy_dwh + shift_dwh
    else:
        assert abs(record.end_register_dwh - (record.energy_dwh - count_dwh)) < 50
        assert record.end_register_dwh < record.start_register_dwh
    assert port.register_dwh(bench.now_ms) == pytest.approx(record.end_register_dwh, abs=1)
