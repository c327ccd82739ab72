"""A pile in danger: alarms as tests tell them, and looks at what they changed."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from billing import refunds
from charging import alarms, locks, notices, ports
from charging.alarm_kinds import AlarmAction, AlarmKind, AlarmLevel
from charging.alarm_records import Said
from charging.alarms import Known, Report
from charging.commands import CommandKind
from charging.locks import Lock
from charging.notices import Notice
from charging.ports import PortReport, PortState
from tests.integration.charging.stand import PILE, Stand

OPERATOR = "lvdian"
PROPERTY = "yuquan-wuye"


def report(
    stand: Stand,
    kind: AlarmKind,
    level: AlarmLevel = AlarmLevel.TRIP,
    *,
    port_no: int | None = 1,
    alarm_id: UUID | None = None,
    action: AlarmAction = AlarmAction.NONE,
    raised_at: datetime | None = None,
    cleared_at: datetime | None = None,
    value: int = 1,
) -> Report:
    """An alarm raised now, unless told otherwise."""
    said = Said(
        level=level,
        action=action,
        value=value,
        limit=0,
        code=0,
        raised_at=raised_at or stand.now,
        cleared_at=cleared_at,
    )
    return Report(
        pile_id=PILE,
        alarm_id=alarm_id or uuid4(),
        kind=kind,
        port_no=port_no,
        said=said,
        raw={"kind": kind, "level": level, "value": value},
    )


def tell(stand: Stand, told: Report) -> Known:
    """The pile says it."""
    return alarms.heard(stand.conn, told, now=stand.now)


def over(stand: Stand, told: Report) -> Report:
    """The same alarm, over now."""
    return replace(told, said=replace(told.said, cleared_at=stand.now))


def party_notices(stand: Stand, party_id: str = OPERATOR) -> list[Notice]:
    """What a party was told, oldest first."""
    return notices.page(stand.conn, party_id=party_id, limit=100)[::-1]


def rider_notices(stand: Stand, session_id: UUID) -> list[Notice]:
    """What a rider was told, newest first."""
    return notices.of_sessions(stand.conn, [session_id]).get(session_id, [])


def held(stand: Stand, pile_id: str = PILE) -> list[Lock]:
    """The locks in force on a pile."""
    return locks.held(stand.conn, [pile_id]).get(pile_id, [])


def bodies(stand: Stand, kind: CommandKind) -> list[Mapping[str, Any]]:
    """What the pile is to be told of one kind now."""
    return [command.body for command in stand.due() if command.kind is kind]


def refunded_fen(stand: Stand, session_id: UUID) -> int:
    """What was asked back for a session, in fen."""
    return sum(refund.amount_fen for refund in refunds.of_session(stand.conn, session_id))


def say_port(
    stand: Stand,
    state: PortState,
    *,
    fault: str | None = None,
    seq: int,
    port_no: int = 1,
    plugged: bool = True,
) -> None:
    """A port changes its state."""
    ports.reported(
        stand.conn,
        [
            PortReport(
                pile_id=PILE,
                port_no=port_no,
                state=state,
                fault=fault,
                plugged=plugged,
                power_dw=0,
                boot=1,
                seq=seq,
            )
        ],
        now=stand.now,
    )
