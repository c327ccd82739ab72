"""The street's faults on a real broker: each is let loose by name, and the platform's end sees what it must."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

from device_sim import PACKS, Battery, FleetThread, PileConfig, faults
from device_sim.configuration import Thresholds
from protocol import start_code
from protocol.messages import (
    Alarm,
    AlarmAck,
    Boot,
    CommandAck,
    FaultClear,
    Heartbeat,
    LocalStart,
    LocalStartAck,
    Settlement,
    Start,
    StartAck,
    Started,
    Stop,
    StopAck,
)
from protocol.words import (
    AlarmKind,
    AlarmLevel,
    ClockState,
    CommandResult,
    LocalStartResult,
    SessionSource,
    StartCause,
    StopReason,
)

if TYPE_CHECKING:
    from tests.integration.device_sim.conftest import Platform, StreetClock

PILE = "P-1"
SECRET = bytes(range(32))
LIMIT_S = 20.0
SMALL = Battery(PACKS[1], 0.8, seed=3)


def start(platform: "Platform", port: int = 1) -> Start:
    """Order a long charge."""
    order = Start(
        command_id=uuid4(),
        session_id=uuid4(),
        port=port,
        limit_s=36_000,
        limit_dwh=100_000,
        max_power_w=1_000,
        stop_when_full=True,
        float_s=3_600,
        plug_wait_s=36_000,
        tariff_version=1,
        expires_at_ms=platform.clock.ms() + 36_000_000,
    )
    platform.say(order)
    return order


@contextmanager
def running(config: PileConfig, clock: "StreetClock") -> Generator[FleetThread]:
    with FleetThread([config], clock=clock, speed=clock.speed) as fleet:
        fleet.wait_ready(LIMIT_S)
        yield fleet


def drawing(beat: Heartbeat) -> int:
    """How many ports draw power."""
    return sum(port.power_dw > 0 for port in beat.ports)


def loose(fleet: FleetThread, order: str) -> list[str]:
    """Let a fault loose beside the test; gives the lines it says, as they come."""
    said: list[str] = []
    faults.begin(fleet, order, said.append)
    return said


def test_smoke_is_told_until_acknowledged_and_latches_until_cleared(
    platform: "Platform", fleet: FleetThread
) -> None:
    start(platform, 1)
    platform.wait_for(Started)
    fleet.inflict(PILE, AlarmKind.SMOKE, 3)
    [alarm] = platform.wait_for(Alarm)
    assert (alarm.kind, alarm.level, alarm.port) == (AlarmKind.SMOKE, AlarmLevel.TRIP, 3)
    [record] = platform.wait_for(Settlement)
    assert record.stop_reason is StopReason.SMOKE
    fleet.drop_link(PILE, 0.1)
    told_again = platform.wait_for(Alarm, lambda heard: len(heard) >= 2)
    assert told_again[1] == alarm
    platform.say(AlarmAck(alarm.alarm_id, AlarmLevel.TRIP, cleared=False))
    refused = start(platform, 2)
    acks = platform.wait_for(StartAck, lambda heard: heard[-1].command_id == refused.command_id)
    assert acks[-1].cause is StartCause.SMOKE
    fleet.relieve(PILE, AlarmKind.SMOKE, 3)
    platform.wait_for(Alarm, lambda heard: heard[-1].cleared_at_ms is not None)
    platform.say(FaultClear(uuid4(), platform.clock.ms() + 36_000_000))
    [cleared] = platform.wait_for(CommandAck)
    assert cleared.result is CommandResult.DONE
    again = start(platform, 2)
    acks = platform.wait_for(StartAck, lambda heard: heard[-1].command_id == again.command_id)
    assert acks[-1].cause is None


def test_a_code_typed_in_while_offline_is_told_on_return(platform: "Platform", fleet: FleetThread) -> None:
    fleet.drop_link(PILE, 1.0)
    code = start_code.make(SECRET, epoch=1, port=4, limit_dwh=1_000, at_s=platform.clock.ms() // 1000)
    fleet.plug(PILE, 4, SMALL)
    assert fleet.type_code(PILE, 4, code.digits).session_id == code.session_id
    [told] = platform.wait_for(LocalStart)
    assert (told.session_id, told.source, told.port) == (code.session_id, SessionSource.CODE, 4)
    platform.say(LocalStartAck(told.session_id, LocalStartResult.ACCEPTED))
    [record] = platform.wait_for(Settlement)
    assert (record.session_id, record.stop_reason) == (code.session_id, StopReason.PRESET_ENERGY)


def test_ten_sessions_go_on_after_a_power_cut(
    platform: "Platform", config: PileConfig, clock: "StreetClock"
) -> None:
    platform.clock = slow = type(clock)(60)
    resumes = replace(config, thresholds=Thresholds(resume_after_power=1), bystanders=None)
    with running(resumes, slow) as fleet:
        for port in range(1, 11):
            fleet.plug(PILE, port, SMALL)
            start(platform, port)
        platform.wait_for(Started, lambda heard: len(heard) == 10)
        loose(fleet, "power_cut:60,10")
        platform.wait_for(Boot, lambda heard: len(heard) == 2)
        beats = platform.wait_for(Heartbeat, lambda heard: any(drawing(beat) == 10 for beat in heard))
        assert beats[-1].power_dw > 10_000
        assert platform.heard(Settlement) == []


def test_a_late_settlement_is_told_when_it_may_be(platform: "Platform", fleet: FleetThread) -> None:
    said = loose(fleet, "settlement_late:4800")
    start(platform)
    platform.wait_for(Started)
    fleet.unplug(PILE, 1)
    [record] = platform.wait_for(Settlement)
    assert record.stop_reason is StopReason.UNPLUGGED
    assert platform.clock.ms() - record.ended_at_ms > 2_400_000
    assert said[0].endswith("held back for 4800 s")


def test_a_settlement_of_nobodys_session_is_told_until_acknowledged(
    platform: "Platform", fleet: FleetThread
) -> None:
    loose(fleet, "settlement_orphan:100")
    [record] = platform.wait_for(Settlement)
    assert (record.energy_dwh, record.samples_sent) == (1_000, 0)
    assert sum(slot.energy_dwh for slot in record.slots) == 1_000


def test_a_pile_without_a_clock_wakes_in_1970_and_says_so(
    platform: "Platform", config: PileConfig, clock: "StreetClock"
) -> None:
    with running(replace(config, battery_clock=False), clock) as fleet:
        loose(fleet, "clock_1970:1200")
        boots = platform.wait_for(Boot, lambda heard: len(heard) >= 2)
        assert {boot.clock for boot in boots} == {ClockState.NONE}
        assert max(boot.at_ms for boot in boots) < 1_000_000_000_000


def test_two_piles_with_one_identity_take_the_connection_from_each_other(
    platform: "Platform", fleet: FleetThread
) -> None:
    said = loose(fleet, "duplicate_identity:1")
    boots = platform.wait_for(Boot, lambda heard: len(heard) >= 2)
    assert boots[0].connection == 1
    assert len({received.counter.boot for received in platform.received}) == 2
    # A fight for the connection has no last word before the second pile is gone.
    platform.wait_for(Heartbeat, lambda _: "duplicate_identity: done" in said)
    platform.say(Stop(uuid4(), uuid4(), 1, StopReason.PLATFORM_STOP, platform.clock.ms() + 36_000_000))
    platform.wait_for(StopAck)


def test_a_flood_is_heard_as_one(platform: "Platform", fleet: FleetThread) -> None:
    loose(fleet, "flood:400,2")
    platform.wait_for(Heartbeat, lambda heard: len(heard) > 200)
