"""Alarms, their evidence and the locks they put on, as JSON."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from charging.alarm_evidence import Evidence
from charging.alarm_kinds import RULES, AlarmAction, AlarmKind, AlarmLevel, Reach, Severity
from charging.alarm_records import Alarm, AlarmSource
from charging.locks import Lock, LockCause
from operator_api.parameters import PRINTABLE_PATTERN


class LockView(BaseModel):
    """Why nothing starts on a socket or a pile."""

    lock_id: int
    pile_id: str
    port_no: int | None = Field(description="Null for the whole pile")
    cause: LockCause = Field(
        description="`alarm` and `latched`: after a trip; `site_alarm`: smoke or fire at another pile of the site; "
        "`failed_starts`: starts kept failing"
    )
    kind: str | None = Field(description="The kind of the alarm behind it")
    locked_at: datetime
    lifted_at: datetime | None
    lifted_by: str | None
    lift_reason: str | None
    overrode: bool = Field(description="Lifted although the alarm was still raised")


class AlarmView(BaseModel):
    """Something dangerous or broken, from raising to clearing."""

    pile_id: str
    alarm_id: UUID
    site_id: str
    port_no: int | None = Field(description="Null for the whole pile")
    kind: AlarmKind
    level: AlarmLevel = Field(description="`warn` informs; `trip` was acted on")
    severity: Severity
    name_zh: str
    name_en: str
    action: AlarmAction = Field(description="What the pile did by itself")
    source: AlarmSource = Field(description="The pile's own alarm, or a port that reported a fault for long")
    value: int = Field(
        description="What was measured, in the unit of the kind: mA, 0.1 °C, 0.1 W, 0.1 V; 1 where nothing is"
    )
    limit: int = Field(description="The threshold it crossed, in the same unit; 0 where there is none")
    shown_value: str = Field(description="`value` with its unit, for people; empty where nothing is measured")
    code: int = Field(description="The pile's own code behind the kind")
    raised_at: datetime = Field(description="By the pile's clock")
    cleared_at: datetime | None = Field(description="By the pile's clock; null while it lasts")
    received_at: datetime = Field(description="When it was first heard, by ours")
    open: bool = Field(description="Neither over by the pile's word nor closed by a person")
    closed_at: datetime | None
    closed_by: str | None
    close_reason: str | None
    episode_id: int = Field(
        description="Alarms of one kind at one place that follow each other closely share it"
    )


class EvidenceView(BaseModel):
    """How things stood when the pile told of a level, or that it was over."""

    level: AlarmLevel
    cleared: bool
    kept_at: datetime
    snapshot: dict[str, Any] = Field(
        description="What the pile said, and its ports, sessions, newest samples and heartbeats, as they were"
    )


class AlarmDetail(BaseModel):
    """An alarm with everything kept of it."""

    alarm: AlarmView
    evidence: list[EvidenceView]
    locks: list[LockView]


class AlarmPage(BaseModel):
    """Alarms, newest first."""

    alarms: list[AlarmView]
    counted_only: int = Field(
        description="Of the pile asked for: alarms that flooded in, acted on and counted without a row; else 0"
    )
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null on the last")


class KindView(BaseModel):
    """What the platform does about one kind."""

    kind: AlarmKind
    name_zh: str
    name_en: str
    unit: str = Field(description="Unit of value and limit as shown; empty where nothing is measured")
    warn_severity: Severity
    trip_severity: Severity
    locks: Reach = Field(
        description="What a trip locks until a person lifts it; `port` is the pile where none is"
    )
    stops_pile: bool = Field(description="A trip ends every charge of the pile")
    told_at_once: bool = Field(description="A warning is told at once, not after two minutes")


class Look(BaseModel):
    """A person's word that they have looked."""

    by: str = Field(pattern=PRINTABLE_PATTERN, max_length=64, description="Who looked; no phone number")
    reason: str = Field(pattern=PRINTABLE_PATTERN, max_length=200, description="What was found and done")
    override: bool = Field(False, description="Lift although the pile still measures the danger")


class SafetyRulesView(BaseModel):
    """How cautious the platform is at a site."""

    fire_locks_site: bool = Field(
        description="Smoke or fire at one pile refuses starts at every pile of the site"
    )
    fault_lasts_s: int = Field(ge=60, le=120, description="A port's fault is told after so many seconds")
    failed_starts: int = Field(ge=2, le=20, description="So many failed starts in a row disable a socket")
    failed_within_s: int = Field(
        ge=3600, le=2_592_000, description="A failed start is forgotten after so many seconds"
    )


def alarm_view(alarm: Alarm) -> AlarmView:
    """An alarm as JSON."""
    rule = RULES[alarm.kind]
    return AlarmView(
        pile_id=alarm.pile_id,
        alarm_id=alarm.alarm_id,
        site_id=alarm.site_id,
        port_no=alarm.port_no,
        kind=alarm.kind,
        level=alarm.level,
        severity=rule.severity(alarm.level),
        name_zh=rule.zh,
        name_en=rule.en,
        action=alarm.action,
        source=alarm.source,
        value=alarm.value,
        limit=alarm.value_limit,
        shown_value=rule.unit.say(alarm.value),
        code=alarm.code,
        raised_at=alarm.raised_at,
        cleared_at=alarm.cleared_at,
        received_at=alarm.received_at,
        open=alarm.open,
        closed_at=alarm.closed_at,
        closed_by=alarm.closed_by,
        close_reason=alarm.close_reason,
        episode_id=alarm.episode_id,
    )


def detail(alarm: Alarm, *, evidence: Sequence[Evidence], locks: Sequence[Lock]) -> AlarmDetail:
    """An alarm with its evidence and locks as JSON."""
    return AlarmDetail(
        alarm=alarm_view(alarm),
        evidence=[
            EvidenceView(
                level=AlarmLevel(kept.level),
                cleared=kept.cleared,
                kept_at=kept.kept_at,
                snapshot=dict(kept.snapshot),
            )
            for kept in evidence
        ],
        locks=[lock_view(lock) for lock in locks],
    )


def lock_view(lock: Lock) -> LockView:
    """A lock as JSON."""
    return LockView(
        lock_id=lock.lock_id,
        pile_id=lock.pile_id,
        port_no=lock.port_no,
        cause=lock.cause,
        kind=lock.kind,
        locked_at=lock.locked_at,
        lifted_at=lock.lifted_at,
        lifted_by=lock.lifted_by,
        lift_reason=lock.lift_reason,
        overrode=lock.overrode,
    )


def kinds() -> list[KindView]:
    """The whole table, the gravest first."""
    return [
        KindView(
            kind=kind,
            name_zh=rule.zh,
            name_en=rule.en,
            unit=rule.unit,
            warn_severity=rule.severity(AlarmLevel.WARN),
            trip_severity=rule.severity(AlarmLevel.TRIP),
            locks=rule.reach,
            stops_pile=rule.stops_pile is not None,
            told_at_once=rule.life,
        )
        for kind, rule in RULES.items()
    ]
