"""A pile takes settings, a tariff and the commands of service as the protocol says, and keeps them over power cuts."""

from typing import TYPE_CHECKING, TypeVar
from uuid import UUID, uuid4

import pytest

from device_sim.battery import PACKS, Battery
from protocol.config_keys import SETTINGS
from protocol.fields import Message
from protocol.messages import (
    BootAck,
    CommandAck,
    Config,
    ConfigSet,
    ConfigValue,
    Extend,
    ExtendAck,
    Heartbeat,
    Locate,
    LogLines,
    LogRequest,
    MeterFrame,
    PortSet,
    PortStateChanged,
    Query,
    Reboot,
    RelayTest,
    StartAck,
    Tariff,
    TariffBand,
    TariffSet,
    Time,
    TimeRequest,
    Voice,
)
from protocol.words import (
    BootReason,
    CommandCause,
    CommandResult,
    ConfigCause,
    ConfigResult,
    ExtendResult,
    PortFault,
    PortState,
    QueryTopic,
    StartCause,
    StopReason,
    TariffCause,
    TariffFee,
    TariffResult,
    TariffUnit,
)

if TYPE_CHECKING:
    from tests.unit.device_sim.conftest import Bench

SMALL = Battery(PACKS[0], 0.5, seed=3)
_M = TypeVar("_M", bound=Message)


def soon(bench: "Bench") -> int:
    """A deadline that has not passed."""
    return bench.now_ms + 30_000


def answer(bench: "Bench", command: Message, kind: type[_M]) -> _M:
    """Tell the pile something, and give its newest answer of a kind."""
    bench.tell(command)
    return bench.heard(kind)[-1]


def verdict(bench: "Bench", command: Message) -> tuple[CommandResult, CommandCause | None]:
    """How the pile answers a command of service."""
    acknowledged = answer(bench, command, CommandAck)
    assert acknowledged.command_id == getattr(command, "command_id", None)
    return acknowledged.result, acknowledged.cause


def configure(bench: "Bench", version: int = 5, **settings: int) -> Config:
    """Put settings in force."""
    values = tuple(ConfigValue(*item) for item in settings.items())
    return answer(bench, ConfigSet(uuid4(), version, values, soon(bench)), Config)


def charge(bench: "Bench", port: int = 1, *, limit_s: int = 36_000, limit_dwh: int = 1_000_000) -> UUID:
    """Begin a session that draws power."""
    bench.pile.plug(port, SMALL, now_ms=bench.now_ms)
    start = bench.start(port, limit_s=limit_s, limit_dwh=limit_dwh)
    bench.wait(60)
    assert bench.pile.ports[port].state is PortState.CHARGING
    return start.session_id


def test_every_setting_of_the_protocol_has_its_default_in_the_pile(bench: "Bench") -> None:
    told = answer(bench, Query(uuid4(), QueryTopic.CONFIG, soon(bench)), Config)
    assert told.result is ConfigResult.REPORTED
    assert dict(told.values) == {key: setting.default for key, setting in SETTINGS.items()}


def test_settings_are_applied_reported_and_outlive_a_power_cut(bench: "Bench") -> None:
    applied = configure(bench, 9, max_session_s=7_200, volume=10)
    assert (applied.version, applied.result) == (9, ConfigResult.APPLIED)
    assert dict(applied.values)["max_session_s"] == 7_200
    bench.power_up()
    told = answer(bench, Query(uuid4(), QueryTopic.CONFIG, soon(bench)), Config)
    assert (told.version, dict(told.values)["max_session_s"], dict(told.values)["volume"]) == (9, 7_200, 10)
    assert bench.pile.boot_message().config_version == 9


@pytest.mark.parametrize(
    ("settings", "key", "cause"),
    [
        ({"volume": 10, "sparkle": 1}, "sparkle", ConfigCause.UNKNOWN_KEY),
        ({"volume": 10, "full_s": 1}, "full_s", ConfigCause.OUT_OF_RANGE),
        ({"volume": 10, "pile_start_w": 9_000}, "pile_start_w", ConfigCause.CONTRADICTION),
    ],
)
def test_one_bad_setting_leaves_all_as_they_were(
    bench: "Bench", settings: dict[str, int], key: str, cause: ConfigCause
) -> None:
    before = bench.pile.thresholds
    refused = configure(bench, **settings)
    assert (refused.result, refused.version) == (ConfigResult.REFUSED, 0)
    assert (refused.key, refused.cause) == (key, cause)
    assert bench.pile.thresholds == before
    bench.power_up()
    assert bench.pile.thresholds == before


def test_late_settings_and_tariffs_are_not_put_in_force(bench: "Bench") -> None:
    late_ms = bench.now_ms - 1
    config = answer(bench, ConfigSet(uuid4(), 5, (ConfigValue("volume", 1),), late_ms), Config)
    assert (config.result, config.version) == (ConfigResult.EXPIRED, 0)
    tariff = answer(bench, tariff_of(bench, expires_at_ms=late_ms), Tariff)
    assert (tariff.result, tariff.version) == (TariffResult.EXPIRED, 0)


def test_a_lower_limit_of_the_pile_holds_for_a_running_session(bench: "Bench") -> None:
    session_id = charge(bench)
    configure(bench, max_session_s=900)
    bench.wait(3_600)
    [record] = bench.settlements()
    assert (record.session_id, record.stop_reason, record.duration_s) == (
        session_id,
        StopReason.MAX_TIME,
        900,
    )


def test_a_lower_power_of_a_port_trips_a_running_session(bench: "Bench") -> None:
    charge(bench)
    configure(bench, max_power_w=50, overload_s=7)
    bench.wait(6)
    assert bench.settlements() == []
    bench.wait(60)
    [record] = bench.settlements()
    assert record.stop_reason is StopReason.PORT_OVER_POWER


def test_settings_never_loosen_what_a_start_has_limited(bench: "Bench") -> None:
    charge(bench, limit_s=1_000)
    configure(bench, max_session_s=86_400)
    bench.wait(2_000)
    [record] = bench.settlements()
    assert (record.stop_reason, record.duration_s) == (StopReason.PRESET_TIME, 1_000)


def test_the_intervals_are_settings_too_until_the_next_boot_ack(bench: "Bench") -> None:
    charge(bench)
    configure(bench, heartbeat_s=10, sample_s=5)
    bench.said.clear()
    bench.wait(100)
    assert len(bench.heard(Heartbeat)) in (9, 10, 11)
    assert len(bench.heard(MeterFrame)) in (19, 20, 21)
    bench.tell(BootAck(bench.now_ms, heartbeat_s=50, sample_s=50, reconnect_jitter_s=0))
    assert bench.pile.thresholds.settings()["heartbeat_s"] == 50


def tariff_of(
    bench: "Bench",
    *bands: TariffBand,
    version: int = 3,
    valid_from_ms: int = 0,
    expires_at_ms: int | None = None,
) -> TariffSet:
    """A tariff to show; one band for everything if none is given."""
    return TariffSet(
        command_id=uuid4(),
        version=version,
        valid_from_ms=valid_from_ms,
        utc_offset_s=28_800,
        bands=bands or (band(),),
        expires_at_ms=soon(bench) if expires_at_ms is None else expires_at_ms,
    )


def band(
    fee: TariffFee = TariffFee.ELECTRICITY,
    *,
    days: int = 127,
    minutes: tuple[int, int] = (0, 1_440),
    power_w: tuple[int, int] = (0, 0),
    unit: TariffUnit = TariffUnit.KWH,
) -> TariffBand:
    """A price of 0.51 yuan a kWh."""
    return TariffBand(fee, unit, days, *minutes, *power_w, 5_100)


def test_a_tariff_is_kept_and_told(bench: "Bench") -> None:
    stored = answer(bench, tariff_of(bench, version=12), Tariff)
    assert (stored.result, stored.version) == (TariffResult.STORED, 12)
    bench.power_up()
    told = answer(bench, Query(uuid4(), QueryTopic.TARIFF, soon(bench)), Tariff)
    assert (told.result, told.version) == (TariffResult.REPORTED, 12)
    assert bench.pile.boot_message().tariff_version == 12


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (band(), band(), True),
        (band(), band(TariffFee.SERVICE), False),
        (band(), band(unit=TariffUnit.SESSION), False),
        (band(days=1), band(days=2), False),
        (band(minutes=(0, 480)), band(minutes=(480, 1_440)), False),
        (band(minutes=(1_320, 420)), band(minutes=(400, 500)), True),
        (band(minutes=(1_320, 420)), band(minutes=(420, 1_320)), False),
        (band(power_w=(0, 200)), band(power_w=(200, 0)), False),
        (band(power_w=(0, 201)), band(power_w=(200, 0)), True),
    ],
)
def test_prices_of_one_fee_must_not_overlap(
    bench: "Bench", one: TariffBand, other: TariffBand, overlap: bool
) -> None:
    told = answer(bench, tariff_of(bench, one, other), Tariff)
    if overlap:
        assert (told.result, told.cause, told.version) == (TariffResult.REFUSED, TariffCause.OVERLAP, 0)
    else:
        assert (told.result, told.cause, told.version) == (TariffResult.STORED, None, 3)


def test_a_running_session_keeps_its_own_tariff(bench: "Bench") -> None:
    charge(bench, limit_s=600)
    bench.tell(tariff_of(bench, version=99))
    bench.wait(700)
    [record] = bench.settlements()
    assert record.tariff_version == 7


def test_more_room_replaces_the_limits_of_the_start(bench: "Bench") -> None:
    session_id = charge(bench, limit_s=600, limit_dwh=200)
    told = answer(bench, Extend(uuid4(), session_id, 1, 1_200, 900, soon(bench)), ExtendAck)
    assert (told.result, told.limit_s, told.limit_dwh) == (ExtendResult.EXTENDED, 1_200, 900)
    bench.wait(3_600)
    [record] = bench.settlements()
    assert (record.stop_reason, record.duration_s) == (StopReason.PRESET_TIME, 1_200)


def test_an_extension_outlives_a_power_cut_with_its_answer(bench: "Bench") -> None:
    session_id = charge(bench, limit_s=600)
    extend = Extend(uuid4(), session_id, 1, 1_200, 1_000_000, soon(bench))
    told = answer(bench, extend, ExtendAck)
    saved = bench.pile.memory.sessions[1]
    bench.power_up()
    assert saved.limit_s == 1_200
    assert answer(bench, extend, ExtendAck) == told


def test_an_extension_that_cannot_be_is_refused_with_the_limits_that_hold(bench: "Bench") -> None:
    session_id = charge(bench, limit_s=600, limit_dwh=5_000)
    cases = [
        (Extend(uuid4(), session_id, 1, 599, 5_000, soon(bench)), ExtendResult.BELOW_PRESENT, 600),
        (Extend(uuid4(), session_id, 1, 600, 4_999, soon(bench)), ExtendResult.BELOW_PRESENT, 600),
        (Extend(uuid4(), session_id, 1, 900, 5_000, bench.now_ms - 1), ExtendResult.EXPIRED, 600),
        (Extend(uuid4(), uuid4(), 1, 900, 5_000, soon(bench)), ExtendResult.SESSION_MISMATCH, 0),
        (Extend(uuid4(), session_id, 2, 900, 5_000, soon(bench)), ExtendResult.SESSION_MISMATCH, 0),
    ]
    for extend, result, limit_s in cases:
        told = answer(bench, extend, ExtendAck)
        assert (told.result, told.limit_s) == (result, limit_s)
    bench.wait(700)
    told = answer(bench, Extend(uuid4(), session_id, 1, 900, 5_000, soon(bench)), ExtendAck)
    assert (told.result, told.limit_s, told.limit_dwh) == (ExtendResult.SESSION_ENDED, 0, 0)


def test_a_repeated_extension_is_done_once(bench: "Bench") -> None:
    session_id = charge(bench, limit_s=600)
    first = Extend(uuid4(), session_id, 1, 1_200, 1_000_000, soon(bench))
    told = answer(bench, first, ExtendAck)
    bench.tell(Extend(uuid4(), session_id, 1, 2_400, 1_000_000, soon(bench)))
    assert answer(bench, first, ExtendAck) == told
    assert bench.pile.memory.sessions[1].limit_s == 2_400


def test_the_time_is_asked_for_after_the_boot_and_twice_a_day(bench: "Bench") -> None:
    bench.wait(1)
    assert [asked.at_ms for asked in bench.heard(TimeRequest)] == [bench.now_ms - 1_000]
    bench.wait(25 * 3_600)
    assert len(bench.heard(TimeRequest)) == 3


def test_a_step_of_the_clock_changes_no_duration(bench: "Bench") -> None:
    charge(bench, limit_s=1_000)
    bench.wait(100)
    bench.tell(Time(bench.now_ms + 7 * 3_600_000))
    bench.wait(2_000)
    [record] = bench.settlements()
    assert record.duration_s == 1_000
    assert record.ended_at_ms - record.started_at_ms == 1_000_000


def test_a_query_for_the_status_names_every_port_before_its_answer(bench: "Bench") -> None:
    charge(bench, 4)
    bench.said.clear()
    assert verdict(bench, Query(uuid4(), QueryTopic.STATUS, soon(bench))) == (CommandResult.DONE, None)
    assert [type(message) for message in bench.said] == [Heartbeat, *[PortStateChanged] * 10, CommandAck]
    states = {change.port: change.state for change in bench.heard(PortStateChanged)}
    assert states == {port: PortState.CHARGING if port == 4 else PortState.IDLE for port in range(1, 11)}


def test_a_query_for_the_meter_gives_a_frame_now_and_never_two_of_one_instant(bench: "Bench") -> None:
    charge(bench)
    bench.wait(7)
    bench.said.clear()
    for _ in range(2):
        bench.tell(Query(uuid4(), QueryTopic.METER, soon(bench)))
    [frame] = bench.heard(MeterFrame)
    assert frame.sampled_at_ms == bench.now_ms
    assert len(bench.heard(CommandAck)) == 2


def test_the_log_tells_what_happened_in_parts_of_sixteen(bench: "Bench") -> None:
    for port in range(1, 11):
        bench.start(port, plug_wait_s=10)
    bench.wait(20)
    for _ in range(12):
        bench.start(1, expires_in_s=-1)
    command_id = uuid4()
    bench.tell(LogRequest(command_id, 0, 1_000, soon(bench)))
    parts = bench.heard(LogLines)
    assert [part.part for part in parts] == list(range(1, len(parts) + 1))
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
    assert [len(part.lines) for part in parts[:-1]] == [16] * (len(parts) - 1)
    texts = [line.text for part in parts for line in part.lines]
    assert texts[0].startswith("boot 1: power")
    assert sum("ended its session: no_load" in text for text in texts) == 10
    assert sum("refused: expired" in text for text in texts) == 12
    assert isinstance(bench.said[-1], CommandAck)


def test_the_log_gives_the_newest_lines_and_outlives_power_cuts(bench: "Bench") -> None:
    for _ in range(5):
        bench.wait(10)
        bench.power_up()
    bench.tell(LogRequest(uuid4(), 0, 3, soon(bench)))
    [part] = bench.heard(LogLines)
    assert [line.text[:7] for line in part.lines] == ["boot 4:", "boot 5:", "boot 6:"]
    bench.tell(LogRequest(uuid4(), bench.now_ms + 1, 3, soon(bench)))
    empty = bench.heard(LogLines)[-1]
    assert (empty.lines, empty.last, empty.part) == ((), True, 1)


def test_a_reboot_waits_for_the_last_session_and_lets_no_other_begin(bench: "Bench") -> None:
    charge(bench, limit_s=600)
    assert verdict(bench, Reboot(uuid4(), False, soon(bench))) == (CommandResult.ACCEPTED, None)
    bench.start(2)
    assert bench.heard(StartAck)[-1].cause is StartCause.OUT_OF_SERVICE
    assert bench.pile.restart_reason is None
    bench.wait(700)
    assert bench.pile.restart_reason is BootReason.COMMAND
    [record] = bench.settlements()
    assert record.stop_reason is StopReason.PRESET_TIME


def test_a_forced_reboot_ends_what_runs(bench: "Bench") -> None:
    charge(bench)
    assert verdict(bench, Reboot(uuid4(), True, soon(bench))) == (CommandResult.DONE, None)
    assert bench.pile.restart_reason is BootReason.COMMAND
    [record] = bench.settlements()
    assert record.stop_reason is StopReason.REBOOT


def test_a_late_reboot_does_not_happen(bench: "Bench") -> None:
    assert verdict(bench, Reboot(uuid4(), True, bench.now_ms - 1)) == (CommandResult.EXPIRED, None)
    assert bench.pile.restart_reason is None


def test_a_port_out_of_service_finishes_its_session_and_takes_no_other(bench: "Bench") -> None:
    charge(bench, limit_s=600)
    assert verdict(bench, PortSet(uuid4(), 1, False, soon(bench))) == (CommandResult.DONE, None)
    assert bench.pile.ports[1].state is PortState.CHARGING
    bench.wait(700)
    assert bench.heard(PortStateChanged)[-1].state is PortState.DISABLED
    bench.power_up()
    bench.start(1)
    assert bench.heard(StartAck)[-1].cause is StartCause.PORT_DISABLED
    assert verdict(bench, PortSet(uuid4(), 1, True, soon(bench))) == (CommandResult.DONE, None)
    assert bench.heard(PortStateChanged)[-1].state is PortState.IDLE
    bench.start(1)
    assert bench.heard(StartAck)[-1].cause is None


def test_a_relay_is_tested_on_a_free_port_only(bench: "Bench") -> None:
    charge(bench, 1)
    bench.pile.ports[2].fault = PortFault.RELAY_WELDED
    bench.pile.ports[3].fault = PortFault.RELAY_DEAD
    bench.pile.ports[5].wire(welded=True, broken=False, at_ms=bench.now_ms)
    bench.pile.ports[6].wire(welded=False, broken=True, at_ms=bench.now_ms)
    verdicts = [verdict(bench, RelayTest(uuid4(), port, soon(bench))) for port in (1, 2, 3, 4, 5, 6, 11)]
    refused = CommandResult.REFUSED
    assert verdicts == [
        (refused, CommandCause.PORT_BUSY),
        (refused, CommandCause.RELAY_WELDED),
        (refused, CommandCause.RELAY_DEAD),
        (CommandResult.DONE, None),
        (refused, CommandCause.RELAY_WELDED),
        (refused, CommandCause.RELAY_DEAD),
        (refused, CommandCause.NO_SUCH_PORT),
    ]


def test_a_pile_is_found_by_light_and_sound(bench: "Bench") -> None:
    assert verdict(bench, Locate(uuid4(), 30, soon(bench), 3)) == (CommandResult.DONE, None)
    assert verdict(bench, Locate(uuid4(), 30, soon(bench), 11)) == (
        CommandResult.REFUSED,
        CommandCause.NO_SUCH_PORT,
    )


def test_a_pile_speaks_only_when_it_is_not_night_in_its_zone(bench: "Bench") -> None:
    minute = (bench.now_ms // 60_000 + 480) % 1_440
    said = Voice(uuid4(), "good evening", soon(bench))
    configure(bench, mute_from=(minute + 1) % 1_440, mute_to=minute)
    assert verdict(bench, said) == (CommandResult.DONE, None)
    configure(bench, mute_from=minute, mute_to=(minute + 1) % 1_440)
    muted = (CommandResult.REFUSED, CommandCause.MUTED)
    assert verdict(bench, Voice(uuid4(), "good evening", soon(bench))) == muted
    configure(bench, mute_from=0, mute_to=0, volume=0)
    assert verdict(bench, Voice(uuid4(), "good evening", soon(bench))) == muted


def test_a_repeated_command_is_done_once_and_answered_alike_over_a_power_cut(bench: "Bench") -> None:
    command = PortSet(uuid4(), 2, False, soon(bench))
    bench.tell(command)
    bench.tell(PortSet(uuid4(), 2, True, soon(bench)))
    bench.power_up()
    bench.wait(60)
    bench.tell(command)
    first, *_, again = bench.heard(CommandAck)
    assert first == again
    assert not bench.pile.ports[2].disabled
