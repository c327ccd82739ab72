"""Serves web applications with uvicorn until the process is told to stop.

Each server runs in a thread of its own, where uvicorn leaves the signals alone: one stop ends all of them.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from pileway.client_certificates import ClientCertificateProtocol
from pileway.errors import PilewayError
from pileway.process import stop_event, tell_ready

SHUTDOWN_S = 3
"""Longest an open request may go on once we stop."""
KEEP_ALIVE_S = 30
CONNECTIONS_AT_ONCE = 4000
"""Connections a listener; beyond that it answers 503. Watchers alone must never fill it: riders who pay need room."""
BACKLOG = 512
_POLL_S = 0.05
_START_LIMIT_S = 30.0


class PortUnavailable(PilewayError):
    """The port is taken or may not be used."""


class ServerFailed(PilewayError):
    """An application did not start, or ended by itself."""


@dataclass(frozen=True, kw_only=True)
class Listener:
    """One application on one port; HTTPS with a certificate and its key.

    With `client_authority` a client may present a certificate, which that authority must have signed; requests
    carry it in their scope.
    """

    app: FastAPI
    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None
    client_authority: Path | None = None


@dataclass(frozen=True)
class _Running:
    server: uvicorn.Server
    thread: threading.Thread


def serve(
    listeners: Sequence[Listener],
    *,
    on_ready: Callable[[], None] = lambda: None,
    on_stop: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT, then call `on_stop`, which ends what would keep requests open.

    `on_ready` is called once all of them listen. Raises PortUnavailable, ServerFailed.
    """
    stop = stop_event()
    sockets = [_bind(listener) for listener in listeners]
    running = [_start(listener, bound) for listener, bound in zip(listeners, sockets, strict=True)]
    try:
        _wait_started(running, stop)
        on_ready()
        tell_ready()
        while not stop.wait(_POLL_S):
            if not all(each.thread.is_alive() for each in running):
                raise ServerFailed("the web server ended by itself")
    finally:
        on_stop()
        for each in running:
            each.server.should_exit = True
        for each in running:
            each.thread.join(SHUTDOWN_S * 2)


def _bind(listener: Listener) -> socket.socket:
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((listener.host, listener.port))
    except OSError as error:
        bound.close()
        raise PortUnavailable(f"cannot listen on {listener.host}:{listener.port}: {error.strerror}") from None
    return bound


def _start(listener: Listener, bound: socket.socket) -> _Running:
    config = uvicorn.Config(
        listener.app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=True,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
        limit_concurrency=CONNECTIONS_AT_ONCE,
        backlog=BACKLOG,
        ssl_certfile=listener.certificate,
        ssl_keyfile=listener.key,
        ssl_ca_certs=listener.client_authority,
        ssl_cert_reqs=ssl.CERT_NONE if listener.client_authority is None else ssl.CERT_OPTIONAL,
        http="auto" if listener.client_authority is None else ClientCertificateProtocol,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([bound],), name=f"web-{listener.port}", daemon=True)
    thread.start()
    return _Running(server, thread)


def _wait_started(running: Sequence[_Running], stop: threading.Event) -> None:
    waited_s = 0.0
    while not all(each.server.started for each in running) and not stop.is_set():
        if waited_s > _START_LIMIT_S or not all(each.thread.is_alive() for each in running):
            raise ServerFailed("the web server did not start")
        stop.wait(_POLL_S)
        waited_s += _POLL_S
