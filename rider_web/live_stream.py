"""Server-sent events of one charge: its state now, then again whenever it changed."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from rider_web import pages, problems, session_view
from rider_web.languages import Language
from rider_web.live_hub import HubFull, Subscription
from rider_web.service import RiderService
from rider_web.session_facts import SessionFacts

HEARTBEAT_S = 15.0
RETRY_MS = 2000
"""How long a browser waits before it connects again."""
LONGEST_STREAM_S = 1800.0
"""Then the browser is told to connect again, so that no stream outlives its reader unnoticed."""


def create_router(service: RiderService) -> APIRouter:
    """The live stream of a session."""
    router = APIRouter(route_class=service.route_class, tags=["Rider"])

    @router.get(
        "/api/rider/sessions/{session_id}/live",
        summary="Server-sent events: `session` with the session as JSON, at most one a second",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}},
    )
    async def live(request: Request, session_id: UUID) -> Response:
        language = pages.language_of(request)
        try:
            watcher = service.hub.subscribe(session_id, asyncio.get_running_loop())
        except HubFull:
            answer = pages.problem_answer(problems.too_many(language), request, language)
            answer.headers["Retry-After"] = "5"
            return answer
        try:
            # Read after subscribing: a change in between is told twice rather than never.
            facts = await run_in_threadpool(service.facts.read_one, session_id)
        except BaseException:
            service.hub.unsubscribe(watcher)
            raise
        return StreamingResponse(
            _events(service, watcher, facts, language),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    return router


async def _events(
    service: RiderService, watcher: Subscription[SessionFacts], first: SessionFacts, language: Language
) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + LONGEST_STREAM_S
    try:
        yield f"retry: {RETRY_MS}\n\n"
        yield _event(first, language)
        while loop.time() < ends_at:
            facts = await watcher.next(timeout_s=HEARTBEAT_S)
            if watcher.closed:
                return
            yield ": alive\n\n" if facts is None else _event(facts, language)
    finally:
        service.hub.unsubscribe(watcher)


def _event(facts: SessionFacts, language: Language) -> str:
    return f"event: session\ndata: {session_view.build(facts, language).model_dump_json()}\n\n"
