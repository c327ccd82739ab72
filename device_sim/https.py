"""HTTPS as a pile speaks it: one authority, a limit on every wait, and no connection left open when the power goes."""

import random
import ssl
from http import HTTPStatus
from typing import Any, Final

import httpx

REQUEST_TIMEOUT_S: Final = 15.0
FIRST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 60.0
TRY_AGAIN: Final = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""Answers after which the same request may succeed later."""

_DOUBLINGS_MAX: Final = 16


def client(trust: ssl.SSLContext) -> httpx.AsyncClient:
    """An HTTP client that trusts only this, ignores the surroundings' proxies and closes what it opened."""
    return httpx.AsyncClient(
        verify=trust, timeout=REQUEST_TIMEOUT_S, trust_env=False, event_hooks={"request": [_watch]}
    )


def retry_s(failed: int, response: httpx.Response | None) -> float:
    """How long to wait after so many failures before this one; ``response`` is the last answer, if there was one."""
    usual_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2 ** min(failed, _DOUBLINGS_MAX))
    asked = "" if response is None else response.headers.get("Retry-After", "")
    asked_s = float(asked) if asked.isascii() and asked.isdigit() else 0.0
    return max(asked_s, usual_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter


async def _watch(request: httpx.Request) -> None:
    request.extensions["trace"] = _Handshake()


class _Handshake:
    """Closes a connection whose TLS handshake is cancelled, which httpcore leaves to the garbage collector."""

    def __init__(self) -> None:
        self._stream: Any = None

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            self._stream = info["return_value"]
        elif event == "connection.start_tls.failed":
            await self._stream.aclose()
