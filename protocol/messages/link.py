"""The connection: boot, presence, the clock, a new key, and messages handed on for a pile behind this one."""

from typing import Annotated, NamedTuple
from uuid import UUID

from protocol.fields import Integer, Key, Message, Octets, Rows, Text, down, up
from protocol.messages.ranges import (
    RELAYED_BYTES,
    Count,
    Energy,
    Instant,
    PortNo,
    Power,
    Signal,
    Temperature,
    Version,
    Voltage,
)
from protocol.words import BootReason, ClockState, PortState


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


@up("time_request")
class TimeRequest(Message):
    """The pile asks for the time, at boot and every 12 h, and tells its own."""

    at_ms: Annotated[Instant, Key(1)]


@down("time")
class Time(Message):
    """The platform's clock."""

    time_ms: Annotated[Instant, Key(1)]


@down("key_rotate")
class KeyRotate(Message):
    """Take a new device secret. The pile answers with ``command_ack``, the first frame under the new epoch."""

    command_id: Annotated[UUID, Key(1)]
    epoch: Annotated[int, Key(2), Integer(2, (1 << 31) - 1)]
    secret: Annotated[bytes, Key(3), Octets(32, 32)]
    expires_at_ms: Annotated[Instant, Key(4)]


@up("relay")
class RelayUp(Message):
    """A host hands on a frame of a pile behind it, as that pile sealed it for its own topic."""

    child: Annotated[str, Key(1), Text(64)]
    name: Annotated[str, Key(2), Text(32)]
    frame: Annotated[bytes, Key(3), Octets(1, RELAYED_BYTES)]


@down("relay")
class RelayDown(Message):
    """A frame for a pile behind this host, sealed for that pile's own topic."""

    child: Annotated[str, Key(1), Text(64)]
    name: Annotated[str, Key(2), Text(32)]
    frame: Annotated[bytes, Key(3), Octets(1, RELAYED_BYTES)]
