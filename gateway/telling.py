"""What charging wants a pile told, in the protocol's words; one function a kind of command."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from charging.commands import Command, CommandKind
from protocol import messages
from protocol.fields import Message
from protocol.words import StopReason

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def message_of(command: Command) -> Message:
    """The message of a command. Raises KeyError or ValueError for a body that lacks something."""
    return _MESSAGES[command.kind](command)


def epoch_ms(at: datetime) -> int:
    """Milliseconds since 1970 UTC, rounded down."""
    return (at - _EPOCH) // timedelta(milliseconds=1)


def _start(command: Command) -> Message:
    body = command.body
    if command.session_id is None:
        raise ValueError("a start names its session")
    return messages.Start(
        command_id=command.command_id,
        session_id=command.session_id,
        port=body["port_no"],
        limit_s=body["limit_s"],
        limit_dwh=body["limit_dwh"],
        max_power_w=body["max_power_w"],
        stop_when_full=body["stop_when_full"],
        float_s=body["float_s"],
        plug_wait_s=body["plug_wait_s"],
        tariff_version=body["tariff_version"],
        expires_at_ms=epoch_ms(command.expires_at),
    )


def _stop(command: Command) -> Message:
    if command.session_id is None:
        raise ValueError("a stop names its session")
    reason = StopReason.__members__.get(str(command.body["reason"]).upper(), StopReason.PLATFORM_STOP)
    return messages.Stop(
        command_id=command.command_id,
        session_id=command.session_id,
        port=command.body["port_no"],
        reason=reason,
        expires_at_ms=epoch_ms(command.expires_at),
    )


_MESSAGES: dict[CommandKind, Callable[[Command], Message]] = {
    CommandKind.START: _start,
    CommandKind.STOP: _stop,
}
