"""What protects life and property: alarms, and their clearing by a person."""

from typing import Annotated
from uuid import UUID

from protocol.fields import Integer, Key, Message, down, up
from protocol.messages.ranges import Count, Instant, PortNo
from protocol.words import AlarmAction, AlarmKind, AlarmLevel


@up("alarm")
class Alarm(Message):
    """Something is dangerous or broken; the pile has already acted. Repeated until ``alarm_ack``.

    One alarm has one id from its raising to its clearing: it is told again when its level rises and when it is
    over (``cleared_at_ms``), each time until that is acknowledged. Without ``port`` the whole pile is meant.
    """

    alarm_id: Annotated[UUID, Key(1)]
    kind: Annotated[AlarmKind, Key(2)]
    level: Annotated[AlarmLevel, Key(3)]
    action: Annotated[AlarmAction, Key(4)]
    raised_at_ms: Annotated[Instant, Key(5)]
    value: Annotated[int, Key(6), Integer(-1_000_000, 1_000_000_000)]
    limit: Annotated[int, Key(7), Integer(-1_000_000, 1_000_000_000)]
    port: Annotated[PortNo | None, Key(8)] = None
    cleared_at_ms: Annotated[Instant | None, Key(9)] = None
    code: Annotated[Count, Key(10)] = 0


@down("alarm_ack")
class AlarmAck(Message):
    """The platform has committed this much of the alarm; ``level`` and ``cleared`` repeat what it has."""

    alarm_id: Annotated[UUID, Key(1)]
    level: Annotated[AlarmLevel, Key(2)]
    cleared: Annotated[bool, Key(3)]


@down("fault_clear")
class FaultClear(Message):
    """A person has looked: release what a trip has latched, on one port or without ``port`` on all.

    Answered by ``command_ack``; refused with ``fault_persists`` while the danger is still measured.
    """

    command_id: Annotated[UUID, Key(1)]
    expires_at_ms: Annotated[Instant, Key(2)]
    port: Annotated[PortNo | None, Key(3)] = None
