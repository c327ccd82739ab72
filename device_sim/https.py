"""HTTPS as a pile speaks it: one authority, a limit on every wait, and no connection left open when the power goes."""

import ssl
from typing import Any, Final

import httpx

REQUEST_TIMEOUT_S: Final = 15.0


def client(trust: ssl.SSLContext) -> httpx.AsyncClient:
    """An HTTP client that trusts only this, ignores the surroundings' proxies and closes what it opened."""
    return httpx.AsyncClient(
        verify=trust, timeout=REQUEST_TIMEOUT_S, trust_env=False, event_hooks={"request": [_watch]}
    )


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
