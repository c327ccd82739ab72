"""What charging wants a pile told, in the protocol's words: any command's message, by the fields it declares."""

from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

from charging.commands import Command, CommandKind
from gateway.instants import epoch_ms
from protocol import fields, messages
from protocol.fields import Choice, Kind, Message, MessageSchema, Octets, Rows, Uuid
from protocol.topics import Direction
from protocol.words import StopReason

_MESSAGES: dict[CommandKind, type[Message]] = {
    CommandKind.START: messages.Start,
    CommandKind.STOP: messages.Stop,
    CommandKind.EXTEND: messages.Extend,
    CommandKind.CONFIG_SET: messages.ConfigSet,
    CommandKind.TARIFF_SET: messages.TariffSet,
    CommandKind.FIRMWARE: messages.Firmware,
    CommandKind.QUERY: messages.Query,
    CommandKind.LOG: messages.LogRequest,
    CommandKind.REBOOT: messages.Reboot,
    CommandKind.LOCATE: messages.Locate,
    CommandKind.VOICE: messages.Voice,
    CommandKind.RELAY_TEST: messages.RelayTest,
    CommandKind.PORT_SET: messages.PortSet,
    CommandKind.FAULT_CLEAR: messages.FaultClear,
    CommandKind.KEY_ROTATE: messages.KeyRotate,
}


def message_of(command: Command) -> Message:
    """The message of a command. Raises ValueError for a body that lacks something or holds too much."""
    schema = fields.message_schema(Direction.DOWN, _MESSAGES[command.kind].message)
    assert schema is not None, "every message class is declared"
    values = dict(_body(command))
    values |= {"command_id": command.command_id, "expires_at_ms": epoch_ms(command.expires_at)}
    if command.session_id is not None and any(field.name == "session_id" for field in schema.fields):
        values["session_id"] = command.session_id
    return schema.cls(**_typed(schema, values))


def _body(command: Command) -> Mapping[str, Any]:
    """The body with the fields' own names: sessions say `port_no`, and end for reasons that only we know."""
    body = dict(command.body)
    if "port_no" in body:
        body["port"] = body.pop("port_no")
    if command.kind is CommandKind.STOP and str(body.get("reason")).upper() not in StopReason.__members__:
        body["reason"] = StopReason.PLATFORM_STOP.word
    return body


def _typed(schema: MessageSchema, values: Mapping[str, Any]) -> dict[str, Any]:
    declared = {field.name: field for field in schema.fields}
    strangers = values.keys() - declared.keys()
    missing = {field.name for field in schema.fields if field.required} - values.keys()
    if strangers or missing:
        raise ValueError(f"{schema.cls.__name__} lacks {sorted(missing)}, and has no {sorted(strangers)}")
    return {name: _value(declared[name].kind, value) for name, value in values.items()}


def _value(kind: Kind, plain: Any) -> Any:
    """A field's value from plain JSON; what is plain in the message as well is left for the codec to check."""
    if plain is None:
        return None
    if isinstance(kind, Choice):
        return _member(kind, _text(plain))
    if isinstance(kind, Octets):
        return bytes.fromhex(_text(plain))
    if isinstance(kind, Uuid):
        return plain if isinstance(plain, UUID) else UUID(_text(plain))
    if isinstance(kind, Rows):
        if not isinstance(plain, list):
            raise ValueError(f"rows of {kind.row.__name__} are a list")
        return tuple(_row(kind, row) for row in cast("list[Any]", plain))
    return plain


def _row(kind: Rows, row: Any) -> Any:
    columns = fields.row_schema(kind.row).columns
    if not isinstance(row, list) or len(cast("list[Any]", row)) != len(columns):
        raise ValueError(f"a row of {kind.row.__name__} is a list of {len(columns)}")
    return kind.row(
        *[_value(kind, cell) for (_, kind), cell in zip(columns, cast("list[Any]", row), strict=True)]
    )


def _member(kind: Choice, word: str) -> Any:
    try:
        return kind.choices[word.upper()]
    except KeyError:
        raise ValueError(f"{kind.choices.__name__} has no {word!r}") from None


def _text(plain: Any) -> str:
    if not isinstance(plain, str):
        raise ValueError(f"a text is needed, not {type(plain).__name__}")
    return plain
