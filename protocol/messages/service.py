"""The care of a pile: configuration, the tariff it shows, firmware, and what a technician asks of it."""

from typing import Annotated, NamedTuple
from uuid import UUID

from protocol.fields import Integer, Key, Message, Octets, Rows, Text, down, up
from protocol.messages.ranges import FIRMWARE_MAX_BYTES, Instant, PortNo, Version
from protocol.words import (
    CommandCause,
    CommandResult,
    ConfigCause,
    ConfigResult,
    FirmwareError,
    FirmwareStep,
    LogLevel,
    QueryTopic,
    TariffCause,
    TariffFee,
    TariffResult,
    TariffUnit,
)


@up("command_ack")
class CommandAck(Message):
    """The answer to every command that has no answer of its own, within 3 s.

    ``accepted`` means that it will happen later, as a reboot waits for running sessions.
    """

    command_id: Annotated[UUID, Key(1)]
    result: Annotated[CommandResult, Key(2)]
    at_ms: Annotated[Instant, Key(3)]
    cause: Annotated[CommandCause | None, Key(4)] = None


class ConfigValue(NamedTuple):
    """One setting; flags are 0 and 1, times of day minutes after midnight in the pile's zone."""

    key: Annotated[str, Text(32)]
    value: Annotated[int, Integer(-1_000_000, 1_000_000_000)]


@down("config_set")
class ConfigSet(Message):
    """Put settings in force, all or none; those not named keep their value. Answered by ``config``."""

    command_id: Annotated[UUID, Key(1)]
    version: Annotated[Version, Key(2)]
    values: Annotated[tuple[ConfigValue, ...], Key(3), Rows(ConfigValue, 64)]
    expires_at_ms: Annotated[Instant, Key(4)]


@up("config")
class Config(Message):
    """The settings in force, as the answer to ``config_set`` or to ``query``.

    A refusal names the offending setting in ``key`` and leaves everything as it was.
    """

    version: Annotated[Version, Key(1)]
    result: Annotated[ConfigResult, Key(2)]
    values: Annotated[tuple[ConfigValue, ...], Key(3), Rows(ConfigValue, 64)]
    command_id: Annotated[UUID | None, Key(4)] = None
    key: Annotated[str | None, Key(5), Text(32)] = None
    cause: Annotated[ConfigCause | None, Key(6)] = None


class TariffBand(NamedTuple):
    """One price: what it is for, when and at which power it holds. Bands of one fee do not overlap.

    ``days`` is a bit each day, Monday 1 to Sunday 64; ``max_power_w`` 0 means no upper end. A price is in
    0.0001 yuan (0.01 fen) a kWh, an hour or a session.
    """

    fee: TariffFee
    unit: TariffUnit
    days: Annotated[int, Integer(1, 127)]
    from_minute: Annotated[int, Integer(0, 1_439)]
    to_minute: Annotated[int, Integer(1, 1_440)]
    min_power_w: Annotated[int, Integer(0, 100_000)]
    max_power_w: Annotated[int, Integer(0, 100_000)]
    price_cfen: Annotated[int, Integer(0, 1_000_000_000)]


@down("tariff_set")
class TariffSet(Message):
    """The tariff to show from ``valid_from_ms`` on; a running session keeps its own. Answered by ``tariff``."""

    command_id: Annotated[UUID, Key(1)]
    version: Annotated[Version, Key(2)]
    valid_from_ms: Annotated[Instant, Key(3)]
    utc_offset_s: Annotated[int, Key(4), Integer(-50_400, 50_400)]
    bands: Annotated[tuple[TariffBand, ...], Key(5), Rows(TariffBand, 128, 1)]
    expires_at_ms: Annotated[Instant, Key(6)]
    text: Annotated[str | None, Key(7), Text(400)] = None


@up("tariff")
class Tariff(Message):
    """The tariff the pile shows, as the answer to ``tariff_set`` or to ``query``."""

    version: Annotated[Version, Key(1)]
    result: Annotated[TariffResult, Key(2)]
    command_id: Annotated[UUID | None, Key(3)] = None
    cause: Annotated[TariffCause | None, Key(4)] = None


@down("firmware")
class Firmware(Message):
    """Install firmware within a window, while no port charges unless ``force``; told by ``firmware_state``.

    ``signature`` is Ed25519 over the manifest, by the key the maker built into the pile.
    """

    command_id: Annotated[UUID, Key(1)]
    version: Annotated[str, Key(2), Text(32)]
    model: Annotated[str, Key(3), Text(64)]
    url: Annotated[str, Key(4), Text(512)]
    size_bytes: Annotated[int, Key(5), Integer(1, FIRMWARE_MAX_BYTES)]
    sha256: Annotated[bytes, Key(6), Octets(32, 32)]
    signature: Annotated[bytes, Key(7), Octets(64, 64)]
    minimum_version: Annotated[str, Key(8), Text(32)]
    window_from_ms: Annotated[Instant, Key(9)]
    window_to_ms: Annotated[Instant, Key(10)]
    force: Annotated[bool, Key(11)]
    expires_at_ms: Annotated[Instant, Key(12)]


@up("firmware_state")
class FirmwareState(Message):
    """How far an update is; ``done`` and ``failed`` end it, and say which version runs."""

    command_id: Annotated[UUID, Key(1)]
    version: Annotated[str, Key(2), Text(32)]
    running: Annotated[str, Key(3), Text(32)]
    step: Annotated[FirmwareStep, Key(4)]
    percent: Annotated[int, Key(5), Integer(0, 100)]
    at_ms: Annotated[Instant, Key(6)]
    error: Annotated[FirmwareError | None, Key(7)] = None


@down("query")
class Query(Message):
    """Tell something now: the messages the topic names, then ``command_ack``."""

    command_id: Annotated[UUID, Key(1)]
    topic: Annotated[QueryTopic, Key(2)]
    expires_at_ms: Annotated[Instant, Key(3)]


@down("log")
class LogRequest(Message):
    """Send the newest lines of the pile's own log, in ``log_lines``, then ``command_ack``."""

    command_id: Annotated[UUID, Key(1)]
    since_ms: Annotated[Instant, Key(2)]
    max_lines: Annotated[int, Key(3), Integer(1, 1_000)]
    expires_at_ms: Annotated[Instant, Key(4)]


class LogLine(NamedTuple):
    """One line of a pile's log."""

    at_ms: Instant
    level: LogLevel
    text: Annotated[str, Text(200)]


@up("log_lines")
class LogLines(Message):
    """A part of the log, oldest first; parts count from 1."""

    command_id: Annotated[UUID, Key(1)]
    part: Annotated[int, Key(2), Integer(1, 1_000)]
    last: Annotated[bool, Key(3)]
    lines: Annotated[tuple[LogLine, ...], Key(4), Rows(LogLine, 16)]


@down("reboot")
class Reboot(Message):
    """Start again: once no session runs, or with ``force`` at once, the sessions ending as ``reboot``."""

    command_id: Annotated[UUID, Key(1)]
    force: Annotated[bool, Key(2)]
    expires_at_ms: Annotated[Instant, Key(3)]


@down("locate")
class Locate(Message):
    """Blink and beep, so that somebody finds the pile, or one port of it."""

    command_id: Annotated[UUID, Key(1)]
    duration_s: Annotated[int, Key(2), Integer(1, 600)]
    expires_at_ms: Annotated[Instant, Key(3)]
    port: Annotated[PortNo | None, Key(4)] = None


@down("voice")
class Voice(Message):
    """Say something aloud, with the volume and the quiet hours of the configuration."""

    command_id: Annotated[UUID, Key(1)]
    text: Annotated[str, Key(2), Text(200)]
    expires_at_ms: Annotated[Instant, Key(3)]


@down("relay_test")
class RelayTest(Message):
    """Close and open a free port's relay and look: done, or refused with what is wrong."""

    command_id: Annotated[UUID, Key(1)]
    port: Annotated[PortNo, Key(2)]
    expires_at_ms: Annotated[Instant, Key(3)]


@down("port_set")
class PortSet(Message):
    """Take a port out of service, or back; a running session goes on to its end."""

    command_id: Annotated[UUID, Key(1)]
    port: Annotated[PortNo, Key(2)]
    enabled: Annotated[bool, Key(3)]
    expires_at_ms: Annotated[Instant, Key(4)]
