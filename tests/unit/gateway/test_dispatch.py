"""Every message of the catalogue has its place on either side of the gateway."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from charging.commands import Command, CommandKind, CommandState
from gateway import telling
from gateway.inbound import HANDLERS
from protocol import codec, fields, messages
from protocol.topics import Direction
from protocol.words import StopReason


def test_every_message_up_has_a_handler_but_those_stored_together() -> None:
    up = {message for message in fields.catalogue() if message.direction is Direction.UP}
    assert up - set(HANDLERS) == {messages.MeterFrame, messages.StopAck, messages.CommandAck}
    assert set(HANDLERS) <= up


def _command(kind: CommandKind, body: dict[str, object], *, with_session: bool = True) -> Command:
    return Command(
        command_id=uuid4(),
        pile_id="YQ-01",
        session_id=uuid4() if with_session else None,
        kind=kind,
        body=body,
        state=CommandState.SENT,
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
        expires_at=datetime(2026, 3, 2, tzinfo=UTC) + timedelta(microseconds=1_999),
        send_count=1,
    )


_START: dict[str, object] = {
    "port_no": 3,
    "limit_s": 36_000,
    "limit_dwh": 10_000,
    "max_power_w": 1000,
    "stop_when_full": True,
    "float_s": 3600,
    "plug_wait_s": 120,
    "tariff_version": 7,
}


def test_a_start_carries_its_limits_and_its_deadline() -> None:
    command = _command(CommandKind.START, _START)
    message = telling.message_of(command)
    assert message == messages.Start(
        command_id=command.command_id,
        session_id=command.session_id or uuid4(),
        port=3,
        limit_s=36_000,
        limit_dwh=10_000,
        max_power_w=1000,
        stop_when_full=True,
        float_s=3600,
        plug_wait_s=120,
        tariff_version=7,
        expires_at_ms=1_772_409_600_001,
    )
    codec.encode(message)


@pytest.mark.parametrize(
    ("reason", "told"),
    [("user_stop_app", StopReason.USER_STOP_APP), ("start_unanswered", StopReason.PLATFORM_STOP)],
)
def test_a_stop_carries_its_reason_as_far_as_the_protocol_knows_it(reason: str, told: StopReason) -> None:
    message = telling.message_of(_command(CommandKind.STOP, {"port_no": 3, "reason": reason}))
    assert isinstance(message, messages.Stop)
    assert message.reason is told


def test_a_command_that_lacks_something_is_an_error_and_not_a_guess() -> None:
    with pytest.raises(ValueError, match="limit_s"):
        telling.message_of(_command(CommandKind.START, {"port_no": 3}))
    with pytest.raises(ValueError, match="session"):
        telling.message_of(_command(CommandKind.START, _START, with_session=False))


def test_every_message_down_that_is_commanded_is_a_kind_of_command() -> None:
    commanded = {
        message.message
        for message in fields.catalogue()
        if message.direction is Direction.DOWN and "command_id" in message.__annotations__
    }
    assert commanded == set(CommandKind)
