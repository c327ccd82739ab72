"""Alarms as a pile tells them, in charging's words, and the acknowledgement that ends its repeating."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from charging import alarms, clearing, command_answers
from charging.alarm_kinds import AlarmAction, AlarmKind, AlarmLevel
from charging.alarm_records import Said
from charging.alarms import Report
from charging.commands import CommandKind
from database.pool import Connection
from gateway.hearing import Heard, Reply
from gateway.instants import instant
from protocol import messages, words
from protocol.fields import Message, WireEnum

command_answers.FOLLOWERS[CommandKind.FAULT_CLEAR] = clearing.answered


def alarm(conn: Connection, heard: Heard) -> Reply:
    """Something is dangerous or broken, has become worse, or is over; acknowledged once that is committed."""
    message = heard.says(messages.Alarm)
    known = alarms.heard(conn, _report(heard.pile_id, message), now=heard.frame.received_at)

    def acknowledge(_sent_at: datetime) -> Message:
        level = words.AlarmLevel[known.level.name]
        return messages.AlarmAck(alarm_id=message.alarm_id, level=level, cleared=known.cleared)

    return Reply(heard.pile_id, acknowledge)


def _report(pile_id: str, message: messages.Alarm) -> Report:
    return Report(
        pile_id=pile_id,
        alarm_id=message.alarm_id,
        kind=AlarmKind(message.kind.word),
        port_no=message.port,
        said=Said(
            level=AlarmLevel(message.level.word),
            action=AlarmAction(message.action.word),
            value=message.value,
            limit=message.limit,
            code=message.code,
            raised_at=instant(message.raised_at_ms),
            cleared_at=None if message.cleared_at_ms is None else instant(message.cleared_at_ms),
        ),
        raw=_raw(message),
    )


def _raw(message: messages.Alarm) -> Mapping[str, Any]:
    """Every field by its name, enumerations as words."""
    values = {field.name: getattr(message, field.name) for field in fields(message)}  # pyright: ignore[reportArgumentType]  # the decorator makes it a dataclass
    return {name: value.word if isinstance(value, WireEnum) else value for name, value in values.items()}
