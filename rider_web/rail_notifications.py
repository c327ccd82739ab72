"""Where rails tell us what happened to money: verified, booked once, acknowledged only after the commit."""

import structlog
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from billing import notifications
from billing.errors import (
    AmountMismatch,
    NotificationRefused,
    PaymentConflict,
    PaymentUnknown,
    RefundUnknown,
)
from rider_web.service import RiderService

LARGEST_BODY = 64 * 1024
"""Bytes; a real notification has about one kilobyte."""

log = structlog.get_logger()


def create_router(service: RiderService) -> APIRouter:
    """The address each rail notifies."""
    router = APIRouter(route_class=service.route_class, tags=["Rails"])

    @router.post(
        "/rails/{rail}/notify",
        status_code=204,
        summary="A rail's signed notification, as WeChat Pay v3 sends it",
        responses={
            400: {"description": "Not JSON, not the rail's signature, or too old"},
            404: {"description": "No such rail, or not a payment of ours"},
            409: {"description": "Contradicts what we know; kept out and seen by a person"},
        },
    )
    async def notify(request: Request, rail: str) -> Response:
        body = await _body(request)
        if body is None:
            return _fail(413, "body too large")
        headers = dict(request.headers)
        return await run_in_threadpool(_act, service, rail, headers, body)

    return router


async def _body(request: Request) -> bytes | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            return None
    return bytes(body)


def _act(service: RiderService, rail_name: str, headers: dict[str, str], body: bytes) -> Response:
    desk = service.desk
    rail = desk.rail(rail_name)
    try:
        notification = rail.parse_notification(headers, body)
        with desk.pool.connection() as conn:
            handled = notifications.handle(conn, rail.name, notification, now=desk.clock(), hooks=desk.hooks)
    except NotificationRefused as refused:
        log.warning("rail_notification_refused", rail=rail_name, reason=refused.reason)
        return _fail(400, refused.reason)
    except (PaymentUnknown, RefundUnknown) as error:
        log.warning("rail_notification_unknown", rail=rail_name, error=type(error).__name__)
        return _fail(404, "no such payment or refund")
    except (AmountMismatch, PaymentConflict) as error:
        log.error("rail_notification_contradicts", rail=rail_name, error=type(error).__name__)
        return _fail(409, "contradicts what is known of this payment")
    log.info("rail_notification_handled", rail=rail_name, handled=handled.value)
    return Response(status_code=204)


def _fail(status: int, message: str) -> JSONResponse:
    return JSONResponse({"code": "FAIL", "message": message}, status)
