"""Endpoints for cards that start sessions at piles: registered, blocked, and what they took.

A number goes in and never comes out: neither these answers nor a log hold it.
"""

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from billing.tariff_objects import FeeKind
from charging import cards, sites
from charging.cards import Card, CardUse
from charging.views import PageKey
from operator_api import cursors
from operator_api.parameters import PRINTABLE_PATTERN, SITE_ID_PATTERN, Cursor, Instant, OnlySite
from operator_api.problems import CONFLICT, NOT_FOUND, OperatorRoute
from operator_api.service import OperatorService

MOST_CARDS = 200
MOST_SESSIONS = 1000
USUAL_STATEMENT = timedelta(days=31)

CardId = Annotated[UUID, Path(description="Card id")]


class NewCard(BaseModel):
    """A card to let start sessions at a site."""

    site_id: str = Field(pattern=SITE_ID_PATTERN, max_length=63)
    number: str = Field(
        pattern="^[0-9A-Za-z -]+$",
        min_length=4,
        max_length=cards.MOST_DIGITS,
        description="As the piles' reader tells it; case, spaces and hyphens do not matter. Never shown again",
        json_schema_extra={"writeOnly": True},
    )
    label: str = Field(pattern=PRINTABLE_PATTERN, max_length=100, description="What you call it")


class CardChange(BaseModel):
    """What to change; what is left out stays."""

    active: bool | None = Field(default=None, description="False blocks the card")
    label: str | None = Field(default=None, pattern=PRINTABLE_PATTERN, max_length=100)


class CardView(BaseModel):
    """A card and what it took so far."""

    card_id: UUID
    site_id: str
    label: str
    active: bool = Field(description="Whether it may start sessions")
    registered_at: datetime
    changed_at: datetime
    sessions: int = Field(description="Sessions settled")
    energy_wh: float = Field(description="Their energy, in Wh, to 0.1")
    rated_fen: int = Field(description="What the tariffs ask for them, in fen; no money moved")


class CardPage(BaseModel):
    """Cards, newest first."""

    cards: list[CardView]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null on the last")


class StatementLine(BaseModel):
    """One session by card."""

    session_id: UUID
    energy_wh: float = Field(description="In Wh, to 0.1")
    duration_s: int
    rated_fen: int = Field(description="What the tariff asks, in fen; the sum of `fees_fen`")
    fees_fen: dict[FeeKind, int] = Field(description="By fee kind, in fen")
    rated_at: datetime


class CardStatement(BaseModel):
    """What a card took in a stretch of time, newest first."""

    card_id: UUID
    since: datetime
    until: datetime
    energy_wh: float = Field(description="Of the sessions listed, in Wh, to 0.1")
    rated_fen: int = Field(description="Of the sessions listed, in fen")
    complete: bool = Field(description="False where there were more sessions than are listed")
    sessions: list[StatementLine]


def create_router(service: OperatorService) -> APIRouter:
    """Cards and their statements."""
    router = APIRouter(route_class=OperatorRoute, tags=["Cards"])

    @router.post(
        "/cards",
        status_code=201,
        summary="Let a card start sessions at a site",
        responses=NOT_FOUND | CONFLICT,
    )
    def register(new: NewCard) -> CardView:
        with service.pool.connection() as conn:
            card = cards.register(
                conn, site_id=new.site_id, number=new.number, label=new.label, now=service.clock()
            )
            return _view(card, cards.uses(conn, [card.card_id])[card.card_id])

    @router.get("/cards", summary="Cards, newest first", responses=NOT_FOUND)
    def list_cards(
        site_id: OnlySite = None,
        limit: Annotated[int, Query(ge=1, le=MOST_CARDS, description="At most so many")] = 50,
        cursor: Cursor = None,
    ) -> CardPage:
        key = cursors.read_key(cursor)
        after = None if key is None else (key.created_at, key.session_id)
        with service.pool.connection() as conn:
            if site_id is not None:
                sites.get(conn, site_id)
            found = cards.page(conn, limit=limit + 1, site_id=site_id, after=after)
            page = found[:limit]
            uses = cards.uses(conn, [card.card_id for card in page])
        last = PageKey(page[-1].registered_at, page[-1].card_id) if len(found) > limit else None
        return CardPage(
            cards=[_view(card, uses[card.card_id]) for card in page],
            next_cursor=cursors.write_key(last) if last else None,
        )

    @router.get("/cards/{card_id}", summary="One card", responses=NOT_FOUND)
    def get_card(card_id: CardId) -> CardView:
        with service.pool.connection() as conn:
            return _view(cards.get(conn, card_id), cards.uses(conn, [card_id])[card_id])

    @router.patch("/cards/{card_id}", summary="Block a card, unblock or rename it", responses=NOT_FOUND)
    def change(card_id: CardId, wanted: CardChange) -> CardView:
        with service.pool.connection() as conn:
            card = cards.change(conn, card_id, active=wanted.active, label=wanted.label, now=service.clock())
            return _view(card, cards.uses(conn, [card_id])[card_id])

    _add_statement(router, service)
    return router


def _add_statement(router: APIRouter, service: OperatorService) -> None:
    @router.get(
        "/cards/{card_id}/statement", summary="What a card took, session by session", responses=NOT_FOUND
    )
    def statement(
        card_id: CardId,
        since: Annotated[Instant | None, Query(description="31 days before `until` if left out")] = None,
        until: Annotated[Instant | None, Query(description="Now if left out")] = None,
    ) -> CardStatement:
        end = until or service.clock()
        begin = since or end - USUAL_STATEMENT
        with service.pool.connection() as conn:
            cards.get(conn, card_id)
            found = cards.statement(conn, card_id, since=begin, until=end, limit=MOST_SESSIONS + 1)
        lines = found[:MOST_SESSIONS]
        return CardStatement(
            card_id=card_id,
            since=begin,
            until=end,
            energy_wh=sum(line.energy_dwh for line in lines) / 10,
            rated_fen=sum(line.rated_fen for line in lines),
            complete=len(found) == len(lines),
            sessions=[
                StatementLine(
                    session_id=line.session_id,
                    energy_wh=line.energy_dwh / 10,
                    duration_s=line.duration_s,
                    rated_fen=line.rated_fen,
                    fees_fen={FeeKind(kind): fen for kind, fen in line.fees_fen.items()},
                    rated_at=line.rated_at,
                )
                for line in lines
            ],
        )


def _view(card: Card, use: CardUse) -> CardView:
    return CardView(
        card_id=card.card_id,
        site_id=card.site_id,
        label=card.label,
        active=card.active,
        registered_at=card.registered_at,
        changed_at=card.changed_at,
        sessions=use.sessions,
        energy_wh=use.energy_dwh / 10,
        rated_fen=use.rated_fen,
    )
