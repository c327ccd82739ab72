"""What every device-facing HTTP route shares: a bounded request, and refusals in the contract's JSON.

A refusal is `{"error": {"code", "message"}}`.
"""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from psycopg import OperationalError

from charging.claim_attempts import ATTEMPT_WINDOW
from gateway.errors import EnrolmentFault, EnrolmentRefused

MAX_REQUEST_BYTES = 16 * 1024
_STATUS = {
    EnrolmentFault.REQUEST_INVALID: HTTPStatus.BAD_REQUEST,
    EnrolmentFault.CSR_INVALID: HTTPStatus.BAD_REQUEST,
    EnrolmentFault.CLAIM_REFUSED: HTTPStatus.FORBIDDEN,
    EnrolmentFault.CERTIFICATE_REQUIRED: HTTPStatus.UNAUTHORIZED,
    EnrolmentFault.CERTIFICATE_REFUSED: HTTPStatus.FORBIDDEN,
    EnrolmentFault.TOO_MANY_ATTEMPTS: HTTPStatus.TOO_MANY_REQUESTS,
    EnrolmentFault.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}
_RETRY_AFTER_S = {
    EnrolmentFault.TOO_MANY_ATTEMPTS: str(int(ATTEMPT_WINDOW.total_seconds())),
    EnrolmentFault.UNAVAILABLE: "10",
}

log = structlog.get_logger()


class DeviceRoute(APIRoute):
    """Bounds the request and turns every refusal into the contract's JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's hook around the endpoint."""
        handler = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                if request.method != "GET":
                    _check_size(request)
                return await handler(request)
            except EnrolmentRefused as refused:
                return _answer(refused.fault, refused.message)
            except RequestValidationError as invalid:
                fields = ", ".join(sorted({str(error["loc"][-1]) for error in invalid.errors()}))
                return _answer(EnrolmentFault.REQUEST_INVALID, f"the request is not valid: {fields}")
            except OperationalError as error:
                log.warning("device_request_without_database", error=type(error).__name__)
                return _answer(EnrolmentFault.UNAVAILABLE, "try again in a moment")

        return guarded


def _check_size(request: Request) -> None:
    length = request.headers.get("content-length", "")
    if not length.isascii() or not length.isdigit() or len(length) > 9:
        raise EnrolmentRefused(EnrolmentFault.REQUEST_INVALID, "Content-Length is missing")
    if int(length) > MAX_REQUEST_BYTES:
        raise EnrolmentRefused(EnrolmentFault.REQUEST_INVALID, f"more than {MAX_REQUEST_BYTES} bytes")


def _answer(fault: EnrolmentFault, message: str) -> JSONResponse:
    headers = {"Retry-After": _RETRY_AFTER_S[fault]} if fault in _RETRY_AFTER_S else {}
    return JSONResponse(
        {"error": {"code": fault.value, "message": message}}, status_code=_STATUS[fault], headers=headers
    )
