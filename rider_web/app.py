"""The rider's side of the API process: pages, their JSON, live streams and the rails' notifications.

hub = create_hub(dsn, facts)           # started and closed by whoever runs the process
app.include_router(create_router(...))
prepare_app(app)                       # error pages for what no route answers, compression
"""

from collections.abc import Sequence

import structlog
from fastapi import APIRouter, FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response

from billing.rail_calls import RailDesk
from charging.start_codes import CodeDesk
from charging.waits import Waits
from rider_web import (
    assets,
    live_stream,
    pages,
    problems,
    rail_notifications,
    session_pages,
    socket_pages,
)
from rider_web.guarded_route import guarded_route
from rider_web.live_hub import LiveHub
from rider_web.security import SecurityHeaders
from rider_web.service import RiderService
from rider_web.session_facts import FactsReader, SessionFacts

FOR_EVER = "public, max-age=31536000, immutable"
COMPRESS_FROM_BYTES = 600

log = structlog.get_logger()


def create_hub(dsn: str, facts: FactsReader) -> LiveHub[SessionFacts]:
    """The process's one listener for live sessions; a context manager."""
    return LiveHub(dsn, facts.read)


def create_router(
    *,
    desk: RailDesk,
    waits: Waits,
    rail_name: str,
    public_url: str,
    facts: FactsReader,
    hub: LiveHub[SessionFacts],
    payment_origins: Sequence[str] = (),
    codes: CodeDesk | None = None,
    clock_speed: float = 1.0,
) -> APIRouter:
    """Every address of this package.

    `waits` as the desk's clock counts them; `rail_name` is the rail riders pay with; `public_url` is where their
    phones reach us; `payment_origins` are origins besides https that the rail's pay addresses may have; with `codes`
    piles without a link are sold by code; `clock_speed` is how much faster than real time the desk's clock is.
    """
    headers = SecurityHeaders(payment_origins)
    service = RiderService(
        desk=desk,
        waits=waits,
        rail_name=rail_name,
        public_url=public_url,
        facts=facts,
        hub=hub,
        route_class=guarded_route(headers),
        codes=codes,
        clock_speed=clock_speed,
    )
    router = APIRouter()
    for part in (socket_pages, session_pages, live_stream):
        router.include_router(part.create_router(service), responses=problems.DOCUMENTED)
    router.include_router(rail_notifications.create_router(service))
    router.include_router(_assets_router(service))
    return router


def prepare_app(app: FastAPI) -> None:
    """Answer what no route answers with a designed page (or JSON for programs), and compress."""
    headers = SecurityHeaders(())

    def answer_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        language = pages.language_of(request)
        if error.status_code == 405:
            problem = problems.wrong_method(language)
        elif error.status_code == 404:
            problem = problems.page_missing(language)
        else:
            problem = problems.invalid(
                language, field=None, reason=str(error.detail), status=error.status_code
            )
        response = pages.problem_answer(problem, request, language)
        response.headers.update(error.headers or {})
        headers.add_to(response)
        return response

    def answer_failure(request: Request, error: Exception) -> Response:
        log.error("request_failed", path=request.url.path, method=request.method, exc_info=error)
        language = pages.language_of(request)
        response = pages.problem_answer(problems.broken(language), request, language)
        headers.add_to(response)
        return response

    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(Exception, answer_failure)
    app.add_middleware(GZipMiddleware, minimum_size=COMPRESS_FROM_BYTES)


def _assets_router(service: RiderService) -> APIRouter:
    router = APIRouter(route_class=service.route_class)

    @router.get("/assets/{digest}/{name}", include_in_schema=False)
    def asset(digest: str, name: str) -> Response:
        found = assets.find(digest, name)
        if found is None:
            raise HTTPException(404)
        return Response(found.content, media_type=found.media_type, headers={"Cache-Control": FOR_EVER})

    return router
