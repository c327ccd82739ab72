"""A port and its session: states, samples, start to settlement, and what begins at the pile itself."""

from typing import Annotated, NamedTuple
from uuid import UUID

from protocol.fields import Integer, Key, Message, Rows, Text, down, up
from protocol.messages.ranges import (
    LONGEST_SESSION_S,
    Count,
    Current,
    Energy,
    Instant,
    PortNo,
    Power,
    Seconds,
    Temperature,
    Version,
    Voltage,
)
from protocol.words import (
    ClockState,
    ExtendResult,
    FrameResult,
    LocalStartResult,
    Phase,
    PortFault,
    PortState,
    ReceiptWish,
    SessionSource,
    SettlementResult,
    StartCause,
    StartResult,
    StateCause,
    StopReason,
    StopResult,
)


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
    receipt: Annotated[ReceiptWish | None, Key(4)] = None


class FrameReceipt(NamedTuple):
    """What became of the meter frame sealed under this counter."""

    boot: Count
    seq: Count
    result: FrameResult


@down("meter_receipt")
class MeterReceipt(Message):
    """What became of meter frames, told after the commit: the pile may forget them."""

    frames: Annotated[tuple[FrameReceipt, ...], Key(1), Rows(FrameReceipt, 64, 1)]


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
    duration_s: Seconds


class TierEnergy(NamedTuple):
    """What a session took at one level of power: ``tier`` n is n * 20 W up to (n + 1) * 20 W."""

    tier: Annotated[int, Integer(0, 5_000)]
    duration_s: Seconds
    energy_dwh: Energy


@up("settlement")
class Settlement(Message):
    """The pile's final record of a session, repeated until ``settlement_ack``, for ever.

    Slots sum exactly to ``energy_dwh`` and ``duration_s``, tiers should; ``energy_dwh`` is the difference of
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


@down("extend")
class Extend(Message):
    """Give a running session more room; the limits replace those of ``start`` and are never below them."""

    command_id: Annotated[UUID, Key(1)]
    session_id: Annotated[UUID, Key(2)]
    port: Annotated[PortNo, Key(3)]
    limit_s: Annotated[int, Key(4), Integer(1, LONGEST_SESSION_S)]
    limit_dwh: Annotated[int, Key(5), Integer(1, 1 << 40)]
    expires_at_ms: Annotated[Instant, Key(6)]


@up("extend_ack")
class ExtendAck(Message):
    """The answer to ``extend``, with the limits that hold from now on; 0 where there is no such session."""

    command_id: Annotated[UUID, Key(1)]
    session_id: Annotated[UUID, Key(2)]
    port: Annotated[PortNo, Key(3)]
    result: Annotated[ExtendResult, Key(4)]
    at_ms: Annotated[Instant, Key(5)]
    limit_s: Annotated[int, Key(6), Integer(0, LONGEST_SESSION_S)] = 0
    limit_dwh: Annotated[int, Key(7), Integer(0, 1 << 40)] = 0


@up("local_start")
class LocalStart(Message):
    """A session begun at the pile itself; repeated like a settlement until ``local_start_ack``."""

    session_id: Annotated[UUID, Key(1)]
    source: Annotated[SessionSource, Key(2)]
    port: Annotated[PortNo, Key(3)]
    at_ms: Annotated[Instant, Key(4)]
    register_dwh: Annotated[Energy, Key(5)]
    limit_s: Annotated[int, Key(6), Integer(1, LONGEST_SESSION_S)]
    limit_dwh: Annotated[int, Key(7), Integer(1, 1 << 40)]
    clock: Annotated[ClockState, Key(8)]
    credential: Annotated[str | None, Key(9), Text(64)] = None


@down("local_start_ack")
class LocalStartAck(Message):
    """The platform has committed the session or refused it; a refused one that still runs ends."""

    session_id: Annotated[UUID, Key(1)]
    result: Annotated[LocalStartResult, Key(2)]
