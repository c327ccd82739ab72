"""Endpoints for alarms, locks and the rules of safety."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from psycopg import Connection
from psycopg.rows import TupleRow

from charging import alarm_evidence, alarm_records, alarms, clearing, locks, piles, safety_rules, sites
from charging.alarm_kinds import AlarmKind
from charging.alarm_records import Alarm, PageKey
from charging.safety_rules import SafetyRules
from operator_api import alarm_models, cursors
from operator_api.alarm_models import (
    AlarmDetail,
    AlarmPage,
    KindView,
    LockView,
    Look,
    SafetyRulesView,
)
from operator_api.parameters import PILE_ID_PATTERN, SITE_ID_PATTERN, Cursor, OnlyPile, OnlySite
from operator_api.problems import NOT_FOUND, STILL_RAISED, OperatorRoute
from operator_api.service import OperatorService

MOST_ALARMS = 200

PileId = Annotated[str, Path(max_length=64, pattern=PILE_ID_PATTERN, description="Pile id")]
SiteId = Annotated[str, Path(max_length=63, pattern=SITE_ID_PATTERN, description="Site id")]
AlarmId = Annotated[UUID, Path(description="The pile's own id of the alarm")]
LockId = Annotated[int, Path(ge=1, le=2**63 - 1, description="Lock id")]


def create_router(service: OperatorService) -> APIRouter:
    """Alarms, their clearing, locks, and the rules of a site."""
    router = APIRouter(route_class=OperatorRoute, tags=["Safety"])
    _add_alarms(router, service)
    _add_locks(router, service)
    return router


def _add_alarms(router: APIRouter, service: OperatorService) -> None:
    @router.get(
        "/alarms", summary="Alarms, newest first; `open=true` for those that last", responses=NOT_FOUND
    )
    def list_alarms(
        only_open: Annotated[bool, Query(alias="open", description="Only those that last")] = False,
        site_id: OnlySite = None,
        pile_id: OnlyPile = None,
        kind: Annotated[AlarmKind | None, Query(description="Only of this kind")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_ALARMS, description="At most so many")] = 50,
        cursor: Cursor = None,
    ) -> AlarmPage:
        pair = cursors.read_pair(cursor)
        with service.pool.connection() as conn:
            if site_id is not None:
                sites.get(conn, site_id)
            if pile_id is not None:
                piles.get(conn, pile_id)
            found = alarm_records.page(
                conn,
                limit=limit + 1,
                only_open=only_open,
                site_id=site_id,
                pile_id=pile_id,
                kind=kind,
                after=None if pair is None else PageKey(*pair),
            )
            counted_only = alarms.overflowed(conn, pile_id) if pile_id is not None else 0
        page = found[:limit]
        more = len(found) > limit
        return AlarmPage(
            alarms=[alarm_models.alarm_view(alarm) for alarm in page],
            counted_only=counted_only,
            next_cursor=cursors.write_pair(page[-1].received_at, page[-1].alarm_id) if more else None,
        )

    @router.get("/alarm-kinds", summary="Every kind of alarm and what the platform does about it")
    def list_kinds() -> list[KindView]:
        return alarm_models.kinds()

    @router.get(
        "/piles/{pile_id}/alarms/{alarm_id}",
        summary="One alarm with its evidence and locks",
        responses=NOT_FOUND,
    )
    def get_alarm(pile_id: PileId, alarm_id: AlarmId) -> AlarmDetail:
        with service.pool.connection() as conn:
            return _detail(conn, alarm_records.get(conn, pile_id=pile_id, alarm_id=alarm_id))

    @router.post(
        "/piles/{pile_id}/alarms/{alarm_id}/clear",
        summary="A person has looked: lift the locks of an alarm and tell the pile",
        responses=NOT_FOUND | STILL_RAISED,
    )
    def clear_alarm(pile_id: PileId, alarm_id: AlarmId, look: Look) -> AlarmDetail:
        with service.pool.connection() as conn:
            alarm = clearing.clear_alarm(
                conn,
                pile_id=pile_id,
                alarm_id=alarm_id,
                by=look.by,
                reason=look.reason,
                override=look.override,
                now=service.clock(),
            )
            return _detail(conn, alarm)


def _add_locks(router: APIRouter, service: OperatorService) -> None:
    @router.post(
        "/locks/{lock_id}/lift",
        summary="A person has looked: let a socket or pile start again, and tell it",
        responses=NOT_FOUND | STILL_RAISED,
    )
    def lift_lock(lock_id: LockId, look: Look) -> LockView:
        with service.pool.connection() as conn:
            lock = clearing.lift(
                conn,
                lock_id=lock_id,
                by=look.by,
                reason=look.reason,
                override=look.override,
                now=service.clock(),
            )
        return alarm_models.lock_view(lock)

    @router.get("/sites/{site_id}/safety", summary="How cautious a site is", responses=NOT_FOUND)
    def get_rules(site_id: SiteId) -> SafetyRulesView:
        with service.pool.connection() as conn:
            sites.get(conn, site_id)
            rules = safety_rules.of_site(conn, site_id)
        return _rules(rules)

    @router.put("/sites/{site_id}/safety", summary="Set how cautious a site is", responses=NOT_FOUND)
    def put_rules(site_id: SiteId, wanted: SafetyRulesView) -> SafetyRulesView:
        rules = SafetyRules(
            fire_locks_site=wanted.fire_locks_site,
            fault_lasts_s=wanted.fault_lasts_s,
            failed_starts=wanted.failed_starts,
            failed_within_s=wanted.failed_within_s,
        )
        with service.pool.connection() as conn:
            safety_rules.put(conn, site_id=site_id, rules=rules, now=service.clock())
        return _rules(rules)


def _rules(rules: SafetyRules) -> SafetyRulesView:
    return SafetyRulesView(
        fire_locks_site=rules.fire_locks_site,
        fault_lasts_s=rules.fault_lasts_s,
        failed_starts=rules.failed_starts,
        failed_within_s=rules.failed_within_s,
    )


def _detail(conn: Connection[TupleRow], alarm: Alarm) -> AlarmDetail:
    return alarm_models.detail(
        alarm,
        evidence=alarm_evidence.of_alarm(conn, pile_id=alarm.pile_id, alarm_id=alarm.alarm_id),
        locks=locks.of_episode(conn, alarm.episode_id),
    )
