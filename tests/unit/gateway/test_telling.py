"""Any command becomes the protocol's message of its name, by the fields that message declares."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from charging.commands import Command, CommandKind, CommandState
from gateway import telling
from protocol import codec, messages
from protocol.fields import Message
from protocol.topics import Direction
from protocol.words import QueryTopic, StopReason, TariffFee, TariffUnit

COMMAND = UUID(int=1)
SESSION = UUID(int=2)
DEADLINE_MS = 1_772_409_600_000


def _command(kind: CommandKind, body: dict[str, Any], *, session_id: UUID | None = None) -> Command:
    return Command(
        command_id=COMMAND,
        pile_id="YQ-01",
        session_id=session_id,
        kind=kind,
        body=body,
        state=CommandState.SENT,
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
        expires_at=datetime(2026, 3, 2, tzinfo=UTC),
        send_count=1,
    )


_FIRMWARE = {
    "version": "1.2.0",
    "model": "PW-10",
    "url": "https://example.org/fw",
    "size_bytes": 1024,
    "sha256": "ab" * 32,
    "signature": "cd" * 64,
    "minimum_version": "1.0.0",
    "window_from_ms": 1,
    "window_to_ms": 2,
    "force": False,
}
_BAND = ["electricity", "kwh", 127, 0, 1440, 0, 0, 6_000]


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        (
            CommandKind.CONFIG_SET,
            {"version": 4, "values": [["full_w", 25], ["volume", 0]]},
            messages.ConfigSet(
                command_id=COMMAND,
                version=4,
                values=(messages.ConfigValue("full_w", 25), messages.ConfigValue("volume", 0)),
                expires_at_ms=DEADLINE_MS,
            ),
        ),
        (
            CommandKind.TARIFF_SET,
            {"version": 7, "valid_from_ms": 5, "utc_offset_s": 28_800, "bands": [_BAND], "text": "0.60"},
            messages.TariffSet(
                command_id=COMMAND,
                version=7,
                valid_from_ms=5,
                utc_offset_s=28_800,
                bands=(
                    messages.TariffBand(TariffFee.ELECTRICITY, TariffUnit.KWH, 127, 0, 1440, 0, 0, 6_000),
                ),
                expires_at_ms=DEADLINE_MS,
                text="0.60",
            ),
        ),
        (
            CommandKind.QUERY,
            {"topic": "config"},
            messages.Query(command_id=COMMAND, topic=QueryTopic.CONFIG, expires_at_ms=DEADLINE_MS),
        ),
        (
            CommandKind.FAULT_CLEAR,
            {"port": 3},
            messages.FaultClear(command_id=COMMAND, expires_at_ms=DEADLINE_MS, port=3),
        ),
        (
            CommandKind.FAULT_CLEAR,
            {},
            messages.FaultClear(command_id=COMMAND, expires_at_ms=DEADLINE_MS, port=None),
        ),
        (
            CommandKind.KEY_ROTATE,
            {"epoch": 2, "secret": "07" * 32},
            messages.KeyRotate(command_id=COMMAND, epoch=2, secret=b"\x07" * 32, expires_at_ms=DEADLINE_MS),
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, CommandKind) else "",
)
def test_a_body_of_plain_json_becomes_the_message(
    kind: CommandKind, body: dict[str, Any], message: Message
) -> None:
    told = telling.message_of(_command(kind, body))
    assert told == message
    assert codec.decode(Direction.DOWN, kind, codec.encode(told)) == message


def test_firmware_carries_its_hash_and_signature_as_bytes() -> None:
    told = telling.message_of(_command(CommandKind.FIRMWARE, _FIRMWARE))
    assert isinstance(told, messages.Firmware)
    assert (told.sha256, told.signature) == (b"\xab" * 32, b"\xcd" * 64)
    codec.encode(told)


def test_a_command_of_a_session_names_it() -> None:
    body = {"port_no": 3, "limit_s": 7_200, "limit_dwh": 9_000}
    told = telling.message_of(_command(CommandKind.EXTEND, body, session_id=SESSION))
    assert told == messages.Extend(
        command_id=COMMAND,
        session_id=SESSION,
        port=3,
        limit_s=7_200,
        limit_dwh=9_000,
        expires_at_ms=DEADLINE_MS,
    )


def test_a_reason_to_stop_that_only_we_know_is_the_platforms() -> None:
    told = telling.message_of(
        _command(CommandKind.STOP, {"port_no": 3, "reason": "start_unanswered"}, session_id=SESSION)
    )
    assert isinstance(told, messages.Stop)
    assert told.reason is StopReason.PLATFORM_STOP


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (CommandKind.QUERY, {}),
        (CommandKind.QUERY, {"topic": "gossip"}),
        (CommandKind.QUERY, {"topic": 3}),
        (CommandKind.QUERY, {"topic": "status", "port": 3}),
        (CommandKind.KEY_ROTATE, {"epoch": 2, "secret": "xyz"}),
        (CommandKind.KEY_ROTATE, {"epoch": 2, "secret": 7}),
        (CommandKind.CONFIG_SET, {"version": 1, "values": {"full_w": 25}}),
        (CommandKind.CONFIG_SET, {"version": 1, "values": [["full_w"]]}),
        (CommandKind.CONFIG_SET, {"version": 1, "values": ["ab"]}),
        (CommandKind.EXTEND, {"port_no": 3, "limit_s": 7_200, "limit_dwh": 9_000}),
    ],
)
def test_a_body_that_is_not_the_messages_is_a_value_error(kind: CommandKind, body: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        telling.message_of(_command(kind, body))
