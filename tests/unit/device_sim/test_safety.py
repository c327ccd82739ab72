"""A pile protects by itself: it trips, tells, latches, and forgets nothing in the dark."""

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from device_sim.battery import PACKS, Battery
from device_sim.hazards import RULES
from device_sim.safety import Safety
from protocol.messages import (
    Alarm,
    AlarmAck,
    CommandAck,
    ConfigSet,
    ConfigValue,
    FaultClear,
    Heartbeat,
    MeterFrame,
    PortStateChanged,
    Settlement,
    StartAck,
)
from protocol.words import (
    AlarmAction,
    AlarmKind,
    AlarmLevel,
    ClockState,
    CommandCause,
    CommandResult,
    PortFault,
    PortState,
    StartCause,
    StartResult,
    StateCause,
    StopReason,
)

if TYPE_CHECKING:
    from tests.unit.device_sim.conftest import Bench

SMALL = Battery(PACKS[1], 0.8, seed=3)
DELIVERY = Battery(PACKS[-1], 0.8, seed=3)


def charge(bench: "Bench", *ports: int, battery: Battery = SMALL) -> None:
    for port in ports:
        bench.pile.plug(port, battery, now_ms=bench.now_ms)
        bench.start(port)
    bench.wait(300)


def inflict(bench: "Bench", kind: AlarmKind, port: int | None = None, value: int | None = None) -> None:
    bench.pile.part(Safety).inflict(kind, port, value)
    bench.listen()


def relieve(bench: "Bench", kind: AlarmKind, port: int | None = None) -> None:
    bench.pile.part(Safety).relieve(kind, port)


def alarms(bench: "Bench") -> list[Alarm]:
    """What the pile would tell now, and again until it is acknowledged."""
    told = [bench.pile.records.untold("alarm", alarm_id) for alarm_id in bench.pile.memory.alarms]
    return [alarm for alarm in told if isinstance(alarm, Alarm)]


def alarm_of(bench: "Bench", kind: AlarmKind) -> Alarm:
    [alarm] = [alarm for alarm in alarms(bench) if alarm.kind is kind]
    return alarm


def ends(bench: "Bench") -> dict[int, StopReason]:
    return {record.port: record.stop_reason for record in bench.settlements()}


def clear(bench: "Bench", port: int | None = None) -> CommandAck:
    command_id = uuid4()
    bench.tell(FaultClear(command_id, bench.now_ms + 30_000, port))
    return next(ack for ack in bench.heard(CommandAck) if ack.command_id == command_id)


def start_cause(bench: "Bench", port: int) -> StartCause | None:
    bench.start(port)
    return bench.heard(StartAck)[-1].cause


def configure(bench: "Bench", **settings: int) -> None:
    values = tuple(ConfigValue(key, value) for key, value in settings.items())
    version = bench.pile.config_version + 1
    bench.tell(ConfigSet(uuid4(), version, values, bench.now_ms + 30_000))


def test_smoke_ends_every_session_at_once_and_is_told_at_once(bench: "Bench") -> None:
    charge(bench, 1, 2, 3)
    inflict(bench, AlarmKind.SMOKE, 2)
    assert ends(bench) == dict.fromkeys((1, 2, 3), StopReason.SMOKE)
    alarm = alarm_of(bench, AlarmKind.SMOKE)
    assert (alarm.port, alarm.level, alarm.action) == (2, AlarmLevel.TRIP, AlarmAction.PILE_STOPPED)
    assert alarm.raised_at_ms == bench.now_ms
    assert {port.fault for port in bench.pile.ports.values()} == {PortFault.SMOKE}
    assert start_cause(bench, 7) is StartCause.SMOKE


def test_a_fire_tells_its_own_port_from_the_others(bench: "Bench") -> None:
    charge(bench, 1, 2)
    inflict(bench, AlarmKind.FIRE, 1)
    assert ends(bench) == {
        1: StopReason.FIRE_SUPPRESSION_OWN_PORT,
        2: StopReason.FIRE_SUPPRESSION_OTHER_PORT,
    }
    assert start_cause(bench, 2) is StartCause.NOT_CLEARED


TRIPS = [
    (AlarmKind.LEAKAGE, StopReason.LEAKAGE, PortFault.LEAKAGE),
    (AlarmKind.PORT_OVER_TEMP, StopReason.PORT_OVER_TEMP, PortFault.OVER_TEMPERATURE),
    (AlarmKind.PORT_OVER_POWER, StopReason.PORT_OVER_POWER, PortFault.OVER_POWER),
    (AlarmKind.OVER_CURRENT, StopReason.OVER_CURRENT, PortFault.OVER_CURRENT),
    (AlarmKind.SHORT_CIRCUIT, StopReason.SHORT_CIRCUIT, PortFault.SHORT_CIRCUIT),
    (AlarmKind.RELAY_WELDED, StopReason.RELAY_WELDED, PortFault.RELAY_WELDED),
    (AlarmKind.RELAY_DEAD_OR_FUSE, StopReason.RELAY_DEAD_OR_FUSE, PortFault.RELAY_DEAD),
    (AlarmKind.BAD_CONTACT, StopReason.NO_POWER_MIDWAY, PortFault.BAD_CONTACT),
    (AlarmKind.METER_FAULT, StopReason.METER_FAULT, PortFault.METER_FAULT),
]


@pytest.mark.parametrize(("kind", "reason", "fault"), TRIPS)
def test_a_trip_of_one_port_ends_it_latches_it_and_leaves_the_others(
    bench: "Bench", kind: AlarmKind, reason: StopReason, fault: PortFault
) -> None:
    charge(bench, 1, 2)
    inflict(bench, kind, 1)
    bench.wait(5)
    assert ends(bench) == {1: reason}
    assert (bench.pile.ports[1].fault, bench.pile.ports[2].fault) == (fault, None)
    change = [change for change in bench.heard(PortStateChanged) if change.port == 1][-1]
    assert (change.state, change.fault, change.cause) == (PortState.FAULT, fault, StateCause.PROTECTION)
    assert start_cause(bench, 1) is StartCause.NOT_CLEARED
    assert start_cause(bench, 3) is None
    assert clear(bench, 1).cause is CommandCause.FAULT_PERSISTS
    relieve(bench, kind, 1)
    assert start_cause(bench, 1) is StartCause.NOT_CLEARED
    assert clear(bench, 1).result is CommandResult.DONE
    assert start_cause(bench, 1) is None


PILE_TRIPS = [
    (AlarmKind.EXTINGUISHER, StopReason.FIRE_SUPPRESSION_OTHER_PORT, PortFault.FIRE),
    (AlarmKind.WATER, StopReason.WATER, PortFault.WATER),
    (AlarmKind.AMBIENT_OVER_TEMP, StopReason.AMBIENT_OVER_TEMP, PortFault.OVER_TEMPERATURE),
    (AlarmKind.TERMINAL_OVER_TEMP, StopReason.AMBIENT_OVER_TEMP, PortFault.OVER_TEMPERATURE),
    (AlarmKind.LEAKAGE, StopReason.LEAKAGE, PortFault.LEAKAGE),
]


@pytest.mark.parametrize(("kind", "reason", "fault"), PILE_TRIPS)
def test_a_trip_of_the_pile_ends_and_latches_every_port(
    bench: "Bench", kind: AlarmKind, reason: StopReason, fault: PortFault
) -> None:
    charge(bench, 1, 2)
    inflict(bench, kind)
    bench.wait(5)
    assert ends(bench) == {1: reason, 2: reason}
    assert {port.fault for port in bench.pile.ports.values()} == {fault}
    assert alarm_of(bench, kind).action is AlarmAction.PILE_STOPPED
    relieve(bench, kind)
    assert clear(bench, 1).cause is CommandCause.FAULT_PERSISTS
    assert start_cause(bench, 9) is StartCause.NOT_CLEARED
    assert clear(bench).result is CommandResult.DONE
    assert {port.fault for port in bench.pile.ports.values()} == {None}
    assert start_cause(bench, 9) is None


@pytest.mark.parametrize(
    ("kind", "port", "reason"),
    [
        (AlarmKind.DYNAMIC_OVERLOAD, 1, StopReason.DYNAMIC_OVERLOAD),
        (AlarmKind.BREAKER_OPEN, None, StopReason.POWER_LOSS),
    ],
)
def test_what_is_over_with_its_cause_keeps_a_port_shut_no_longer(
    bench: "Bench", kind: AlarmKind, port: int | None, reason: StopReason
) -> None:
    charge(bench, 1)
    inflict(bench, kind, port)
    bench.wait(5)
    assert ends(bench) == {1: reason}
    assert start_cause(bench, 1) is StartCause.PORT_FAULT
    relieve(bench, kind, port)
    bench.wait(4)
    assert bench.pile.ports[1].fault is None
    assert start_cause(bench, 1) is None


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (AlarmKind.OVER_VOLTAGE, StopReason.OVER_VOLTAGE),
        (AlarmKind.UNDER_VOLTAGE, StopReason.UNDER_VOLTAGE),
    ],
)
def test_wrong_mains_end_sessions_after_ten_seconds_and_latch_nothing(
    bench: "Bench", kind: AlarmKind, reason: StopReason
) -> None:
    charge(bench, 1)
    inflict(bench, kind)
    bench.wait(9)
    assert ends(bench) == {}
    assert start_cause(bench, 2) in {StartCause.OVER_VOLTAGE, StartCause.UNDER_VOLTAGE}
    bench.wait(2)
    assert ends(bench) == {1: reason}
    relieve(bench, kind)
    bench.wait(4)
    assert start_cause(bench, 2) is None


@pytest.mark.parametrize(
    ("kind", "port", "cause"),
    [
        (AlarmKind.SPRING_STUCK, 4, StartCause.PORT_FAULT),
        (AlarmKind.STORAGE_FAULT, None, StartCause.STORAGE_FAULT),
        (AlarmKind.DOOR_OPEN, None, StartCause.OUT_OF_SERVICE),
        (AlarmKind.POWER_CUT, None, StartCause.UNDER_VOLTAGE),
    ],
)
def test_what_only_hinders_a_start_ends_no_session(
    bench: "Bench", kind: AlarmKind, port: int | None, cause: StartCause
) -> None:
    charge(bench, 1)
    inflict(bench, kind, port)
    bench.wait(5)
    assert ends(bench) == {}
    assert alarm_of(bench, kind).action is AlarmAction.REFUSES_STARTS
    assert start_cause(bench, 4) is cause
    relieve(bench, kind, port)
    bench.wait(5)
    assert start_cause(bench, 4) is None


@pytest.mark.parametrize("kind", [AlarmKind.CARD_READER_FAULT, AlarmKind.HALL_SENSOR_FAULT])
def test_what_is_only_broken_is_told_and_charging_goes_on(bench: "Bench", kind: AlarmKind) -> None:
    charge(bench, 1)
    inflict(bench, kind, 1)
    bench.wait(5)
    alarm = alarm_of(bench, kind)
    assert (alarm.level, alarm.action) == (AlarmLevel.WARN, AlarmAction.NONE)
    assert bench.pile.ports[1].state is PortState.CHARGING


def test_a_failed_clock_is_told_and_shown_until_the_platform_tells_the_time(bench: "Bench") -> None:
    inflict(bench, AlarmKind.CLOCK_FAULT)
    bench.wait(5)
    assert alarm_of(bench, AlarmKind.CLOCK_FAULT).level is AlarmLevel.WARN
    assert bench.pile.clock is ClockState.NONE
    assert bench.pile.device_ms(bench.now_ms) == 5_000
    bench.acknowledge_boot()
    assert bench.pile.clock is ClockState.SYNCED


def test_every_kind_of_alarm_has_a_rule() -> None:
    assert set(AlarmKind) - {AlarmKind.UNKNOWN} == set(RULES)


def test_a_reading_that_does_not_last_three_seconds_is_no_alarm(bench: "Bench") -> None:
    charge(bench, 1)
    for _ in range(20):
        inflict(bench, AlarmKind.PORT_OVER_TEMP, 1)
        bench.wait(2)
        relieve(bench, AlarmKind.PORT_OVER_TEMP, 1)
        bench.wait(2)
    assert (alarms(bench), ends(bench)) == ([], {})


def test_an_alarm_keeps_its_id_from_warning_over_trip_to_its_end(bench: "Bench") -> None:
    charge(bench, 1)
    inflict(bench, AlarmKind.PORT_OVER_TEMP, 1, 650)
    bench.wait(5)
    warned = alarm_of(bench, AlarmKind.PORT_OVER_TEMP)
    assert (warned.level, warned.value, warned.limit, warned.action) == (
        AlarmLevel.WARN,
        650,
        600,
        AlarmAction.NONE,
    )
    assert ends(bench) == {}
    inflict(bench, AlarmKind.PORT_OVER_TEMP, 1, 870)
    bench.wait(5)
    tripped = alarm_of(bench, AlarmKind.PORT_OVER_TEMP)
    assert (tripped.alarm_id, tripped.level, tripped.value, tripped.limit) == (
        warned.alarm_id,
        AlarmLevel.TRIP,
        870,
        800,
    )
    assert tripped.raised_at_ms == warned.raised_at_ms
    inflict(bench, AlarmKind.PORT_OVER_TEMP, 1, 910)
    relieve(bench, AlarmKind.PORT_OVER_TEMP, 1)
    bench.wait(5)
    over = alarm_of(bench, AlarmKind.PORT_OVER_TEMP)
    assert (over.alarm_id, over.level, over.value) == (warned.alarm_id, AlarmLevel.TRIP, 910)
    assert over.cleared_at_ms is not None
    inflict(bench, AlarmKind.PORT_OVER_TEMP, 1)
    bench.wait(5)
    assert {alarm.alarm_id for alarm in alarms(bench)} > {warned.alarm_id}


def test_an_alarm_is_kept_until_the_platform_has_it_as_it_stands(bench: "Bench") -> None:
    inflict(bench, AlarmKind.LEAKAGE, 1, 20)
    alarm_id = alarm_of(bench, AlarmKind.LEAKAGE).alarm_id
    bench.tell(AlarmAck(alarm_id, AlarmLevel.WARN, cleared=True))
    assert len(alarms(bench)) == 1
    inflict(bench, AlarmKind.LEAKAGE, 1, 40)
    bench.tell(AlarmAck(alarm_id, AlarmLevel.WARN, cleared=False))
    assert len(alarms(bench)) == 1
    bench.tell(AlarmAck(alarm_id, AlarmLevel.TRIP, cleared=False))
    assert alarms(bench) == []
    relieve(bench, AlarmKind.LEAKAGE, 1)
    bench.wait(4)
    bench.tell(AlarmAck(alarm_id, AlarmLevel.TRIP, cleared=False))
    assert alarm_of(bench, AlarmKind.LEAKAGE).cleared_at_ms is not None
    bench.tell(AlarmAck(alarm_id, AlarmLevel.TRIP, cleared=True))
    assert alarms(bench) == []


@pytest.mark.parametrize("lasts", [True, False])
def test_alarm_and_latch_survive_a_power_cut(bench: "Bench", lasts: bool) -> None:
    charge(bench, 1)
    inflict(bench, AlarmKind.SMOKE)
    alarm_id = alarm_of(bench, AlarmKind.SMOKE).alarm_id
    bench.tell(AlarmAck(alarm_id, AlarmLevel.TRIP, cleared=False))
    around = bench.pile.lose_power(now_ms=bench.now_ms)
    if not lasts:
        around.relieve(AlarmKind.SMOKE, None)
    bench.now_ms += 60_000
    bench.power_up(surroundings=around)
    bench.wait(10)
    assert [(alarm.alarm_id, alarm.level) for alarm in alarms(bench)] == (
        [] if lasts else [(alarm_id, AlarmLevel.TRIP)]
    )
    assert bench.pile.ports[1].fault is PortFault.SMOKE
    assert start_cause(bench, 1) is StartCause.SMOKE
    assert clear(bench).result is (CommandResult.REFUSED if lasts else CommandResult.DONE)


def test_a_trip_that_is_switched_off_warns_and_one_that_cannot_be_trips(bench: "Bench") -> None:
    configure(bench, temp_trip_on=0, temp_warn_dc=0, leak_warn_ma=0)
    charge(bench, 1, 2)
    inflict(bench, AlarmKind.PORT_OVER_TEMP, 1, 900)
    inflict(bench, AlarmKind.LEAKAGE, 2, 25)
    bench.wait(5)
    assert alarm_of(bench, AlarmKind.PORT_OVER_TEMP).level is AlarmLevel.WARN
    assert ends(bench) == {}
    inflict(bench, AlarmKind.LEAKAGE, 2, 30)
    assert ends(bench) == {2: StopReason.LEAKAGE}


def test_a_lower_threshold_makes_a_trip_of_what_was_bearable(bench: "Bench") -> None:
    charge(bench, 1)
    inflict(bench, AlarmKind.PORT_OVER_TEMP, 1, 550)
    bench.wait(5)
    assert alarms(bench) == []
    configure(bench, temp_warn_dc=400, temp_trip_dc=500)
    bench.wait(5)
    assert ends(bench) == {1: StopReason.PORT_OVER_TEMP}


def test_a_socket_that_is_too_hot_by_nature_trips_too(bench: "Bench") -> None:
    configure(bench, temp_warn_dc=0, temp_trip_dc=300)
    charge(bench, 1, battery=DELIVERY)
    assert ends(bench) == {1: StopReason.PORT_OVER_TEMP}
    bench.wait(70)
    assert clear(bench, 1).result is CommandResult.DONE


def test_readings_show_the_hazard(bench: "Bench") -> None:
    charge(bench, 1)
    inflict(bench, AlarmKind.PORT_OVER_TEMP, 1, 650)
    inflict(bench, AlarmKind.LEAKAGE, 1, 20)
    inflict(bench, AlarmKind.AMBIENT_OVER_TEMP, None, 710)
    inflict(bench, AlarmKind.UNDER_VOLTAGE, None, 1_750)
    bench.wait(90)
    assert bench.heard(MeterFrame)[-1].samples[0].temperature_dc == 650
    beat = bench.heard(Heartbeat)[-1]
    assert (beat.leakage_ma, beat.board_temperature_dc, beat.mains_dv) == (20, 710, 1_750)


def test_a_load_beyond_what_the_pile_allows_trips_and_latches(bench: "Bench") -> None:
    configure(bench, max_power_w=800)
    bench.pile.plug(1, DELIVERY, now_ms=bench.now_ms)
    bench.start(1)
    bench.wait(3_600)
    assert ends(bench) == {1: StopReason.PORT_OVER_POWER}
    alarm = alarm_of(bench, AlarmKind.PORT_OVER_POWER)
    assert (alarm.level, alarm.limit, alarm.port) == (AlarmLevel.TRIP, 8_000, 1)
    assert alarm.cleared_at_ms is not None
    assert start_cause(bench, 1) is StartCause.NOT_CLEARED


def test_a_load_beyond_the_order_only_ends_the_order(bench: "Bench") -> None:
    bench.pile.plug(1, DELIVERY, now_ms=bench.now_ms)
    bench.start(1, max_power_w=800)
    bench.wait(3_600)
    assert ends(bench) == {1: StopReason.PORT_OVER_POWER}
    assert (alarms(bench), start_cause(bench, 1)) == ([], None)


def test_a_welded_relay_lets_current_through_after_the_end(bench: "Bench") -> None:
    charge(bench, 1)
    inflict(bench, AlarmKind.RELAY_WELDED, 1)
    bench.wait(5)
    [record] = bench.settlements()
    bench.wait(3_600)
    port = bench.pile.ports[1]
    assert port.power_w(bench.now_ms) > 100
    assert port.register_dwh(bench.now_ms) > record.end_register_dwh + 1_000


def test_a_dead_relay_is_no_unplugging(bench: "Bench") -> None:
    charge(bench, 1)
    energy_dwh = bench.pile.ports[1].register_dwh(bench.now_ms)
    inflict(bench, AlarmKind.RELAY_DEAD_OR_FUSE, 1)
    bench.wait(60)
    [record] = bench.settlements()
    assert record.stop_reason is StopReason.RELAY_DEAD_OR_FUSE
    assert isinstance(record, Settlement)
    assert record.energy_dwh == energy_dwh


def test_a_refused_start_is_one_that_never_closed_the_relay(bench: "Bench") -> None:
    bench.pile.plug(1, SMALL, now_ms=bench.now_ms)
    inflict(bench, AlarmKind.SHORT_CIRCUIT, 1)
    bench.start(1, session_id=UUID(int=9))
    assert bench.heard(StartAck)[-1].result is StartResult.REFUSED
    bench.wait(60)
    assert bench.pile.ports[1].register_dwh(bench.now_ms) == 0
