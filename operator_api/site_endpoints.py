"""Endpoints for sites and piles."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query
from psycopg import Connection
from psycopg.rows import TupleRow

from charging import enrolment, locks, overview, piles, ports, sites, views
from operator_api import cursors, site_models
from operator_api.parameters import PILE_ID_PATTERN, Cursor, OnlySite
from operator_api.problems import CONFLICT, NOT_FOUND, OperatorRoute
from operator_api.service import OperatorService
from operator_api.site_models import ClaimView, NewPile, PilePage, PileView, RegisteredPile, SiteView

CLAIM_LASTS = timedelta(hours=72)
MOST_PILES = 200

PileId = Annotated[str, Path(max_length=64, pattern=PILE_ID_PATTERN, description="Pile id")]


def create_router(service: OperatorService) -> APIRouter:
    """Sites and piles."""
    router = APIRouter(route_class=OperatorRoute)

    @router.get("/sites", tags=["Sites"], summary="Every site with its counts")
    def list_sites() -> list[SiteView]:
        with service.pool.connection() as conn:
            return [site_models.site_view(site) for site in overview.sites_now(conn, now=service.clock())]

    @router.get("/piles", tags=["Piles"], summary="Piles with their sockets, by id", responses=NOT_FOUND)
    def list_piles(
        site_id: OnlySite = None,
        limit: Annotated[int, Query(ge=1, le=MOST_PILES, description="At most so many")] = 50,
        cursor: Cursor = None,
    ) -> PilePage:
        after = cursors.read_text(cursor)
        with service.pool.connection() as conn:
            if site_id is not None:
                sites.get(conn, site_id)
            found = views.pile_page(conn, limit=limit + 1, site_id=site_id, after=after)
            page = found[:limit]
            by_pile = views.ports_of(conn, [pile.pile_id for pile in page])
            locked = locks.held(conn, [pile.pile_id for pile in page])
        return PilePage(
            piles=[
                site_models.pile_view(pile, by_pile[pile.pile_id], locked.get(pile.pile_id, ()))
                for pile in page
            ],
            next_cursor=cursors.write_text(page[-1].pile_id) if len(found) > limit else None,
        )

    @router.get("/piles/{pile_id}", tags=["Piles"], summary="One pile with its sockets", responses=NOT_FOUND)
    def get_pile(pile_id: PileId) -> PileView:
        with service.pool.connection() as conn:
            pile = piles.get(conn, pile_id)
            held = locks.held(conn, [pile_id]).get(pile_id, ())
            return site_models.pile_view(pile, ports.of_pile(conn, pile_id), held)

    _add_registration(router, service)
    return router


def _add_registration(router: APIRouter, service: OperatorService) -> None:
    @router.post(
        "/piles",
        tags=["Piles"],
        status_code=201,
        summary="Register a pile and get its one-time claim code",
        responses=NOT_FOUND | CONFLICT,
    )
    def register_pile(new: NewPile) -> RegisteredPile:
        with service.pool.connection() as conn:
            pile = piles.register(
                conn,
                pile_id=new.pile_id,
                site_id=new.site_id,
                model=new.model,
                port_count=new.port_count,
                power_limit_w=new.power_limit_w,
                parent_pile_id=new.parent_pile_id,
                now=service.clock(),
            )
            return RegisteredPile(
                pile=site_models.pile_view(pile, ports.of_pile(conn, pile.pile_id)),
                claim=_claim(service, conn, pile.pile_id),
            )

    @router.post(
        "/piles/{pile_id}/claims",
        tags=["Piles"],
        status_code=201,
        summary="A new claim code, where the first was lost or has expired",
        responses=NOT_FOUND,
    )
    def new_claim(pile_id: PileId) -> ClaimView:
        with service.pool.connection() as conn:
            return _claim(service, conn, pile_id)


def _claim(service: OperatorService, conn: Connection[TupleRow], pile_id: str) -> ClaimView:
    now = service.clock()
    expires_at = now + CLAIM_LASTS
    code = enrolment.issue_claim_code(conn, pile_id=pile_id, expires_at=expires_at, now=now)
    return ClaimView(pile_id=pile_id, claim_code=code, expires_at=expires_at)
