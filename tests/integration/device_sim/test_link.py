"""A simulated pile on a real broker: it charges, buffers, repeats and refuses as the protocol says."""

import time
from itertools import pairwise
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from device_sim import PACKS, Battery, FleetThread, PileConfig
from protocol.envelope import Counter
from protocol.messages import (
    Boot,
    Gone,
    Heartbeat,
    MeterFrame,
    Settlement,
    SettlementAck,
    Start,
    StartAck,
    Started,
    Stop,
)
from protocol.words import SettlementResult, StartResult, StopReason

if TYPE_CHECKING:
    from tests.conftest import Broker
    from tests.integration.device_sim.conftest import Platform, StreetClock

SMALL = Battery(PACKS[0], 0.2, seed=5)


def start_of(
    platform: "Platform", *, port: int = 1, expires_in_s: int = 18_000, limit_s: int = 36_000
) -> Start:
    """A start of a new session on a port."""
    return Start(
        command_id=uuid4(),
        session_id=uuid4(),
        port=port,
        limit_s=limit_s,
        limit_dwh=1_000_000,
        max_power_w=1_000,
        stop_when_full=True,
        float_s=600,
        plug_wait_s=3_600,
        tariff_version=1,
        expires_at_ms=platform.clock.ms() + expires_in_s * 1000,
    )


def wait_until_kept(fleet: FleetThread, pile_id: str, *, settlements: int) -> None:
    """Wait until the pile keeps so many unacknowledged records."""
    limit_s = time.monotonic() + 20
    while fleet.ask(lambda fleet: len(fleet.pile(pile_id).pile.memory.settlements)) != settlements:
        assert time.monotonic() < limit_s, "the pile's records did not come to the number waited for"


def test_a_charge_runs_from_start_to_acknowledged_settlement(
    platform: "Platform", fleet: FleetThread
) -> None:
    fleet.bring("P-1", 1, SMALL)
    start = start_of(platform)
    platform.say(start)
    [record] = platform.wait_for(Settlement)
    assert (record.session_id, record.stop_reason) == (start.session_id, StopReason.FULL)
    assert record.energy_dwh > 500
    assert sum(slot.energy_dwh for slot in record.slots) == record.energy_dwh
    [answer], [started] = platform.heard(StartAck), platform.heard(Started)
    assert answer.result is StartResult.PENDING_PLUG
    assert started.session_id == start.session_id
    wait_until_kept(fleet, "P-1", settlements=0)


def test_boot_is_the_first_word_and_a_heartbeat_names_the_connection(
    platform: "Platform", fleet: FleetThread
) -> None:
    beats = platform.wait_for(Heartbeat)
    assert isinstance(platform.received[0].message, Boot)
    assert {beat.connection for beat in beats} == {1}
    fleet.drop_link("P-1", 0.0)
    platform.wait_for(Heartbeat, lambda beats: bool(beats) and beats[-1].connection == 2)


def test_a_lost_link_fires_the_will_and_replays_what_was_measured(
    platform: "Platform", fleet: FleetThread
) -> None:
    fleet.bring("P-1", 1, SMALL)
    platform.say(start_of(platform))
    platform.wait_for(MeterFrame)
    before = len(platform.heard(MeterFrame))
    fleet.drop_link("P-1", 2.0)
    [gone] = platform.wait_for(Gone)
    assert gone.connection == 1

    def nothing_misses(frames: list[MeterFrame]) -> bool:
        times = sorted({frame.sampled_at_ms for frame in frames})
        steps = {later - earlier for earlier, later in pairwise(times)}
        return len(frames) > before + 30 and steps == {30_000}

    platform.wait_for(MeterFrame, nothing_misses)
    platform.wait_for(Settlement)


def test_an_unacknowledged_settlement_comes_again_on_the_next_connection(
    platform: "Platform", fleet: FleetThread
) -> None:
    platform.acknowledges_settlements = False
    fleet.bring("P-1", 1, SMALL)
    platform.say(start_of(platform, limit_s=600))
    platform.wait_for(Settlement)
    fleet.drop_link("P-1", 0.0)
    first, second = platform.wait_for(Settlement, lambda records: len(records) == 2)
    assert first == second
    platform.say(SettlementAck(first.session_id, SettlementResult.DUPLICATE))
    wait_until_kept(fleet, "P-1", settlements=0)


def test_a_command_waits_in_the_broker_for_a_pile_without_link(
    platform: "Platform", fleet: FleetThread
) -> None:
    fleet.drop_link("P-1", 1.0)
    platform.wait_for(Gone)
    start = start_of(platform)
    platform.say(start)
    [answer] = platform.wait_for(StartAck)
    assert answer.command_id == start.command_id


def test_a_power_cut_settles_live_sessions_at_the_next_boot(platform: "Platform", fleet: FleetThread) -> None:
    starts = [start_of(platform, port=port) for port in range(1, 11)]
    for port, start in enumerate(starts, start=1):
        fleet.bring("P-1", port, Battery(PACKS[3], 0.9))
        platform.say(start)
    platform.wait_for(MeterFrame, lambda frames: bool(frames) and len(frames[-1].samples) == 10)
    fleet.cut_power("P-1", 0.5)
    records = platform.wait_for(Settlement, lambda records: len({r.session_id for r in records}) == 10)
    assert {record.stop_reason for record in records} == {StopReason.POWER_LOSS}
    # And the frames whose receipts the pile had not heard.
    assert [boot.unsent for boot in platform.heard(Boot)][-1] >= 10


def test_no_counter_is_used_twice_over_reconnections_and_power_cuts(
    platform: "Platform", fleet: FleetThread
) -> None:
    for boots in range(2, 5):
        fleet.drop_link("P-1", 0.0)
        platform.wait_for(Heartbeat, lambda beats: bool(beats) and beats[-1].connection == 2)
        fleet.cut_power("P-1", 0.1)
        platform.wait_for(Boot, lambda heard, boots=boots: len(heard) >= boots)
        fleet.wait_ready(20)
        platform.wait_for(Heartbeat, lambda beats: bool(beats) and beats[-1].connection == 1)
    payload_of: dict[Counter, bytes] = {}
    for received, (_, payload) in zip(platform.received, platform.payloads, strict=True):
        assert payload_of.setdefault(received.counter, payload) == payload
    assert {counter.boot for counter in payload_of} == {1, 2, 3, 4}


def test_replayed_forged_and_foreign_frames_change_nothing(platform: "Platform", fleet: FleetThread) -> None:
    start = start_of(platform)
    frame = platform.say(start)
    platform.wait_for(StartAck)
    platform.client.publish(frame[0], frame[1], qos=1)
    platform.client.publish(frame[0], frame[1][:-1] + bytes([frame[1][-1] ^ 1]), qos=1)
    platform.client.publish(frame[0].replace("/start", "/stop"), frame[1], qos=1)
    platform.client.publish(frame[0], b"\xff" * 100, qos=1)
    platform.say(Stop(uuid4(), UUID(int=0), 1, StopReason.USER_STOP_APP, platform.clock.ms() + 60_000))
    limit_s = time.monotonic() + 20
    while fleet.ask(lambda fleet: fleet.pile("P-1").refused.total()) < 4:
        assert time.monotonic() < limit_s
    refused = fleet.ask(lambda fleet: dict(fleet.pile("P-1").refused))
    assert refused == {"replayed": 1, "forged": 2, "malformed": 1}
    assert len(platform.heard(StartAck)) == 1


def test_the_pile_comes_back_after_the_broker_was_killed(
    broker: "Broker", platform: "Platform", fleet: FleetThread
) -> None:
    fleet.bring("P-1", 1, SMALL)
    platform.say(start_of(platform))
    platform.wait_for(Started)
    broker.kill9()
    broker.restart()
    platform.wait_for(Settlement)
    wait_until_kept(fleet, "P-1", settlements=0)


def test_a_pile_refuses_to_talk_to_a_broker_it_does_not_trust(
    platform: "Platform", config: PileConfig, clock: "StreetClock", broker: "Broker"
) -> None:
    other = broker.issue_pile("P-2")
    (config.folder / "broker_ca.pem").write_bytes(other.certificate_path.read_bytes())
    with FleetThread([config], clock=clock, speed=clock.speed) as fleet, pytest.raises(TimeoutError):
        fleet.wait_ready(2)
    assert platform.received == []
