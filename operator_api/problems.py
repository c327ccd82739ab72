"""Refusals of the operator's API: one table from error to status, code and message."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from psycopg import OperationalError
from psycopg_pool import PoolTimeout, TooManyRequests
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from billing.errors import PartyUnknown
from charging.errors import (
    AlarmStillRaised,
    AlarmUnknown,
    CardExists,
    CardUnknown,
    CommandUnknown,
    ExtensionRefused,
    LockUnknown,
    NoticeUnknown,
    ParentUnfit,
    PileExists,
    PileIdInvalid,
    PileOutOfService,
    PileUnknown,
    PortUnknown,
    ReleaseConflict,
    ReleaseRefused,
    ReleaseUnknown,
    RolloutOver,
    RolloutRefused,
    RolloutUnknown,
    SessionUnknown,
    SettingRefused,
    SiteUnknown,
    TransitionRefused,
)
from operator_api.access import TokenRefused

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

log = structlog.get_logger()


class ErrorDetail(BaseModel):
    """What was wrong."""

    code: str = Field(description="A machine word that never changes")
    message: str = Field(description="What was wrong, in words")
    field: str | None = Field(description="Which field or parameter, where one is to blame")


class ErrorBody(BaseModel):
    """Every refusal has this form."""

    error: ErrorDetail


@dataclass
class CursorInvalid(Exception):
    """The cursor is not one this API gave out."""

    cursor: str


_TABLE: dict[type[Exception], tuple[int, str, str | None]] = {
    TokenRefused: (401, "token_refused", None),
    SiteUnknown: (404, "site_unknown", "site_id"),
    PileUnknown: (404, "pile_unknown", "pile_id"),
    PortUnknown: (404, "port_unknown", "port_no"),
    SessionUnknown: (404, "session_unknown", "session_id"),
    CommandUnknown: (404, "command_unknown", "command_id"),
    PartyUnknown: (404, "party_unknown", "party_id"),
    AlarmUnknown: (404, "alarm_unknown", "alarm_id"),
    LockUnknown: (404, "lock_unknown", "lock_id"),
    NoticeUnknown: (404, "notice_unknown", "notice_id"),
    AlarmStillRaised: (409, "alarm_still_raised", "override"),
    PileExists: (409, "pile_exists", "pile_id"),
    PileOutOfService: (409, "pile_out_of_service", "pile_id"),
    ExtensionRefused: (409, "extension_refused", None),
    TransitionRefused: (409, "transition_refused", None),
    ParentUnfit: (422, "parent_unfit", "parent_pile_id"),
    PileIdInvalid: (422, "pile_id_invalid", "pile_id"),
    SettingRefused: (422, "setting_refused", "settings"),
    CursorInvalid: (422, "cursor_invalid", "cursor"),
    ReleaseUnknown: (404, "release_unknown", "release_id"),
    ReleaseRefused: (422, "release_refused", "manifest"),
    ReleaseConflict: (409, "release_exists", "version"),
    RolloutUnknown: (404, "rollout_unknown", "rollout_id"),
    RolloutRefused: (422, "rollout_refused", None),
    RolloutOver: (409, "rollout_over", "rollout_id"),
    CardUnknown: (404, "card_unknown", "card_id"),
    CardExists: (409, "card_exists", "number"),
}
_EXPECTED = tuple(_TABLE)
_WORDS: dict[type[Exception], str] = {
    TokenRefused: "this needs a valid bearer token",
    PartyUnknown: "there is no such party",
    CursorInvalid: "not a cursor this API gave out; leave it out to begin at the first page",
}
"""For errors whose own text does not say it to a caller."""

DOCUMENTED: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorBody, "description": "No bearer token, or not the right one"},
    413: {"model": ErrorBody, "description": "The body is too long"},
    422: {"model": ErrorBody, "description": "A parameter or field is wrong; `field` names it"},
    500: {"model": ErrorBody, "description": "The platform failed; its log says why"},
    503: {"model": ErrorBody, "description": "The database is not reachable right now; try again"},
}
"""What every endpoint may answer besides success."""
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": ErrorBody, "description": "Nothing by that id"}}
OUT_OF_SERVICE: dict[int | str, dict[str, Any]] = {
    409: {"model": ErrorBody, "description": "The pile is not enrolled, in quarantine or revoked"}
}
CONFLICT: dict[int | str, dict[str, Any]] = {409: {"model": ErrorBody, "description": "Registered already"}}
STILL_RAISED: dict[int | str, dict[str, Any]] = {
    409: {"model": ErrorBody, "description": "The pile still measures the danger and no override was stated"}
}


class OperatorRoute(APIRoute):
    """Expected failures become JSON refusals."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                response = await handle(request)
            except _EXPECTED as error:
                response = refusal(error)
            except RequestValidationError as error:
                response = _invalid(error)
            except (OperationalError, PoolTimeout, TooManyRequests) as error:
                log.warning("operator_request_without_database", path=self.path, error=type(error).__name__)
                response = answer(503, "unavailable", "the database is not reachable right now; try again")
                response.headers["Retry-After"] = "3"
            except HTTPException:
                raise
            except Exception as error:  # else the app would answer in the words for riders
                log.error("operator_request_failed", path=self.path, exc_info=error)
                response = answer(500, "internal_error", "the platform failed at this; its log says why")
            _protect(response)
            return response

        return guarded

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or say which methods the address takes."""
        methods = self.methods or set()
        if scope["method"] in methods:
            await super().handle(scope, receive, send)
            return
        response = answer(405, "method_not_allowed", "this address does not take that kind of request")
        response.headers["Allow"] = ", ".join(sorted(methods))
        _protect(response)
        await response(scope, receive, send)


def answer(status: int, code: str, message: str, field: str | None = None) -> JSONResponse:
    """A refusal as JSON."""
    body = ErrorBody(error=ErrorDetail(code=code, message=message, field=field))
    return JSONResponse(body.model_dump(), status)


def refusal(error: Exception) -> Response:
    """One of the table's errors as an answer."""
    status, code, field = _TABLE[type(error)]
    if isinstance(error, RolloutRefused):
        field = error.field
    if isinstance(error, SettingRefused):
        field = f"settings.{error.key}"
    response = answer(status, code, _WORDS.get(type(error)) or str(error), field)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    _protect(response)
    return response


def nothing_there() -> Response:
    """No endpoint has this address."""
    response = answer(404, "not_found", "there is nothing under this address")
    _protect(response)
    return response


def too_long(most_bytes: int) -> Response:
    """A body is longer than that."""
    response = answer(413, "body_too_long", f"the body is longer than {most_bytes} bytes")
    _protect(response)
    return response


def _protect(response: Response) -> None:
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"


def _invalid(error: RequestValidationError) -> Response:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return answer(400, "not_json", f"the body is not JSON: {first['ctx']['error']}")
    place = ".".join(str(part) for part in first["loc"][1:]) or None
    return answer(422, "invalid_request", str(first["msg"]), place)
