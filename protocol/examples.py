"""One message of each kind, with contents a pile and a platform might really exchange."""

import hashlib
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import messages
from protocol.fields import Message
from protocol.firmware import Manifest, sign
from protocol.words import (
    AlarmAction,
    AlarmKind,
    AlarmLevel,
    BootReason,
    ClockState,
    CommandCause,
    CommandResult,
    ConfigCause,
    ConfigResult,
    ExtendResult,
    FirmwareError,
    FirmwareStep,
    FrameResult,
    LocalStartResult,
    LogLevel,
    Phase,
    PortState,
    QueryTopic,
    ReceiptWish,
    SessionSource,
    SettlementResult,
    StartResult,
    StateCause,
    StopReason,
    StopResult,
    TariffFee,
    TariffResult,
    TariffUnit,
)

FIRMWARE_KEY: Final = bytes(range(32, 64))
"""The maker's private key behind the example of a firmware command; never use it for anything."""
FIRMWARE_FILE: Final = b"an example of a firmware file"

_COMMAND: Final = UUID("11111111-2222-4333-8444-555555555555")
_SESSION: Final = UUID("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee")
_ALARM: Final = UUID("99999999-8888-4777-a666-555555555555")
_AT_MS: Final = 1_790_000_000_000
_EXPIRES_MS: Final = _AT_MS + 30_000
MANIFEST: Final = Manifest(
    "PW-10", "1.5.0", "1.3.0", len(FIRMWARE_FILE), hashlib.sha256(FIRMWARE_FILE).digest()
)

EXAMPLES: Final[tuple[Message, ...]] = (
    messages.Boot(
        at_ms=_AT_MS,
        connection=1,
        reason=BootReason.POWER,
        model="PW-10",
        hardware="A2",
        firmware="1.4.0",
        protocol=messages.PROTOCOL_VERSION,
        port_count=10,
        signal_dbm=-71,
        unsent=2,
        clock=ClockState.RTC,
        imei="860000000000001",
    ),
    messages.BootAck(time_ms=_AT_MS, heartbeat_s=60, sample_s=30, reconnect_jitter_s=120, tariff_version=7),
    messages.Heartbeat(
        sampled_at_ms=_AT_MS,
        connection=1,
        signal_dbm=-71,
        board_temperature_dc=312,
        mains_dv=2236,
        power_dw=1655,
        energy_wh=48_211,
        leakage_ma=1,
        unsent=0,
        ports=(messages.PortReport(1, PortState.CHARGING, 1655), messages.PortReport(2, PortState.IDLE, 0)),
    ),
    messages.Gone(connection=1),
    messages.PortStateChanged(
        at_ms=_AT_MS,
        port=1,
        state=PortState.CHARGING,
        previous=PortState.STARTING,
        plugged=True,
        power_dw=1640,
        cause=StateCause.LOAD,
        session_id=_SESSION,
    ),
    messages.MeterFrame(
        sampled_at_ms=_AT_MS,
        samples=(
            messages.PortSample(
                1, _SESSION, 90, 30, 2236, 1220, 1655, 607, 41, 1648, 1655, 1651, 285, Phase.CC
            ),
        ),
        clock=ClockState.SYNCED,
        receipt=ReceiptWish.LATER,
    ),
    messages.MeterReceipt(
        frames=(
            messages.FrameReceipt(3, 17, FrameResult.STORED),
            messages.FrameReceipt(3, 18, FrameResult.OUT_OF_RANGE),
        )
    ),
    messages.Start(
        command_id=_COMMAND,
        session_id=_SESSION,
        port=1,
        limit_s=36_000,
        limit_dwh=21_000,
        max_power_w=1_000,
        stop_when_full=True,
        float_s=3_600,
        plug_wait_s=120,
        tariff_version=7,
        expires_at_ms=_AT_MS + 30_000,
    ),
    messages.StartAck(
        command_id=_COMMAND,
        session_id=_SESSION,
        port=1,
        result=StartResult.PENDING_PLUG,
        at_ms=_AT_MS,
        register_dwh=123_456,
    ),
    messages.Started(
        command_id=_COMMAND,
        session_id=_SESSION,
        port=1,
        started_at_ms=_AT_MS,
        register_dwh=123_456,
        power_dw=620,
    ),
    messages.Stop(
        command_id=_COMMAND,
        session_id=_SESSION,
        port=1,
        reason=StopReason.USER_STOP_APP,
        expires_at_ms=_AT_MS + 30_000,
    ),
    messages.StopAck(
        command_id=_COMMAND, session_id=_SESSION, port=1, result=StopResult.STOPPED, at_ms=_AT_MS
    ),
    messages.Settlement(
        session_id=_SESSION,
        source=SessionSource.APP,
        port=1,
        started_at_ms=_AT_MS,
        ended_at_ms=_AT_MS + 2_400_500,
        duration_s=2_400,
        start_register_dwh=123_456,
        end_register_dwh=124_577,
        energy_dwh=1_121,
        slots=(messages.SlotEnergy(994_444, 373, 800), messages.SlotEnergy(994_445, 748, 1_600)),
        tiers=(messages.TierEnergy(8, 2_400, 1_121),),
        max_power_dw=1_699,
        end_power_dw=1_698,
        stop_reason=StopReason.USER_STOP_APP,
        stop_code=6,
        samples_sent=80,
        tariff_version=7,
        clock=ClockState.SYNCED,
    ),
    messages.SettlementAck(session_id=_SESSION, result=SettlementResult.STORED),
    messages.TimeRequest(at_ms=_AT_MS),
    messages.Time(time_ms=_AT_MS),
    messages.Extend(_COMMAND, _SESSION, 1, 39_600, 25_000, _EXPIRES_MS),
    messages.ExtendAck(_COMMAND, _SESSION, 1, ExtendResult.EXTENDED, _AT_MS, 39_600, 25_000),
    messages.LocalStart(
        session_id=_SESSION,
        source=SessionSource.CARD,
        port=2,
        at_ms=_AT_MS,
        register_dwh=123_456,
        limit_s=36_000,
        limit_dwh=30_000,
        clock=ClockState.RTC,
        credential="0004512877",
    ),
    messages.LocalStartAck(_SESSION, LocalStartResult.ACCEPTED),
    messages.Alarm(
        alarm_id=_ALARM,
        kind=AlarmKind.PORT_OVER_TEMP,
        level=AlarmLevel.TRIP,
        action=AlarmAction.PORT_STOPPED,
        raised_at_ms=_AT_MS,
        value=823,
        limit=800,
        port=1,
        cleared_at_ms=_AT_MS + 420_000,
        code=12,
    ),
    messages.AlarmAck(_ALARM, AlarmLevel.TRIP, cleared=True),
    messages.FaultClear(_COMMAND, _EXPIRES_MS, port=1),
    messages.CommandAck(_COMMAND, CommandResult.REFUSED, _AT_MS, CommandCause.FAULT_PERSISTS),
    messages.ConfigSet(
        _COMMAND,
        4,
        (messages.ConfigValue("full_s", 900), messages.ConfigValue("leak_warn_ma", 12)),
        _EXPIRES_MS,
    ),
    messages.Config(
        version=3,
        result=ConfigResult.REFUSED,
        values=(messages.ConfigValue("full_s", 600), messages.ConfigValue("leak_trip_ma", 30)),
        command_id=_COMMAND,
        key="full_s",
        cause=ConfigCause.OUT_OF_RANGE,
    ),
    messages.TariffSet(
        command_id=_COMMAND,
        version=7,
        valid_from_ms=_AT_MS,
        utc_offset_s=28_800,
        bands=(
            messages.TariffBand(TariffFee.ELECTRICITY, TariffUnit.KWH, 127, 0, 1_440, 0, 0, 5_103),
            messages.TariffBand(TariffFee.SERVICE, TariffUnit.HOUR, 127, 0, 1_440, 0, 200, 2_000),
        ),
        expires_at_ms=_EXPIRES_MS,
        text="电费 0.5103 元/度，服务费另计",
    ),
    messages.Tariff(7, TariffResult.STORED, _COMMAND),
    messages.Firmware(
        command_id=_COMMAND,
        version=MANIFEST.version,
        model=MANIFEST.model,
        url="https://piles.example/device/v1/firmware/" + MANIFEST.sha256.hex(),
        size_bytes=MANIFEST.size_bytes,
        sha256=MANIFEST.sha256,
        signature=sign(Ed25519PrivateKey.from_private_bytes(FIRMWARE_KEY), MANIFEST),
        minimum_version=MANIFEST.minimum_version,
        window_from_ms=_AT_MS,
        window_to_ms=_AT_MS + 14_400_000,
        force=False,
        expires_at_ms=_AT_MS + 86_400_000,
    ),
    messages.FirmwareState(
        _COMMAND, "1.5.0", "1.4.0", FirmwareStep.FAILED, 100, _AT_MS, FirmwareError.SIGNATURE
    ),
    messages.Query(_COMMAND, QueryTopic.STATUS, _EXPIRES_MS),
    messages.LogRequest(_COMMAND, _AT_MS - 3_600_000, 100, _EXPIRES_MS),
    messages.LogLines(
        _COMMAND,
        1,
        last=True,
        lines=(messages.LogLine(_AT_MS, LogLevel.WARNING, "port 1: relay slow, 41 ms"),),
    ),
    messages.Reboot(_COMMAND, force=False, expires_at_ms=_EXPIRES_MS),
    messages.Locate(_COMMAND, 30, _EXPIRES_MS, port=1),
    messages.Voice(_COMMAND, "充电已开始", _EXPIRES_MS),
    messages.RelayTest(_COMMAND, 2, _EXPIRES_MS),
    messages.PortSet(_COMMAND, 2, enabled=False, expires_at_ms=_EXPIRES_MS),
    messages.KeyRotate(_COMMAND, 2, bytes(range(64, 96)), _EXPIRES_MS),
    messages.RelayUp("PW-000001-07", "gone", b"(a frame of PW-000001-07, as on its own topic)"),
    messages.RelayDown("PW-000001-07", "boot_ack", b"(a frame for PW-000001-07, as on its own topic)"),
)
