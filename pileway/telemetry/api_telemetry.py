"""What the API process shows of itself: its requests, its live watchers, its event loops and its database."""

from collections.abc import Callable, Iterable
from threading import Event

from fastapi import FastAPI
from prometheus_client.core import Metric
from psycopg_pool import ConnectionPool

from database.pool import Connection
from pileway.settings import Settings
from pileway.telemetry import families, registry
from pileway.telemetry.readiness import DatabaseCheck
from pileway.telemetry.requests import Loops, RequestMeasures, RequestTracing, RequestWatch
from pileway.telemetry.server import Checks, OpsServer

NOT_SERVING = "starts or stops"


class ApiTelemetry:
    """Watches the process's applications."""

    def __init__(self, *, live_watchers: Callable[[], int], tracing: RequestTracing | None) -> None:
        self._live_watchers = live_watchers
        self._tracing = tracing
        self._measures = RequestMeasures()
        self._loops = Loops()
        self.serving = Event()
        """Set while every port takes requests: not before the servers listen, and not while they drain."""

    def watch(self, app: FastAPI, name: str) -> FastAPI:
        """The application, watched; nothing may be put around it afterwards."""
        app.add_middleware(
            RequestWatch, name=name, measures=self._measures, loops=self._loops, tracing=self._tracing
        )
        return app

    def server(self, settings: Settings, pool: ConnectionPool[Connection]) -> OpsServer:
        """Where the process shows itself."""
        database = DatabaseCheck(pool)

        def ready() -> Checks:
            return {**database(), "serving": None if self.serving.is_set() else NOT_SERVING}

        return OpsServer(
            settings,
            "api",
            registry=registry.create(pool, self._measures, self),
            health=self._loops.check,
            ready=ready,
        )

    def collect(self) -> Iterable[Metric]:
        """What is no request."""
        yield families.gauge(
            "pileway_live_watchers", "Pages that watch a session live.", self._live_watchers()
        )
