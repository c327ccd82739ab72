"""Requests are counted by the template that answers them, never by their address, and traced when asked."""

import socket
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from uuid import uuid4

import httpx
import pytest
import structlog
import uvicorn
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry

from pileway.telemetry.requests import Loops, RequestMeasures, RequestWatch
from pileway.telemetry.tracing import Tracer
from tests.trace_collector import Collected, collector
from tests.waiting import wait_until

STOP_LIMIT_S = 20.0


class Watched:
    """A small application, watched."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self.measures = RequestMeasures()
        self.loops = Loops()
        self.registry = CollectorRegistry()
        self.registry.register(self.measures)
        app = FastAPI()

        @app.get("/sessions/{session_id}")
        def session(session_id: str) -> PlainTextResponse:
            del session_id
            return PlainTextResponse(str(structlog.contextvars.get_contextvars().get("trace_id")))

        @app.get("/broken")
        def broken() -> None:
            raise RuntimeError("as expected")

        app.add_middleware(
            RequestWatch, name="public", measures=self.measures, loops=self.loops, tracing=tracer
        )
        self.app = app

    def count(self, route: str, status: str, method: str = "GET") -> float:
        labels = {"app": "public", "method": method, "route": route, "status": status}
        return self.registry.get_sample_value("pileway_http_requests_total", labels) or 0.0


@contextmanager
def serving(app: FastAPI) -> Generator[httpx.Client]:
    """A client of the application, served."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        wait_until(lambda: server.started, what="the server")
        with httpx.Client(
            base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", trust_env=False
        ) as client:
            yield client
        server.should_exit = True
        thread.join(STOP_LIMIT_S)
        assert not thread.is_alive()


@pytest.fixture
def collected() -> Iterator[Collected]:
    with collector() as collected:
        yield collected


@pytest.fixture
def watched(collected: Collected) -> Iterator[Watched]:
    tracer = Tracer(collected.endpoint, process="api", instance="api-1", ratio=1.0)
    yield Watched(tracer)
    tracer.close()


def test_requests_count_by_route_and_status(watched: Watched) -> None:
    with serving(watched.app) as client:
        for _ in range(2):
            client.get(f"/sessions/{uuid4()}")
        client.get("/broken")
        client.get(f"/nowhere/{uuid4()}")
        client.request("BREW", "/sessions/1")
        assert watched.loops.check() == {"public": None}
    assert watched.count("/sessions/{session_id}", "200") == 2
    assert watched.count("/broken", "500") == 1
    assert watched.count("none", "404") == 1
    assert watched.count("/sessions/{session_id}", "405", method="other") == 1
    assert watched.registry.get_sample_value("pileway_http_requests_under_way", {"app": "public"}) == 0


def test_a_traced_request_is_named_by_its_route_and_its_log_lines_by_the_trace(
    watched: Watched, collected: Collected
) -> None:
    session_id = str(uuid4())
    with serving(watched.app) as client:
        logged = client.get(f"/sessions/{session_id}").text
    watched.tracer.close()
    [span] = collected.named("GET /sessions/{session_id}")
    assert span.trace_id.hex() == logged
    assert session_id not in str(span)
