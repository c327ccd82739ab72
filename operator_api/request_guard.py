"""What happens before a body is read: the operator's token is checked, and no body may be long."""

from collections.abc import Mapping, Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from operator_api import problems
from operator_api.access import TokenRefused, is_bearer

MOST_BODY_BYTES = 64 << 10
"""Of a request without a limit of its own."""
RAILS_PREFIX = "/rails/"
"""Notifications have the same limit of their own, and answer in the rail's form."""


class RequestGuard:
    """Refuses without the token below `prefix` and bodies over MOST_BODY_BYTES anywhere, reading no further.

    `limits` are addresses whose POST may have another number of bytes; None leaves the limit to the endpoint.
    """

    def __init__(self, app: ASGIApp, *, prefix: str, token: str, limits: Mapping[str, int | None]) -> None:
        self._app = app
        self._prefix = prefix
        self._token = token
        self._limits = dict(limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path, headers = scope["path"], Headers(scope=scope)
        operators = path == self._prefix or path.startswith(f"{self._prefix}/")
        if operators and not is_bearer(headers.get("authorization"), self._token):
            await problems.refusal(TokenRefused())(scope, receive, send)
            return
        most_bytes = self._limit(scope["method"], path)
        if most_bytes is None:
            await self._app(scope, receive, send)
            return
        messages = None if _is_declared_long(headers, most_bytes) else await _read(receive, most_bytes)
        if messages is None:
            await problems.too_long(most_bytes)(scope, receive, send)
            return
        await self._app(scope, _replay(messages, receive), send)

    def _limit(self, method: str, path: str) -> int | None:
        if path.startswith(RAILS_PREFIX):
            return None
        return self._limits.get(path, MOST_BODY_BYTES) if method == "POST" else MOST_BODY_BYTES


def _is_declared_long(headers: Headers, most_bytes: int) -> bool:
    length = headers.get("content-length", "0")
    return length.isascii() and length.isdigit() and (len(length) > 12 or int(length) > most_bytes)


async def _read(receive: Receive, most_bytes: int) -> list[Message] | None:
    """The messages of a whole body, or None where it grew too long."""
    messages: list[Message] = []
    size_bytes = 0
    while True:
        message = await receive()
        messages.append(message)
        size_bytes += len(message.get("body", b""))
        if size_bytes > most_bytes:
            return None
        if not message.get("more_body", False):
            return messages


def _replay(messages: Sequence[Message], receive: Receive) -> Receive:
    waiting = iter(messages)

    async def next_message() -> Message:
        message = next(waiting, None)
        return await receive() if message is None else message

    return next_message
