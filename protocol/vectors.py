"""Test vectors: one frame of each message, made with fixed keys, counters and contents.

``python -m protocol.vectors`` writes ``protocol/test_vectors.json`` anew; a test holds the file to the code. Each
vector can be checked by any COSE and CBOR library from the file alone.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from protocol import codec, fields, frames, messages
from protocol.envelope import Counter, Opener, Sealer
from protocol.fields import Message, WireEnum
from protocol.topics import Direction
from protocol.words import (
    BootReason,
    ClockState,
    Phase,
    PortState,
    SessionSource,
    SettlementResult,
    StartResult,
    StateCause,
    StopReason,
    StopResult,
)

PATH: Final = Path(__file__).with_name("test_vectors.json")
PILE_ID: Final = "PW-000001"
SECRET: Final = bytes(range(32))
EPOCH: Final = 1

_COMMAND: Final = UUID("11111111-2222-4333-8444-555555555555")
_SESSION: Final = UUID("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee")
_AT_MS: Final = 1_790_000_000_000

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
)


def build() -> dict[str, Any]:
    """The content of the vectors file."""
    sealers = {way: Sealer(SECRET, epoch=EPOCH, direction=way) for way in Direction}
    vectors: list[dict[str, Any]] = []
    for seq, message in enumerate(EXAMPLES, start=1):
        counter = Counter(3, seq)
        frame = frames.seal(message, sealer=sealers[message.direction], pile_id=PILE_ID, counter=counter)
        vectors.append(
            {
                "message": message.message,
                "direction": message.direction.value,
                "topic": frame.topic,
                "boot": counter.boot,
                "seq": counter.seq,
                "fields": _shown(message),
                "body_hex": codec.encode(message).hex(),
                "frame_hex": frame.payload.hex(),
            }
        )
    return {"pile_id": PILE_ID, "device_secret_hex": SECRET.hex(), "epoch": EPOCH, "vectors": vectors}


def as_text() -> str:
    """The vectors file, as it is written."""
    return json.dumps(build(), indent=1) + "\n"


def check() -> None:
    """Open every frame of the file and compare; raises AssertionError with the message's name."""
    content = json.loads(PATH.read_text())
    openers = {way: Opener({content["epoch"]: SECRET}, direction=way) for way in Direction}
    for vector, message in zip(content["vectors"], EXAMPLES, strict=True):
        opened = openers[message.direction].open(vector["topic"], bytes.fromhex(vector["frame_hex"]))
        found = codec.decode(message.direction, vector["message"], opened.body)
        assert found == message, vector["message"]
    assert {type(message) for message in EXAMPLES} == set(fields.catalogue()), "a message has no vector"


def _shown(message: Message) -> dict[str, Any]:
    values = {spec.name: getattr(message, spec.name) for spec in dataclasses.fields(message)}  # pyright: ignore[reportArgumentType] - every declared message is a dataclass
    return {name: _plain(value) for name, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, WireEnum):
        return value.word
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType] - rows of any kind
    return value


if __name__ == "__main__":
    PATH.write_text(as_text())
