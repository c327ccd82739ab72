"""Endpoint for refunds, so that one that is stuck is seen."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from billing import views
from billing.refunds import Refund, RefundCause, RefundState
from billing.views import RefundPageKey
from charging.views import PageKey
from operator_api import cursors
from operator_api.parameters import Cursor
from operator_api.problems import OperatorRoute
from operator_api.service import OperatorService

MOST_REFUNDS = 200


class RefundRow(BaseModel):
    """Money going back to a rider, with what keeps it from arriving."""

    refund_id: UUID
    session_id: UUID
    rail: str = Field(description="The way the money moves")
    out_trade_no: str = Field(description="Our number for the payment at the rail")
    out_refund_no: str = Field(
        description="Our number for the refund at the rail; a new one only after the rail closed it"
    )
    generation: int = Field(description="How often the rail closed it and it got a new number")
    cause: RefundCause
    amount_fen: int = Field(description="In fen (1/100 yuan)")
    state: RefundState = Field(description="`abnormal` needs a person to look at the rail")
    attempts: int = Field(description="How often the rail was told or asked")
    last_error: str | None = Field(description="The rail's word, or ours, for what went wrong last")
    requested_at: datetime
    succeeded_at: datetime | None


class RefundPage(BaseModel):
    """Refunds, longest waiting first."""

    refunds: list[RefundRow]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null on the last")


def create_router(service: OperatorService) -> APIRouter:
    """Refunds, listed."""
    router = APIRouter(route_class=OperatorRoute, tags=["Money"])

    @router.get(
        "/refunds", summary="Refunds, longest waiting first; `state=abnormal` for those that are stuck"
    )
    def list_refunds(
        state: Annotated[RefundState | None, Query(description="Only those in this state")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_REFUNDS, description="At most so many")] = 50,
        cursor: Cursor = None,
    ) -> RefundPage:
        key = cursors.read_key(cursor)
        after = None if key is None else RefundPageKey(key.created_at, key.session_id)
        with service.pool.connection() as conn:
            found = views.refund_page(conn, limit=limit + 1, state=state, after=after)
        page = found[:limit]
        last = PageKey(page[-1].requested_at, page[-1].refund_id) if len(found) > limit else None
        return RefundPage(
            refunds=[_row(refund) for refund in page],
            next_cursor=cursors.write_key(last) if last else None,
        )

    return router


def _row(refund: Refund) -> RefundRow:
    return RefundRow(
        refund_id=refund.refund_id,
        session_id=refund.session_id,
        rail=refund.rail,
        out_trade_no=refund.out_trade_no,
        out_refund_no=refund.out_refund_no,
        generation=refund.generation,
        cause=refund.cause,
        amount_fen=refund.amount_fen,
        state=refund.state,
        attempts=refund.attempts,
        last_error=refund.last_error,
        requested_at=refund.requested_at,
        succeeded_at=refund.succeeded_at,
    )
