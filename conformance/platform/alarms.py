"""Alarms as piles tell them, and what the platform has to say of each telling."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

from conformance.case import check_equal
from conformance.platform.puppet import Puppet
from protocol import messages
from protocol.words import AlarmAction, AlarmKind, AlarmLevel


def alarm(pile: Puppet, **changes: Any) -> messages.Alarm:
    """A warning of a hot port 2, but for what is changed."""
    values: dict[str, Any] = {
        "alarm_id": uuid4(),
        "kind": AlarmKind.PORT_OVER_TEMP,
        "level": AlarmLevel.WARN,
        "action": AlarmAction.NONE,
        "raised_at_ms": pile.now_ms,
        "value": 655,
        "limit": 600,
        "port": 2,
    }
    return messages.Alarm(**(values | changes))


def tripped(told: messages.Alarm) -> messages.Alarm:
    """The same, risen until the pile stopped the port."""
    return replace(told, level=AlarmLevel.TRIP, action=AlarmAction.PORT_STOPPED, value=812, limit=800)  # pyright: ignore[reportArgumentType]  # the decorator makes it a dataclass


def cleared(pile: Puppet, told: messages.Alarm) -> messages.Alarm:
    """The same, over."""
    return replace(told, cleared_at_ms=pile.now_ms)  # pyright: ignore[reportArgumentType]  # the decorator makes it a dataclass


async def expect_acknowledged(
    pile: Puppet, told: messages.Alarm, level: AlarmLevel, *, cleared: bool
) -> None:
    """Tell an alarm; raises Failed unless this much of it is acknowledged."""
    await pile.say(told)
    ack = await pile.hear(messages.AlarmAck, where=lambda ack: ack.alarm_id == told.alarm_id)
    check_equal("what is acknowledged", (ack.level, ack.cleared), (level, cleared))
