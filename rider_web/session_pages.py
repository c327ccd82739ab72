"""The page of one charge, from payment to refund, and the JSON it lives on."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import RedirectResponse, Response

from charging import session_curves, sessions, start_codes
from rider_web import bill, code_card, pages, session_view
from rider_web.problems import PILE_ID_PATTERN
from rider_web.service import RiderService
from rider_web.session_view import SessionView

STOP_CAUSE = "user_stop_app"
MOST_POINTS = 500


class NewSession(BaseModel):
    """An order: which socket, and how much to prepay."""

    pile_id: str = Field(
        max_length=64, pattern=PILE_ID_PATTERN, description="Pile id, as printed on the pile"
    )
    port_no: int = Field(ge=0, le=99, description="Socket number, as printed on the socket")
    amount_fen: int = Field(description="Amount to prepay, in fen (1/100 yuan)")


class SessionCreated(BaseModel):
    """The order, waiting to be paid."""

    session_id: UUID
    pay_url: str = Field(description="Open this on the rider's phone to pay")


class CurvePointView(BaseModel):
    """One reading."""

    sampled_at: datetime = Field(description="The pile's time of the reading")
    elapsed_s: int = Field(description="Seconds since charging began")
    power_w: float = Field(description="Power, in W")
    energy_wh: float = Field(description="Energy since charging began, in Wh")


class CurveView(BaseModel):
    """The charging curve, thinned evenly."""

    session_id: UUID
    points: list[CurvePointView]


def create_router(service: RiderService) -> APIRouter:
    """Session page and session JSON."""
    router = APIRouter(route_class=service.route_class, tags=["Rider"])

    @router.get("/s/{session_id}", include_in_schema=False)
    def session_page(request: Request, session_id: UUID) -> Response:
        language = pages.language_of(request)
        facts = service.facts.read_one(session_id)
        view = session_view.build(facts, language)
        return pages.page(
            "session.html",
            language,
            view=view,
            bill=bill.build(facts, language),
            code=code_card.build(view.start_code, now=service.desk.clock(), clock_speed=service.clock_speed),
        )

    @router.post("/s/{session_id}/stop", include_in_schema=False)
    def stop_by_form(session_id: UUID) -> Response:
        _stop(service, session_id)
        return RedirectResponse(f"/s/{session_id}", status_code=303)

    @router.post(
        "/api/rider/sessions", status_code=201, summary="Order a charge and get the address to pay at"
    )
    def create(request: Request, new: NewSession) -> SessionCreated:
        placed = service.order(request, pile_id=new.pile_id, port_no=new.port_no, amount_fen=new.amount_fen)
        return SessionCreated(session_id=placed.session_id, pay_url=placed.pay_url)

    @router.get("/api/rider/sessions/{session_id}", summary="A charge: state, power, energy, money")
    def session(request: Request, session_id: UUID) -> SessionView:
        return session_view.build(service.facts.read_one(session_id), pages.language_of(request))

    @router.get(
        "/api/rider/sessions/{session_id}/curve", summary="Power and energy over the time of a charge"
    )
    def curve(
        session_id: UUID,
        points: Annotated[int, Query(ge=2, le=MOST_POINTS, description="At most so many points")] = 300,
    ) -> CurveView:
        with service.desk.pool.connection() as conn:
            span = session_curves.span_of(sessions.get(conn, session_id))
            readings = session_curves.curve(conn, span, most_points=points)
        return CurveView(
            session_id=session_id,
            points=[
                CurvePointView(
                    sampled_at=reading.sampled_at,
                    elapsed_s=reading.elapsed_s,
                    power_w=reading.power_dw / 10,
                    energy_wh=reading.energy_dwh / 10,
                )
                for reading in readings
            ],
        )

    @router.post(
        "/api/rider/sessions/{session_id}/stop", summary="Ask the pile to stop; asking twice is harmless"
    )
    def stop(request: Request, session_id: UUID) -> SessionView:
        _stop(service, session_id)
        return session_view.build(service.facts.read_one(session_id), pages.language_of(request))

    return router


def _stop(service: RiderService, session_id: UUID) -> None:
    with service.desk.pool.connection() as conn:
        start_codes.give_up(conn, session_id, now=service.desk.clock())
        sessions.stop(conn, session_id, cause=STOP_CAUSE, wait=service.waits.stop, now=service.desk.clock())
