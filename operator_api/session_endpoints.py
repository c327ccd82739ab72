"""Endpoints for sessions."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from billing import charges, payments, refunds
from charging import live_readings, session_curves, sessions, views
from charging.session_states import SessionState
from charging.views import PageKey
from operator_api import cursors, session_models
from operator_api.parameters import Cursor, OnlyPile, OnlySite
from operator_api.problems import NOT_FOUND, OperatorRoute
from operator_api.service import OperatorService
from operator_api.session_models import SessionDetail, SessionPage

MOST_SESSIONS = 200
MOST_POINTS = 500


def create_router(service: OperatorService) -> APIRouter:
    """Sessions, listed and one by one."""
    router = APIRouter(route_class=OperatorRoute, tags=["Sessions"])

    @router.get("/sessions", summary="Sessions, newest first")
    def list_sessions(
        site_id: OnlySite = None,
        pile_id: OnlyPile = None,
        state: Annotated[SessionState | None, Query(description="Only those in this state")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_SESSIONS, description="At most so many")] = 50,
        cursor: Cursor = None,
    ) -> SessionPage:
        after = cursors.read_key(cursor)
        with service.pool.connection() as conn:
            found = views.session_page(
                conn, limit=limit + 1, site_id=site_id, pile_id=pile_id, state=state, after=after
            )
            page = found[:limit]
            readings = live_readings.newest(conn, page)
        last = PageKey(page[-1].created_at, page[-1].session_id) if len(found) > limit else None
        return SessionPage(
            sessions=[session_models.summary(session, readings.get(session.session_id)) for session in page],
            next_cursor=cursors.write_key(last) if last else None,
        )

    @router.get(
        "/sessions/{session_id}",
        summary="A session with payment, refunds, charge, shares, history and curve",
        responses=NOT_FOUND,
    )
    def get_session(
        session_id: UUID,
        points: Annotated[
            int, Query(ge=0, le=MOST_POINTS, description="Most points of the curve; 0 for none")
        ] = 200,
    ) -> SessionDetail:
        with service.pool.connection() as conn:
            session = sessions.get(conn, session_id)
            span = session_curves.span_of(session)
            return session_models.detail(
                session,
                live_readings.newest(conn, [session]).get(session_id),
                payment=payments.of_session(conn, session_id),
                refunds=refunds.of_session(conn, session_id),
                charge=charges.get(conn, session_id),
                transitions=sessions.transitions(conn, session_id),
                curve=session_curves.curve(conn, span, most_points=points) if points else [],
            )

    return router
