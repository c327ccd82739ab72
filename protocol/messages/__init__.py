"""The message catalogue: every message of the protocol, each one declaration.

Fields carry their unit last: ``_dw`` 0.1 W, ``_dwh`` 0.1 Wh, ``_dv`` 0.1 V, ``_ma`` mA, ``_dc`` 0.1 °C,
``_milli`` thousandths, ``_cfen`` 0.01 fen, ``_s`` seconds, ``_ms`` epoch milliseconds by the sender's clock when it
is an instant. Counters (boot, seq) are in the envelope, not in the body. Keys are for ever; a new field is optional
and gets a new key.
"""

from dataclasses import dataclass

from protocol.messages.link import (
    Boot,
    BootAck,
    Gone,
    Heartbeat,
    KeyRotate,
    PortReport,
    RelayDown,
    RelayUp,
    Time,
    TimeRequest,
)
from protocol.messages.ranges import HALF_HOUR_S, LONGEST_SESSION_S, PROTOCOL_VERSION, TIER_WIDTH_W, Instant
from protocol.messages.safety import Alarm, AlarmAck, FaultClear
from protocol.messages.service import (
    CommandAck,
    Config,
    ConfigSet,
    ConfigValue,
    Firmware,
    FirmwareState,
    Locate,
    LogLine,
    LogLines,
    LogRequest,
    PortSet,
    Query,
    Reboot,
    RelayTest,
    Tariff,
    TariffBand,
    TariffSet,
    Voice,
)
from protocol.messages.sessions import (
    Extend,
    ExtendAck,
    FrameReceipt,
    LocalStart,
    LocalStartAck,
    MeterFrame,
    MeterReceipt,
    PortSample,
    PortStateChanged,
    Settlement,
    SettlementAck,
    SlotEnergy,
    Start,
    StartAck,
    Started,
    Stop,
    StopAck,
    TierEnergy,
)
from protocol.topics import Direction


@dataclass(frozen=True, slots=True)
class UnknownMessage:
    """A well-formed message of a type this version does not know: to be counted, never an error."""

    direction: Direction
    message: str


__all__ = [
    "HALF_HOUR_S",
    "LONGEST_SESSION_S",
    "PROTOCOL_VERSION",
    "TIER_WIDTH_W",
    "Alarm",
    "AlarmAck",
    "Boot",
    "BootAck",
    "CommandAck",
    "Config",
    "ConfigSet",
    "ConfigValue",
    "Extend",
    "ExtendAck",
    "FaultClear",
    "Firmware",
    "FirmwareState",
    "FrameReceipt",
    "Gone",
    "Heartbeat",
    "Instant",
    "KeyRotate",
    "LocalStart",
    "LocalStartAck",
    "Locate",
    "LogLine",
    "LogLines",
    "LogRequest",
    "MeterFrame",
    "MeterReceipt",
    "PortReport",
    "PortSample",
    "PortSet",
    "PortStateChanged",
    "Query",
    "Reboot",
    "RelayDown",
    "RelayTest",
    "RelayUp",
    "Settlement",
    "SettlementAck",
    "SlotEnergy",
    "Start",
    "StartAck",
    "Started",
    "Stop",
    "StopAck",
    "Tariff",
    "TariffBand",
    "TariffSet",
    "TierEnergy",
    "Time",
    "TimeRequest",
    "UnknownMessage",
    "Voice",
]
