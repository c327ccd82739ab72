"""Alarms of the pile that riders and operators are watching."""

from uuid import UUID, uuid4

from charging import alarms
from charging.alarm_kinds import AlarmAction, AlarmKind, AlarmLevel
from charging.alarm_records import Said
from charging.alarms import Report
from tests.integration.rider_web.street_stand import PILE, StreetStand


def alarm(
    stand: StreetStand,
    kind: AlarmKind = AlarmKind.SMOKE,
    *,
    port_no: int | None = 2,
    over: bool = False,
    level: AlarmLevel = AlarmLevel.TRIP,
) -> UUID:
    """The pile tells of an alarm and says that it has opened every relay; returns the alarm's id."""
    now = stand.clock.now()
    said = Said(
        level=level,
        action=AlarmAction.PILE_STOPPED,
        value=42,
        limit=30,
        code=7,
        raised_at=now,
        cleared_at=now if over else None,
    )
    told = Report(pile_id=PILE, alarm_id=uuid4(), kind=kind, port_no=port_no, said=said, raw={"value": 42})
    with stand.pool.connection() as conn:
        alarms.heard(conn, told, now=now)
    return told.alarm_id
