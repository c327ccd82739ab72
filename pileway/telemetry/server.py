"""Serves `/metrics`, `/health` and `/ready` of a process on a private address, in threads of its own.

`/health` says whether the process's own loops turn: if not, it should be restarted. `/ready` says whether what it
serves with is there: if not, it should be spared work, and a restart would not help. Both are JSON with a reason for
each thing that is wrong, and answer 503 when anything is. No secret, payload or person is in any of them.
"""

import json
import socket
import sys
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from threading import BoundedSemaphore, Thread
from time import monotonic
from types import TracebackType

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from pileway.settings import Settings

PORT_AFTER_FIRST = {"gateway": 0, "api": 1, "worker": 2}
"""Each process's port, counted from PILEWAY_METRICS_PORT."""
REQUEST_LIMIT_S = 5.0
"""How long a client may take to say what it wants, or to take the answer."""
REQUESTS_AT_ONCE = 8
LOOP_LIMIT_S = 120.0
"""A loop that has not turned for so long is stuck: none waits longer for anything."""

Checks = Mapping[str, str | None]
"""What was looked at: None where it is well, else the reason it is not."""

log = structlog.get_logger()


def turning(loops: Mapping[str, float], *, database: Callable[[], Checks] | None = None) -> Checks:
    """Whether loops turn, by when each last did, in seconds of the monotonic clock.

    While `database` does not answer, a loop that stands still waits for it, and counts as well: a restart would not
    help.
    """
    now_s = monotonic()
    checks = {
        name: None if now_s - turned_s < LOOP_LIMIT_S else f"has not turned for {now_s - turned_s:.0f} s"
        for name, turned_s in loops.items()
    }
    if database is not None and any(checks.values()) and database().get("database"):
        return dict.fromkeys(checks)
    return checks


def port_of(settings: Settings, process: str) -> int:
    """Where a process shows itself; 0 where it does not."""
    return settings.metrics_port + PORT_AFTER_FIRST[process] if settings.metrics_port else 0


class OpsServer:
    """A context manager. A port that is taken is an error in the log, and the process works on without."""

    def __init__(
        self,
        settings: Settings,
        process: str,
        *,
        registry: CollectorRegistry,
        health: Callable[[], Checks],
        ready: Callable[[], Checks],
    ) -> None:
        self._process = process
        self._address = (settings.metrics_host, port_of(settings, process))
        self._registry = registry
        self._checks = {"/health": health, "/ready": ready}
        self._server: _Server | None = None
        self._thread: Thread | None = None

    @property
    def port(self) -> int:
        """Where it listens; 0 where it does not."""
        return 0 if self._server is None else int(self._server.server_address[1])

    def __enter__(self) -> "OpsServer":
        host, port = self._address
        if not port:
            return self
        try:
            self._server = _Server(self._address, self._answer)
        except OSError as error:
            log.error("metrics_not_served", host=host, port=port, reason=error.strerror)
            return self
        self._thread = Thread(target=self._server.serve_forever, name="ops", daemon=True)
        self._thread.start()
        log.info("metrics_served", host=host, port=self.port)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(REQUEST_LIMIT_S)

    def _answer(self, path: str, accept: str) -> "_Answer":
        try:
            return self._found(path, accept)
        except Exception as error:  # noqa: BLE001 - outermost line: who asks is to be told, whatever a collector does
            log.warning("metrics_request_failed", path=path, error=type(error).__name__)
            return _json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": type(error).__name__})

    def _found(self, path: str, accept: str) -> "_Answer":
        if path == "/metrics":
            encode, content_type = choose_encoder(accept)
            return _Answer(HTTPStatus.OK, content_type, encode(self._registry))
        check = self._checks.get(path)
        if check is None:
            return _json(HTTPStatus.NOT_FOUND, {"error": "there are /metrics, /health and /ready"})
        checks = check()
        well = not any(checks.values())
        return _json(
            HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE,
            {
                "process": self._process,
                "ok": well,
                "checks": {name: reason or "ok" for name, reason in checks.items()},
            },
        )


class _Answer:
    def __init__(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.status = status
        self.content_type = content_type
        self.body = body


def _json(status: HTTPStatus, content: object) -> _Answer:
    return _Answer(status, "application/json", json.dumps(content).encode() + b"\n")


class _Server(ThreadingMixIn, TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 16

    def __init__(self, address: tuple[str, int], answer: Callable[[str, str], _Answer]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.answer = answer
        self._room = BoundedSemaphore(REQUESTS_AT_ONCE)
        super().__init__(address, _Handler)

    def process_request(
        self, request: "socket.socket | tuple[bytes, socket.socket]", client_address: object
    ) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(
        self, request: "socket.socket | tuple[bytes, socket.socket]", client_address: object
    ) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the base's
        error = sys.exception()
        # A scraper that went away; its address and our trace are nothing for the log.
        tell = log.debug if isinstance(error, OSError) else log.warning
        tell("metrics_client_failed", error=type(error).__name__)


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_LIMIT_S

    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)
        answer = self.server.answer(self.path.partition("?")[0], self.headers.get("Accept", ""))
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(answer.body)

    def version_string(self) -> str:
        return "pileway"

    def log_message(self, format: str, *args: object) -> None:  # noqa: ARG002 - the base's
        return
