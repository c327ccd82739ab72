"""Endpoints for what operators and properties are told."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from psycopg import Connection
from psycopg.rows import TupleRow
from pydantic import BaseModel, Field

from billing import parties
from billing.errors import PartyUnknown
from charging import notices
from charging.alarm_kinds import Severity
from charging.notices import Notice, NoticeKind
from operator_api import cursors
from operator_api.parameters import PRINTABLE_PATTERN, SITE_ID_PATTERN, Cursor
from operator_api.problems import NOT_FOUND, OperatorRoute
from operator_api.service import OperatorService

MOST_NOTICES = 200

PartyId = Annotated[str, Path(max_length=63, pattern=SITE_ID_PATTERN, description="Party id")]
NoticeId = Annotated[int, Path(ge=1, le=2**63 - 1, description="Notice id")]


class NoticeView(BaseModel):
    """Something a party is told, in words and facts."""

    notice_id: int
    kind: NoticeKind
    severity: Severity
    site_id: str
    pile_id: str
    port_no: int | None = Field(description="Null for the whole pile")
    words_zh: str
    words_en: str
    facts: dict[str, Any] = Field(description="The same for machines; what is in it depends on `kind`")
    created_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None


class NoticePage(BaseModel):
    """Notices, newest first."""

    notices: list[NoticeView]
    unread: int = Field(description="How many of all the party's notices nobody has acknowledged")
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null on the last")


class Reader(BaseModel):
    """Who has read it."""

    by: str = Field(
        pattern=PRINTABLE_PATTERN, max_length=64, description="Name of the reader; no phone number"
    )


def create_router(service: OperatorService) -> APIRouter:
    """A party's notices, listed and acknowledged."""
    router = APIRouter(route_class=OperatorRoute, tags=["Safety"])

    @router.get(
        "/parties/{party_id}/notices", summary="What a party was told, newest first", responses=NOT_FOUND
    )
    def list_notices(
        party_id: PartyId,
        unread: Annotated[bool, Query(description="Only those nobody has acknowledged")] = False,
        limit: Annotated[int, Query(ge=1, le=MOST_NOTICES, description="At most so many")] = 50,
        cursor: Cursor = None,
    ) -> NoticePage:
        before = cursors.read_number(cursor)
        with service.pool.connection() as conn:
            _require(conn, party_id)
            found = notices.page(conn, party_id=party_id, limit=limit + 1, unread=unread, before=before)
            waiting = notices.unread_count(conn, party_id)
        page = found[:limit]
        return NoticePage(
            notices=[_view(notice) for notice in page],
            unread=waiting,
            next_cursor=cursors.write_text(str(page[-1].notice_id)) if len(found) > limit else None,
        )

    @router.post(
        "/parties/{party_id}/notices/{notice_id}/acknowledge",
        summary="Note who has read a notice; the first name stays",
        responses=NOT_FOUND,
    )
    def acknowledge(party_id: PartyId, notice_id: NoticeId, reader: Reader) -> NoticeView:
        with service.pool.connection() as conn:
            return _view(
                notices.acknowledge(
                    conn, party_id=party_id, notice_id=notice_id, by=reader.by, now=service.clock()
                )
            )

    return router


def _require(conn: Connection[TupleRow], party_id: str) -> None:
    if all(party.party_id != party_id for party in parties.list_all(conn)):
        raise PartyUnknown((party_id,))


def _view(notice: Notice) -> NoticeView:
    return NoticeView(
        notice_id=notice.notice_id,
        kind=notice.kind,
        severity=notice.severity,
        site_id=notice.site_id,
        pile_id=notice.pile_id,
        port_no=notice.port_no,
        words_zh=notice.words_zh,
        words_en=notice.words_en,
        facts=dict(notice.facts),
        created_at=notice.created_at,
        acknowledged_at=notice.acknowledged_at,
        acknowledged_by=notice.acknowledged_by,
    )
