"""Endpoints for a pile's identity: shut it out, let it back, revoke it, see who did so, give it a new secret."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from psycopg import Connection
from psycopg.rows import TupleRow

from charging import identity_conflicts, key_rotation, pile_states, piles
from charging.enrolment import SecretVault
from charging.pile_states import PileState
from operator_api import cursors, identity_models
from operator_api.command_endpoints import Desk, WaitS
from operator_api.command_models import CommandView
from operator_api.identity_models import ConflictPage, NewStateChange, StateChangePage, StateView
from operator_api.parameters import PILE_ID_PATTERN, Cursor
from operator_api.problems import NOT_FOUND, ErrorBody, OperatorRoute
from operator_api.service import OperatorService

MOST_ROWS = 200

PileId = Annotated[str, Path(max_length=64, pattern=PILE_ID_PATTERN, description="Pile id")]
Limit = Annotated[int, Query(ge=1, le=MOST_ROWS, description="At most so many")]
_MOVED = NOT_FOUND | {
    409: {"model": ErrorBody, "description": "That state may not follow the one the pile is in"}
}


def create_router(service: OperatorService, vault: SecretVault) -> APIRouter:
    """States and their audit, conflicts, key rotation; `vault` wraps new secrets."""
    router = APIRouter(route_class=OperatorRoute, tags=["Piles"])
    _change(router, service)
    _read(router, service)
    _rotate(router, service, vault)
    return router


def _change(router: APIRouter, service: OperatorService) -> None:
    @router.post(
        "/piles/{pile_id}/quarantine",
        summary="Shut a pile out, off the broker within seconds, until it is released",
        responses=_MOVED,
    )
    def quarantine(pile_id: PileId, new: NewStateChange) -> StateView:
        with service.pool.connection() as conn:
            changed = pile_states.quarantine(conn, pile_id, by=new.by, reason=new.reason, now=service.clock())
        return StateView(pile_id=pile_id, state=PileState.QUARANTINED, changed=changed)

    @router.post(
        "/piles/{pile_id}/release", summary="Let a quarantined pile back to where it was", responses=_MOVED
    )
    def release(pile_id: PileId, new: NewStateChange) -> StateView:
        with service.pool.connection() as conn:
            state = pile_states.release(conn, pile_id, by=new.by, reason=new.reason, now=service.clock())
        return StateView(pile_id=pile_id, state=state, changed=True)

    @router.post(
        "/piles/{pile_id}/revoke",
        summary="Shut a pile out for good: its certificates, secrets and claim codes are over",
        responses=_MOVED,
    )
    def revoke(pile_id: PileId, new: NewStateChange) -> StateView:
        with service.pool.connection() as conn:
            changed = pile_states.revoke(conn, pile_id, by=new.by, reason=new.reason, now=service.clock())
        return StateView(pile_id=pile_id, state=PileState.REVOKED, changed=changed)


def _read(router: APIRouter, service: OperatorService) -> None:
    @router.get(
        "/piles/{pile_id}/state-changes",
        summary="Every change of a pile's state, newest first: who, why, when",
        responses=NOT_FOUND,
    )
    def list_changes(pile_id: PileId, limit: Limit = 50, cursor: Cursor = None) -> StateChangePage:
        before = cursors.read_number(cursor)
        with service.pool.connection() as conn:
            piles.get(conn, pile_id)
            found = pile_states.changes(conn, pile_id, limit=limit + 1, before=before)
        page = found[:limit]
        return StateChangePage(
            changes=[identity_models.change_view(change) for change in page],
            next_cursor=cursors.write_text(str(page[-1].change_id)) if len(found) > limit else None,
        )

    @router.get(
        "/piles/{pile_id}/identity-conflicts",
        summary="When two devices seemed to speak as this pile, newest first",
        responses=NOT_FOUND,
    )
    def list_conflicts(pile_id: PileId, limit: Limit = 50, cursor: Cursor = None) -> ConflictPage:
        before = cursors.read_number(cursor)
        with service.pool.connection() as conn:
            piles.get(conn, pile_id)
            found = identity_conflicts.of_pile(conn, pile_id, limit=limit + 1, before=before)
        page = found[:limit]
        return ConflictPage(
            conflicts=[identity_models.conflict_view(conflict) for conflict in page],
            next_cursor=cursors.write_text(str(page[-1].conflict_id)) if len(found) > limit else None,
        )


def _rotate(router: APIRouter, service: OperatorService, vault: SecretVault) -> None:
    desk = Desk(service)

    @router.post(
        "/piles/{pile_id}/key-rotation",
        summary="Give a pile its next device secret while it works",
        responses=NOT_FOUND
        | {202: {"model": CommandView, "description": "Ordered; the pile has not answered yet"}},
    )
    def rotate(pile_id: PileId, response: Response, wait_s: WaitS = 0) -> CommandView:
        def ask(conn: Connection[TupleRow], now: datetime) -> UUID:
            expires_at = now + service.waits.care
            return key_rotation.begin(conn, vault, pile_id, expires_at=expires_at, now=now)

        return desk.order(ask, response, wait_s=wait_s)
