"""Alarms as they are kept: one row an alarm, whatever order and however often the pile tells of it.

`Said.merge` is the rule: the worst telling counts, the earliest raising and the earliest clearing.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from charging.alarm_kinds import AlarmAction, AlarmKind, AlarmLevel
from charging.errors import AlarmUnknown


class AlarmSource(StrEnum):
    """Who says so: the pile by an alarm, or a port by reporting a fault that lasted."""

    ALARM = "alarm"
    PORT_STATE = "port_state"


@dataclass(frozen=True, kw_only=True)
class Said:
    """What was told of an alarm; `value` and `limit` in the unit of its kind, instants by the pile's clock."""

    level: AlarmLevel
    action: AlarmAction
    value: int
    limit: int
    code: int
    raised_at: datetime
    cleared_at: datetime | None

    def merge(self, other: "Said") -> "Said":
        """Both tellings as one; in any order and however often, the same comes out."""
        worst = max(self, other, key=Said._gravity)
        cleared = [at for at in (self.cleared_at, other.cleared_at) if at is not None]
        return Said(
            level=worst.level,
            action=worst.action,
            value=worst.value,
            limit=worst.limit,
            code=worst.code,
            raised_at=min(self.raised_at, other.raised_at),
            cleared_at=min(cleared, default=None),
        )

    def _gravity(self) -> tuple[int, int, int, int, int]:
        actions = tuple(AlarmAction)
        return (self.level.rank, actions.index(self.action), self.value, self.limit, self.code)


@dataclass(frozen=True)
class Alarm:
    """One alarm; value and limit in the unit of its kind, `raised_at` and `cleared_at` by the pile's clock."""

    pile_id: str
    alarm_id: UUID
    site_id: str
    episode_id: int
    source: AlarmSource
    kind: AlarmKind
    port_no: int | None
    level: AlarmLevel
    action: AlarmAction
    value: int
    value_limit: int
    code: int
    raised_at: datetime
    cleared_at: datetime | None
    received_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    close_reason: str | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", AlarmSource(self.source))
        object.__setattr__(self, "kind", AlarmKind(self.kind))
        object.__setattr__(self, "level", AlarmLevel(self.level))
        object.__setattr__(self, "action", AlarmAction(self.action))

    @property
    def open(self) -> bool:
        """Neither over by the pile's word nor closed by a person."""
        return self.cleared_at is None and self.closed_at is None

    @property
    def said(self) -> Said:
        """What was told of it so far."""
        return Said(
            level=self.level,
            action=self.action,
            value=self.value,
            limit=self.value_limit,
            code=self.code,
            raised_at=self.raised_at,
            cleared_at=self.cleared_at,
        )


@dataclass(frozen=True)
class PageKey:
    """Where a page of alarms ended; the next page holds what is older."""

    received_at: datetime
    alarm_id: UUID


def find(conn: Connection[TupleRow], *, pile_id: str, alarm_id: UUID) -> Alarm | None:
    """One alarm, None if the pile told of none by this id."""
    with conn.cursor(row_factory=class_row(Alarm)) as cursor:
        return cursor.execute(
            """
            SELECT pile_id, alarm_id, site_id, episode_id, source, kind, port_no, level, action, value, value_limit,
                   code, raised_at, cleared_at, received_at, closed_at, closed_by, close_reason
              FROM alarm WHERE pile_id = %(pile_id)s AND alarm_id = %(alarm_id)s
            """,
            {"pile_id": pile_id, "alarm_id": alarm_id},
        ).fetchone()


def get(conn: Connection[TupleRow], *, pile_id: str, alarm_id: UUID) -> Alarm:
    """One alarm. Raises AlarmUnknown."""
    alarm = find(conn, pile_id=pile_id, alarm_id=alarm_id)
    if alarm is None:
        raise AlarmUnknown(pile_id, alarm_id)
    return alarm


def add(conn: Connection[TupleRow], alarm: Alarm, *, now: datetime) -> None:
    """Keep a new alarm."""
    conn.execute(
        """
        INSERT INTO alarm (pile_id, alarm_id, site_id, episode_id, source, kind, port_no, level, action, value,
                           value_limit, code, raised_at, cleared_at, received_at, changed_at)
        VALUES (%(pile_id)s, %(alarm_id)s, %(site_id)s, %(episode_id)s, %(source)s, %(kind)s, %(port_no)s, %(level)s,
                %(action)s, %(value)s, %(value_limit)s, %(code)s, %(raised_at)s, %(cleared_at)s, %(received_at)s,
                %(now)s)
        """,
        {
            "pile_id": alarm.pile_id,
            "alarm_id": alarm.alarm_id,
            "site_id": alarm.site_id,
            "episode_id": alarm.episode_id,
            "source": alarm.source,
            "kind": alarm.kind,
            "port_no": alarm.port_no,
            "level": alarm.level,
            "action": alarm.action,
            "value": alarm.value,
            "value_limit": alarm.value_limit,
            "code": alarm.code,
            "raised_at": alarm.raised_at,
            "cleared_at": alarm.cleared_at,
            "received_at": alarm.received_at,
            "now": now,
        },
    )


def change(conn: Connection[TupleRow], alarm: Alarm, said: Said, *, now: datetime) -> None:
    """Keep what is known of an alarm now."""
    conn.execute(
        """
        UPDATE alarm SET level = %(level)s, action = %(action)s, value = %(value)s, value_limit = %(limit)s,
               code = %(code)s, raised_at = %(raised_at)s, cleared_at = %(cleared_at)s, changed_at = %(now)s
         WHERE pile_id = %(pile_id)s AND alarm_id = %(alarm_id)s
        """,
        {
            "level": said.level,
            "action": said.action,
            "value": said.value,
            "limit": said.limit,
            "code": said.code,
            "raised_at": said.raised_at,
            "cleared_at": said.cleared_at,
            "now": now,
            "pile_id": alarm.pile_id,
            "alarm_id": alarm.alarm_id,
        },
    )


def page(
    conn: Connection[TupleRow],
    *,
    limit: int,
    only_open: bool = False,
    site_id: str | None = None,
    pile_id: str | None = None,
    kind: AlarmKind | None = None,
    after: PageKey | None = None,
) -> list[Alarm]:
    """Alarms newest first, at most `limit`, those older than `after` if given."""
    with conn.cursor(row_factory=class_row(Alarm)) as cursor:
        return cursor.execute(
            """
            SELECT pile_id, alarm_id, site_id, episode_id, source, kind, port_no, level, action, value, value_limit,
                   code, raised_at, cleared_at, received_at, closed_at, closed_by, close_reason
              FROM alarm
             WHERE (NOT %(only_open)s OR cleared_at IS NULL AND closed_at IS NULL)
               AND (%(site_id)s::text IS NULL OR site_id = %(site_id)s)
               AND (%(pile_id)s::text IS NULL OR pile_id = %(pile_id)s)
               AND (%(kind)s::text IS NULL OR kind = %(kind)s)
               AND (%(received_at)s::timestamptz IS NULL
                    OR (received_at, alarm_id) < (%(received_at)s, %(alarm_id)s::uuid))
             ORDER BY received_at DESC, alarm_id DESC LIMIT %(limit)s
            """,
            {
                "only_open": only_open,
                "site_id": site_id,
                "pile_id": pile_id,
                "kind": kind,
                "received_at": after.received_at if after else None,
                "alarm_id": after.alarm_id if after else None,
                "limit": limit,
            },
        ).fetchall()
