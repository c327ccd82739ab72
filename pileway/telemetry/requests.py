"""Counts and times the requests of a web application, and has them traced; the outermost thing around it."""

import asyncio
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus
from time import monotonic
from typing import Protocol

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NO_ROUTE = "none"
"""For what no route answers, and for what is refused before one is sought."""
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LOOP_WAIT_S = 5.0
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestSpan(Protocol):
    """A request that is traced."""

    def ended(self, *, method: str, route: str, status: int) -> None:
        """The answer has begun, or will never."""
        ...


class RequestTracing(Protocol):
    """Who tells a tracing system."""

    def request(self, method: str) -> AbstractContextManager[RequestSpan]:
        """A request, from its first byte to its last."""
        ...


class RequestMeasures:
    """What the applications of one process count; a collector."""

    def __init__(self) -> None:
        self.requests = Counter(
            "pileway_http_requests",
            "Requests answered, by application, route template and status; 500 where the answer never began.",
            ["app", "method", "route", "status"],
            registry=None,
        )
        self.seconds = Histogram(
            "pileway_http_request_seconds",
            "Time until the answer began; streams and long polls go on after that.",
            ["app", "method", "route"],
            buckets=BOUNDS_S,
            registry=None,
        )
        self.under_way = Gauge(
            "pileway_http_requests_under_way",
            "Requests not ended yet, streams included.",
            ["app"],
            registry=None,
        )

    def collect(self) -> Iterable[Metric]:
        """All of them."""
        for part in (self.requests, self.seconds, self.under_way):
            yield from part.collect()


class Loops:
    """The event loops of a process's applications, and whether they still turn."""

    def __init__(self) -> None:
        self._loops: dict[str, asyncio.AbstractEventLoop] = {}

    def note(self, name: str) -> None:
        """Called in a loop, which is known by this name from now on."""
        self._loops[name] = asyncio.get_running_loop()

    def check(self) -> dict[str, str | None]:
        """Have each loop do something."""
        return {name: _turns(loop) for name, loop in self._loops.copy().items()}


class RequestWatch:
    """ASGI middleware, to be added last."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        name: str,
        measures: RequestMeasures,
        loops: Loops,
        tracing: RequestTracing | None = None,
    ) -> None:
        self._app = app
        self._name = name
        self._measures = measures
        self._loops = loops
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let everything through."""
        if scope["type"] == "lifespan":
            self._loops.note(self._name)
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _METHODS else "other"
        traced = nullcontext() if self._tracing is None else self._tracing.request(method)
        with self._measures.under_way.labels(self._name).track_inprogress(), traced as span:
            await self._answer(method, span, scope, receive, send)

    async def _answer(
        self, method: str, span: RequestSpan | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        began_s = monotonic()
        status = 0

        def note() -> None:
            route = _route(scope)
            self._measures.requests.labels(self._name, method, route, str(status)).inc()
            self._measures.seconds.labels(self._name, method, route).observe(monotonic() - began_s)
            if span is not None:
                span.ended(method=method, route=route, status=status)

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                note()
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            if not status:
                status = HTTPStatus.INTERNAL_SERVER_ERROR
                note()


def _route(scope: Scope) -> str:
    """The template a request was routed by, never its address, which may name a session."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else NO_ROUTE


def _turns(loop: asyncio.AbstractEventLoop) -> str | None:
    if loop.is_closed():
        return "is closed"
    did = asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop)
    try:
        did.result(LOOP_WAIT_S)
    except TimeoutError:
        did.cancel()
        return f"did not turn within {LOOP_WAIT_S:g} s"
    return None
