"""The message catalogue: every message of the protocol, each one declaration.

Fields carry their unit last: ``_dw`` 0.1 W, ``_dwh`` 0.1 Wh, ``_dv`` 0.1 V, ``_ma`` mA, ``_dc`` 0.1 °C,
``_milli`` thousandths, ``_s`` seconds, ``_ms`` epoch milliseconds by the pile's clock when it is an
instant. Counters (boot, seq) are in the envelope, not in the body. Keys are for ever; a new field is
optional and gets a new key.
"""

from dataclasses import dataclass
from typing import Annotated, Final, NamedTuple
from uuid import UUID

from protocol.fields import Integer, Key, Message, Rows, Text, down, up
from protocol.topics import Direction
from protocol.words import (
    BootReason,
    ClockState,
    Phase,
    PortFault,
    PortState,
    SessionSource,
    SettlementResult,
    StartCause,
    StartResult,
    StateCause,
    StopReason,
    StopResult,
)

PROTOCOL_VERSION: Final = 1
HALF_HOUR_S: Final = 1800
TIER_WIDTH_W: Final = 20
LONGEST_SESSION_S: Final = 7 * 86_400

Instant = Annotated[int, Integer(0, 1 << 43)]
Seconds = Annotated[int, Integer(0, 10_000_000)]
Count = Annotated[int, Integer(0, (1 << 32) - 1)]
Version = Annotated[int, Integer(0, (1 << 53) - 1)]
PortNo = Annotated[int, Integer(1, 20)]
Power = Annotated[int, Integer(0, 1_000_000)]
Energy = Annotated[int, Integer(0, 1 << 40)]
Voltage = Annotated[int, Integer(0, 5_000)]
Current = Annotated[int, Integer(0, 1_000_000)]
Temperature = Annotated[int, Integer(-1_000, 3_000)]
Signal = Annotated[int, Integer(-200, 0)]


@up("boot")
class Boot(Message):
    """The pile has started; repeated with back-off until ``boot_ack``. ``connection`` as in ``gone``."""

    at_ms: Annotated[Instant, Key(1)]
    connection: Annotated[Count, Key(2)]
    reason: Annotated[BootReason, Key(3)]
    model: Annotated[str, Key(4), Text(64)]
    hardware: Annotated[str, Key(5), Text(32)]
    firmware: Annotated[str, Key(6), Text(32)]
    protocol: Annotated[int, Key(7), Integer(1, 255)]
    port_count: Annotated[int, Key(8), Integer(2, 20)]
    signal_dbm: Annotated[Signal, Key(9)]
    unsent: Annotated[Count, Key(10)]
    clock: Annotated[ClockState, Key(11)]
    config_version: Annotated[Version, Key(12)] = 0
    tariff_version: Annotated[Version, Key(13)] = 0
    imei: Annotated[str | None, Key(14), Text(20)] = None
    iccid: Annotated[str | None, Key(15), Text(24)] = None


@down("boot_ack")
class BootAck(Message):
    """The platform knows the pile has started; nothing else is sent down before it.

    ``reconnect_jitter_s`` is the widest random wait before reconnecting after the broker was lost.
    """

    time_ms: Annotated[Instant, Key(1)]
    heartbeat_s: Annotated[int, Key(2), Integer(1, 86_400)]
    sample_s: Annotated[int, Key(3), Integer(1, 3_600)]
    reconnect_jitter_s: Annotated[int, Key(4), Integer(0, 120)]
    config_version: Annotated[Version, Key(5)] = 0
    tariff_version: Annotated[Version, Key(6)] = 0


class PortReport(NamedTuple):
    """One port's state in a heartbeat."""

    port: PortNo
    state: PortState
    power_dw: Power


@up("heartbeat")
class Heartbeat(Message):
    """The pile lives; also the first message of each connection. ``energy_wh`` only grows."""

    sampled_at_ms: Annotated[Instant, Key(1)]
    connection: Annotated[Count, Key(2)]
    signal_dbm: Annotated[Signal, Key(3)]
    board_temperature_dc: Annotated[Temperature, Key(4)]
    mains_dv: Annotated[Voltage, Key(5)]
    power_dw: Annotated[Power, Key(6)]
    energy_wh: Annotated[Energy, Key(7)]
    leakage_ma: Annotated[int, Key(8), Integer(0, 100_000)]
    unsent: Annotated[Count, Key(9)]
    ports: Annotated[tuple[PortReport, ...], Key(10), Rows(PortReport, 20)]


@up("gone")
class Gone(Message):
    """The last will. ``connection`` grows with each connection of a boot; ``boot`` and ``heartbeat`` tell it.

    A ``gone`` counts only while (its boot, connection) is the newest the platform has heard of.
    """

    connection: Annotated[Count, Key(1)]


@up("port_state")
class PortStateChanged(Message):
    """A port changed its state. ``fault_code`` is the pile's own code behind ``fault``."""

    at_ms: Annotated[Instant, Key(1)]
    port: Annotated[PortNo, Key(2)]
    state: Annotated[PortState, Key(3)]
    previous: Annotated[PortState, Key(4)]
    plugged: Annotated[bool, Key(5)]
    power_dw: Annotated[Power, Key(6)]
    cause: Annotated[StateCause, Key(7)]
    session_id: Annotated[UUID | None, Key(8)] = None
    fault: Annotated[PortFault | None, Key(9)] = None
    fault_code: Annotated[Count, Key(10)] = 0


class PortSample(NamedTuple):
    """One port's reading. Minimum, maximum and mean cover the ``window_s`` before the sample."""

    port: PortNo
    session_id: UUID
    elapsed_s: Seconds
    window_s: Annotated[int, Integer(0, 32_767)]
    voltage_dv: Voltage
    current_ma: Current
    power_dw: Power
    power_factor_milli: Annotated[int, Integer(0, 1_000)]
    energy_dwh: Energy
    power_min_dw: Power
    power_max_dw: Power
    power_mean_dw: Power
    temperature_dc: Temperature
    phase: Phase


@up("meter")
class MeterFrame(Message):
    """Readings of every port with a session; a pile never reports one ``sampled_at_ms`` twice."""

    sampled_at_ms: Annotated[Instant, Key(1)]
    samples: Annotated[tuple[PortSample, ...], Key(2), Rows(PortSample, 20, 1)]
    clock: Annotated[ClockState, Key(3)]


@down("start")
class Start(Message):
    """Start a session on a port, once per command id. The pile keeps to every limit with no link at all.

    ``float_s`` is how long the port stays on after the battery is full; ``plug_wait_s`` how long it waits
    for a load.
    """

    command_id: Annotated[UUID, Key(1)]
    session_id: Annotated[UUID, Key(2)]
    port: Annotated[PortNo, Key(3)]
    limit_s: Annotated[int, Key(4), Integer(1, LONGEST_SESSION_S)]
    limit_dwh: Annotated[int, Key(5), Integer(1, 1 << 40)]
    max_power_w: Annotated[int, Key(6), Integer(1, 100_000)]
    stop_when_full: Annotated[bool, Key(7)]
    float_s: Annotated[Seconds, Key(8)]
    plug_wait_s: Annotated[Seconds, Key(9)]
    tariff_version: Annotated[Version, Key(10)]
    expires_at_ms: Annotated[Instant, Key(11)]


@up("start_ack")
class StartAck(Message):
    """The answer to ``start``, within 3 s. ``register_dwh`` is the port's energy register."""

    command_id: Annotated[UUID, Key(1)]
    session_id: Annotated[UUID, Key(2)]
    port: Annotated[PortNo, Key(3)]
    result: Annotated[StartResult, Key(4)]
    at_ms: Annotated[Instant, Key(5)]
    register_dwh: Annotated[Energy, Key(6)] = 0
    cause: Annotated[StartCause | None, Key(7)] = None


@up("started")
class Started(Message):
    """The session draws power for the first time."""

    command_id: Annotated[UUID, Key(1)]
    session_id: Annotated[UUID, Key(2)]
    port: Annotated[PortNo, Key(3)]
    started_at_ms: Annotated[Instant, Key(4)]
    register_dwh: Annotated[Energy, Key(5)]
    power_dw: Annotated[Power, Key(6)]


@down("stop")
class Stop(Message):
    """End a session; its settlement will carry ``reason``."""

    command_id: Annotated[UUID, Key(1)]
    session_id: Annotated[UUID, Key(2)]
    port: Annotated[PortNo, Key(3)]
    reason: Annotated[StopReason, Key(4)]
    expires_at_ms: Annotated[Instant, Key(5)]


@up("stop_ack")
class StopAck(Message):
    """The answer to ``stop``; the settlement follows on its own."""

    command_id: Annotated[UUID, Key(1)]
    session_id: Annotated[UUID, Key(2)]
    port: Annotated[PortNo, Key(3)]
    result: Annotated[StopResult, Key(4)]
    at_ms: Annotated[Instant, Key(5)]


class SlotEnergy(NamedTuple):
    """What a session took in one half hour; ``slot`` counts half hours since the epoch (UTC)."""

    slot: Annotated[int, Integer(0, 1 << 32)]
    energy_dwh: Energy
    duration_s: Annotated[int, Integer(0, HALF_HOUR_S)]


class TierEnergy(NamedTuple):
    """What a session took at one level of power: ``tier`` n is n * 20 W up to (n + 1) * 20 W."""

    tier: Annotated[int, Integer(0, 5_000)]
    duration_s: Seconds
    energy_dwh: Energy


@up("settlement")
class Settlement(Message):
    """The pile's final record of a session, repeated until ``settlement_ack``, for ever.

    Slots sum exactly to ``energy_dwh`` and ``duration_s``, tiers too; ``energy_dwh`` is the difference of
    the registers. A session that never drew power has no energy and no slots. ``stop_code`` is the pile's
    own code behind ``stop_reason``.
    """

    session_id: Annotated[UUID, Key(1)]
    source: Annotated[SessionSource, Key(2)]
    port: Annotated[PortNo, Key(3)]
    started_at_ms: Annotated[Instant, Key(4)]
    ended_at_ms: Annotated[Instant, Key(5)]
    duration_s: Annotated[Seconds, Key(6)]
    start_register_dwh: Annotated[Energy, Key(7)]
    end_register_dwh: Annotated[Energy, Key(8)]
    energy_dwh: Annotated[Energy, Key(9)]
    slots: Annotated[tuple[SlotEnergy, ...], Key(10), Rows(SlotEnergy, 400)]
    tiers: Annotated[tuple[TierEnergy, ...], Key(11), Rows(TierEnergy, 400)]
    max_power_dw: Annotated[Power, Key(12)]
    end_power_dw: Annotated[Power, Key(13)]
    stop_reason: Annotated[StopReason, Key(14)]
    stop_code: Annotated[Count, Key(15)]
    samples_sent: Annotated[Count, Key(16)]
    tariff_version: Annotated[Version, Key(17)]
    clock: Annotated[ClockState, Key(18)]


@down("settlement_ack")
class SettlementAck(Message):
    """The platform has committed the settlement (or its refusal), and the pile may forget it."""

    session_id: Annotated[UUID, Key(1)]
    result: Annotated[SettlementResult, Key(2)]


@up("time_request")
class TimeRequest(Message):
    """The pile asks for the time, at boot and every 12 h, and tells its own."""

    at_ms: Annotated[Instant, Key(1)]


@down("time")
class Time(Message):
    """The platform's clock."""

    time_ms: Annotated[Instant, Key(1)]


@dataclass(frozen=True, slots=True)
class UnknownMessage:
    """A well-formed message of a type this version does not know: to be counted, never an error."""

    direction: Direction
    message: str
