"""A pile keeps its promises: starts once, ends by itself, and its records add up."""

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device_sim.battery import PACKS, Battery
from protocol.messages import (
    BootAck,
    Heartbeat,
    MeterFrame,
    PortSample,
    PortStateChanged,
    Settlement,
    SettlementAck,
    StartAck,
    Started,
    Stop,
    StopAck,
    Time,
)
from protocol.words import (
    ClockState,
    Phase,
    PortState,
    SettlementResult,
    StartCause,
    StartResult,
    StopReason,
    StopResult,
)

if TYPE_CHECKING:
    from tests.unit.device_sim.conftest import Bench

SESSION = UUID(int=1)
SMALL = Battery(PACKS[0], 0.5, seed=3)
DELIVERY = Battery(PACKS[-1], 0.8, seed=3)


def assert_adds_up(record: Settlement) -> None:
    """Slots and tiers sum to the totals, registers differ by the energy, times by the seconds."""
    assert sum(slot.energy_dwh for slot in record.slots) == record.energy_dwh
    assert sum(slot.duration_s for slot in record.slots) == record.duration_s
    assert sum(tier.energy_dwh for tier in record.tiers) == record.energy_dwh
    assert sum(tier.duration_s for tier in record.tiers) == record.duration_s
    assert record.end_register_dwh - record.start_register_dwh == record.energy_dwh
    assert (record.ended_at_ms - record.started_at_ms) // 1000 == record.duration_s
    numbers = [slot.slot for slot in record.slots]
    assert numbers == sorted(set(numbers))
    if numbers:
        assert numbers[0] == record.started_at_ms // 1_800_000
        assert numbers[-1] == (record.ended_at_ms - 1) // 1_800_000


def test_a_session_ends_by_itself_when_the_battery_is_full(bench: "Bench") -> None:
    bench.pile.plug(1, SMALL, now_ms=bench.now_ms)
    start = bench.start()
    bench.wait(12 * 3600)
    [record] = bench.settlements()
    assert (record.session_id, record.stop_reason) == (start.session_id, StopReason.FULL)
    assert record.tariff_version == 7
    assert_adds_up(record)
    assert 2_500 < record.energy_dwh < 5_000
    states = [change.state for change in bench.heard(PortStateChanged) if change.port == 1]
    assert states[-4:] == [PortState.STARTING, PortState.CHARGING, PortState.FLOAT, PortState.FULL_PLUGGED]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(0.01, 4_000), min_size=1, max_size=30))
def test_results_are_the_same_however_rarely_the_clock_is_read(bench: "Bench", steps_s: list[float]) -> None:
    told: list[tuple[Settlement, list[tuple[int, PortSample]]]] = []
    for steps in ([50_000.0], steps_s):
        bench.wipe()
        bench.pile.plug(1, SMALL, now_ms=bench.now_ms)
        session_id = bench.start().session_id
        for step_s in steps:
            bench.wait(step_s)
        bench.wait(max(1.0, 50_000 - sum(steps)))
        [record] = bench.settlements()
        samples = [
            (frame.sampled_at_ms, sample._replace(session_id=SESSION))
            for frame in bench.heard(MeterFrame)
            for sample in frame.samples
        ]
        assert record.session_id == session_id
        told.append((replace(record, session_id=SESSION), samples))
    assert told[0] == told[1]


def test_an_unplugged_session_waits_and_starts_with_the_first_load(bench: "Bench") -> None:
    start = bench.start(3)
    [answer] = bench.heard(StartAck)
    assert (answer.result, answer.command_id) == (StartResult.PENDING_PLUG, start.command_id)
    bench.wait(60)
    assert bench.heard(Started) == []
    bench.pile.plug(3, SMALL, now_ms=bench.now_ms)
    bench.wait(30)
    [started] = bench.heard(Started)
    assert started.session_id == start.session_id
    assert 0 <= started.started_at_ms - answer.at_ms - 60_000 < 5_000


def test_nobody_plugs_in_and_the_session_ends_without_energy(bench: "Bench") -> None:
    bench.start(plug_wait_s=120)
    bench.wait(121)
    [record] = bench.settlements()
    assert (record.stop_reason, record.energy_dwh, record.duration_s) == (StopReason.NO_LOAD, 0, 0)
    assert (record.slots, record.tiers) == ((), ())
    assert bench.heard(PortStateChanged)[-1].state is PortState.IDLE


def test_a_start_is_answered_again_and_executed_once(bench: "Bench") -> None:
    bench.pile.plug(1, SMALL, now_ms=bench.now_ms)
    start = bench.start()
    bench.wait(100)
    bench.tell(start)
    first, second = bench.heard(StartAck)
    assert first == second
    assert len(bench.heard(Started)) == 1


def test_a_start_is_not_executed_again_after_a_power_cut(bench: "Bench") -> None:
    start = bench.start()
    bench.power_up()
    bench.tell(start)
    assert [answer.result for answer in bench.heard(StartAck)] == [StartResult.PENDING_PLUG] * 2
    assert all(port.session is None for port in bench.pile.ports.values())


def test_each_obstacle_refuses_a_start_with_its_cause(bench: "Bench") -> None:
    busy = bench.start(1)
    bench.start(1)
    bench.start(11)
    bench.start(2, expires_in_s=-1)
    bench.tell(Stop(uuid4(), busy.session_id, 1, StopReason.USER_STOP_APP, bench.now_ms + 1000))
    bench.start(2, session_id=busy.session_id)
    bench.pile.ports[4].disabled = True
    bench.start(4)
    answers = bench.heard(StartAck)[1:]
    assert {answer.result for answer in answers} == {StartResult.REFUSED}
    assert [answer.cause for answer in answers] == [
        StartCause.PORT_BUSY,
        StartCause.NO_SUCH_PORT,
        StartCause.EXPIRED,
        StartCause.SESSION_ENDED,
        StartCause.PORT_DISABLED,
    ]


def test_a_pile_near_its_limit_takes_no_more_starts(bench: "Bench") -> None:
    for port in range(1, 10):
        bench.pile.plug(port, DELIVERY, now_ms=bench.now_ms)
        bench.start(port)
    bench.wait(2 * 3600)
    bench.start(10)
    refused = bench.heard(StartAck)[-1]
    assert (refused.result, refused.cause) == (StartResult.REFUSED, StartCause.PILE_OVER_POWER)


def test_a_pile_over_its_limit_drops_the_newest_session(bench: "Bench") -> None:
    newest = None
    for port in range(1, 11):
        bench.pile.plug(port, DELIVERY, now_ms=bench.now_ms)
        newest = bench.start(port)
        bench.wait(10)
    bench.wait(3 * 3600)
    dropped = [record for record in bench.settlements() if record.stop_reason is StopReason.PILE_OVER_POWER]
    assert newest is not None
    assert [record.session_id for record in dropped] == [newest.session_id]
    assert_adds_up(dropped[0])


def test_time_and_energy_limits_are_kept_to_the_unit(bench: "Bench") -> None:
    bench.pile.plug(1, SMALL, now_ms=bench.now_ms)
    bench.pile.plug(2, SMALL, now_ms=bench.now_ms)
    by_time = bench.start(1, limit_s=4_321)
    by_energy = bench.start(2, limit_dwh=777)
    bench.wait(20_000)
    records = {record.session_id: record for record in bench.settlements()}
    timed, metered = records[by_time.session_id], records[by_energy.session_id]
    assert (timed.duration_s, timed.stop_reason) == (4_321, StopReason.PRESET_TIME)
    assert (metered.energy_dwh, metered.stop_reason) == (777, StopReason.PRESET_ENERGY)
    assert_adds_up(timed)
    assert_adds_up(metered)


def test_a_load_above_the_ports_limit_is_cut(bench: "Bench") -> None:
    bench.pile.plug(1, DELIVERY, now_ms=bench.now_ms)
    bench.start(max_power_w=500)
    bench.wait(60)
    [record] = bench.settlements()
    assert record.stop_reason is StopReason.PORT_OVER_POWER
    assert record.duration_s < 10


def test_a_pulled_plug_ends_the_session_unless_it_returns_at_once(bench: "Bench") -> None:
    bench.pile.plug(1, SMALL, now_ms=bench.now_ms)
    bench.start()
    bench.wait(1_000)
    bench.pile.unplug(1, now_ms=bench.now_ms)
    bench.wait(5)
    bench.pile.plug(1, SMALL.charged(1_000), now_ms=bench.now_ms)
    bench.wait(1_000)
    assert bench.settlements() == []
    bench.pile.unplug(1, now_ms=bench.now_ms)
    bench.wait(60)
    [record] = bench.settlements()
    assert record.stop_reason is StopReason.UNPLUGGED
    assert record.end_power_dw == 0
    assert_adds_up(record)
    assert bench.heard(PortStateChanged)[-1].state is PortState.IDLE


def test_a_stop_ends_its_session_and_no_other(bench: "Bench") -> None:
    bench.pile.plug(1, SMALL, now_ms=bench.now_ms)
    start = bench.start()
    bench.wait(600)
    soon_ms = bench.now_ms + 1000
    for session_id in (uuid4(), start.session_id, start.session_id):
        bench.tell(Stop(uuid4(), session_id, 1, StopReason.USER_STOP_APP, soon_ms))
    bench.tell(Stop(uuid4(), start.session_id, 99 % 20, StopReason.USER_STOP_APP, soon_ms))
    results = [answer.result for answer in bench.heard(StopAck)]
    ended = StopResult.ALREADY_ENDED
    assert results == [StopResult.SESSION_MISMATCH, StopResult.STOPPED, ended, ended]
    [record] = bench.settlements()
    assert record.stop_reason is StopReason.USER_STOP_APP


def test_an_expired_stop_changes_nothing(bench: "Bench") -> None:
    bench.pile.plug(1, SMALL, now_ms=bench.now_ms)
    start = bench.start()
    bench.tell(Stop(uuid4(), start.session_id, 1, StopReason.USER_STOP_APP, bench.now_ms - 1))
    assert [answer.result for answer in bench.heard(StopAck)] == [StopResult.EXPIRED]
    assert bench.settlements() == []


def test_all_busy_ports_share_a_frame_and_samples_agree_with_the_record(bench: "Bench") -> None:
    for port in (1, 5, 9):
        bench.pile.plug(port, SMALL, now_ms=bench.now_ms)
        bench.start(port)
    bench.wait(12 * 3600)
    frames = bench.heard(MeterFrame)
    assert len({frame.sampled_at_ms for frame in frames}) == len(frames)
    assert {len(frame.samples) for frame in frames} == {3}
    for record in bench.settlements():
        samples = [s for frame in frames for s in frame.samples if s.session_id == record.session_id]
        energies = [sample.energy_dwh for sample in samples]
        assert energies == sorted(energies)
        assert record.energy_dwh - 200 <= energies[-1] <= record.energy_dwh
        assert record.samples_sent == len(samples)
        assert {sample.phase for sample in samples} == {Phase.CC, Phase.CV, Phase.FLOAT}
        for sample in samples:
            assert sample.power_min_dw <= sample.power_mean_dw <= sample.power_max_dw
            apparent_w = sample.voltage_dv / 10 * sample.current_ma / 1000
            assert apparent_w * sample.power_factor_milli / 1000 == pytest.approx(
                sample.power_dw / 10, abs=0.6
            )


def test_settlements_are_kept_until_acknowledged_across_power_cuts(bench: "Bench") -> None:
    start = bench.start(plug_wait_s=10)
    bench.wait(11)
    bench.power_up()
    [record] = bench.settlements()
    assert record.session_id == start.session_id
    bench.tell(SettlementAck(start.session_id, SettlementResult.STORED))
    bench.power_up()
    assert bench.settlements() == []


def test_a_rejected_settlement_is_no_longer_sent_but_kept_aside(bench: "Bench") -> None:
    start = bench.start(plug_wait_s=10)
    bench.wait(11)
    bench.tell(SettlementAck(start.session_id, SettlementResult.REJECTED))
    assert bench.settlements() == []
    assert len(bench.pile.memory.rejected) == 1


def test_a_power_cut_settles_live_sessions_from_the_last_sample(bench: "Bench") -> None:
    for port in range(1, 11):
        bench.pile.plug(port, SMALL, now_ms=bench.now_ms)
        bench.start(port)
    bench.wait(3_119)
    bench.power_up()
    records = bench.settlements()
    assert len(records) == 10
    for record in records:
        assert record.stop_reason is StopReason.POWER_LOSS
        assert 3_000 <= record.duration_s <= 3_119
        assert_adds_up(record)
    assert all(port.session is None for port in bench.pile.ports.values())


def test_registers_never_run_backwards_over_power_cuts(bench: "Bench") -> None:
    before_dwh = 0
    for _ in range(3):
        bench.pile.plug(1, SMALL, now_ms=bench.now_ms)
        bench.start()
        bench.wait(2_000)
        bench.pile.checkpoint()
        bench.power_up()
        register_dwh = bench.pile.ports[1].register_dwh(bench.now_ms)
        assert register_dwh > before_dwh
        assert bench.settlements()[-1].start_register_dwh >= before_dwh
        before_dwh = register_dwh


def test_each_power_up_counts_the_boot(bench: "Bench") -> None:
    seen = {bench.pile.next_counter()}
    for _ in range(3):
        bench.power_up()
        counters = {bench.pile.next_counter() for _ in range(10)}
        assert not counters & seen
        assert min(counters) > max(seen)
        seen |= counters


def test_a_heartbeat_names_every_port_and_comes_regularly(bench: "Bench") -> None:
    bench.wait(600)
    beats = bench.heard(Heartbeat)
    assert len(beats) in (10, 11)
    assert [report.port for report in beats[-1].ports] == list(range(1, 11))


def test_a_short_reseat_of_an_idle_plug_is_not_reported(bench: "Bench") -> None:
    bench.said.clear()
    bench.pile.plug(1, SMALL, now_ms=bench.now_ms)
    bench.wait(1)
    bench.pile.unplug(1, now_ms=bench.now_ms)
    bench.wait(10)
    assert bench.heard(PortStateChanged) == []
    bench.pile.plug(1, SMALL, now_ms=bench.now_ms)
    bench.wait(10)
    assert [change.state for change in bench.heard(PortStateChanged)] == [PortState.PLUGGED]


def test_the_clock_follows_the_platform_only_over_the_tolerance(bench: "Bench") -> None:
    bench.tell(Time(bench.now_ms + 1_500))
    assert bench.pile.device_ms(bench.now_ms) == bench.now_ms
    bench.tell(Time(bench.now_ms + 90_000))
    assert bench.pile.device_ms(bench.now_ms) == bench.now_ms + 90_000


def test_a_pile_without_a_battery_clock_wakes_in_1970_and_learns_the_time(bench: "Bench") -> None:
    bench.config = replace(bench.config, battery_clock=False)
    bench.power_up(acknowledged=False)
    assert bench.pile.clock is ClockState.NONE
    assert bench.pile.device_ms(bench.now_ms) == 0
    bench.acknowledge_boot()
    assert (bench.pile.clock, bench.pile.device_ms(bench.now_ms)) == (ClockState.SYNCED, bench.now_ms)


def test_a_settlement_says_what_its_times_rest_on_even_if_the_clock_is_lost_before_it(bench: "Bench") -> None:
    bench.config = replace(bench.config, battery_clock=False)
    bench.power_up()
    bench.pile.plug(1, SMALL, now_ms=bench.now_ms)
    bench.start()
    bench.wait(600)
    began_ms = bench.heard(Started)[-1].started_at_ms
    bench.power_up(acknowledged=False)
    assert bench.pile.clock is ClockState.NONE
    [record] = bench.settlements()
    assert (record.clock, record.started_at_ms) == (ClockState.SYNCED, began_ms)
    assert bench.now_ms - began_ms < 601_000


def test_nothing_is_heard_or_said_before_the_boot_is_acknowledged(bench: "Bench") -> None:
    bench.power_up(acknowledged=False)
    bench.said.clear()
    bench.start()
    bench.wait(600)
    assert bench.said == []
    bench.acknowledge_boot()
    assert [change.port for change in bench.heard(PortStateChanged)] == list(range(1, 11))


def test_frames_wait_for_the_link_and_keep_their_times(bench: "Bench") -> None:
    bench.pile.plug(1, SMALL, now_ms=bench.now_ms)
    bench.start()
    bench.said.clear()
    bench.pile.outbox.link_lost()
    gone_ms = bench.now_ms
    bench.pile.advance(bench.now_ms + 600_000)
    assert bench.pile.outbox.unsent >= 20
    bench.listen()
    assert bench.heard(Heartbeat) == []
    times = [frame.sampled_at_ms for frame in bench.heard(MeterFrame)]
    assert len(times) == 20
    assert times == sorted(times)
    assert times[0] - gone_ms <= 30_000


def test_riders_plug_in_after_a_start_and_fetch_after_the_end(street: "Bench") -> None:
    street.start(2)
    street.wait(3 * 86_400)
    [record] = street.settlements()
    assert record.stop_reason is StopReason.FULL
    assert record.energy_dwh > 1_000
    assert [change.state for change in street.heard(PortStateChanged) if change.port == 2][
        -1
    ] is PortState.IDLE


def test_a_new_boot_ack_changes_the_intervals(bench: "Bench") -> None:
    bench.tell(BootAck(bench.now_ms, heartbeat_s=10, sample_s=5, reconnect_jitter_s=3))
    bench.said.clear()
    bench.wait(100)
    assert len(bench.heard(Heartbeat)) in (10, 11)
    assert bench.pile.reconnect_jitter_s == 3
