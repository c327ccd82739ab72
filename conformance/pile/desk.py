"""The desk: an HTTPS server where piles enrol, which can lose its answers and refuse on order, and fetch firmware."""

import asyncio
import base64
import contextlib
import json
import secrets
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from conformance.pile.authority import Authority, Files, RequestRefused
from protocol import topics
from protocol.envelope import SECRET_BYTES

PATH: Final = "/device/v1/enroll"
FIRMWARE_PATH: Final = "/firmware/"
MAX_REQUEST_BYTES: Final = 16_384
REQUEST_LIMIT_S: Final = 15.0
GOODBYE_LIMIT_S: Final = 1.0
MAX_APPLICATIONS: Final = 1_000

_HEAD_END: Final = b"\r\n\r\n"


@dataclass(frozen=True)
class Application:
    """One request as it came: its JSON fields, headers in lower case, and how it was answered.

    ``status`` 0 means that the answer was made and then lost on the way; ``error`` is the code of a refusal.
    """

    fields: dict[str, Any]
    headers: dict[str, str]
    status: int
    error: str = ""
    epoch: int = 0


@dataclass
class Register:
    """What the desk knows of one pile, and how it will treat its next requests.

    ``spoiled`` is used up from the left, one entry a request: 0 loses the answer, 503 and 429 refuse with that status.
    """

    pile_id: str
    claim_code: str
    broker_url: str
    now_ms: Callable[[], int]
    secrets: dict[int, bytes] = field(default_factory=dict[int, bytes])
    spoiled: deque[int] = field(default_factory=deque[int])
    images: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """Firmware the pile may fetch, by path."""
    applications: list[Application] = field(default_factory=list[Application])
    on_application: Callable[[], None] = lambda: None


class Desk:
    """Enrols the piles in its register. An async context manager that serves while entered."""

    def __init__(self, files: Files, *, host: str, told_host: str) -> None:
        self._files = files
        self._host, self._told_host = host, told_host
        self._authority = Authority(files)
        self._piles: dict[str, Register] = {}

    async def __aenter__(self) -> Self:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self._files.server_certificate, self._files.server_key)
        self._server = await asyncio.start_server(self._serve, self._host, 0, ssl=tls)
        self._port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        """Where piles post."""
        return f"https://{self._told_host}:{self._port}{PATH}"

    def offer(self, pile: Register, image: bytes) -> str:
        """Lay firmware out for a pile; gives its address."""
        path = f"{FIRMWARE_PATH}{pile.pile_id}/{len(pile.images) + 1}"
        pile.images[path] = image
        return f"https://{self._told_host}:{self._port}{path}"

    def register(self, pile: Register) -> None:
        """Take this pile's claim from now on."""
        self._piles[pile.pile_id] = pile

    def forget(self, pile_id: str) -> None:
        """Take no claim of this pile any more."""
        self._piles.pop(pile_id, None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_LIMIT_S):
                answer = self._answer(*await _request(reader))
                if answer is not None:
                    writer.write(answer)
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            await _close(writer)

    def _answer(self, line: str, headers: dict[str, str], body: bytes) -> bytes | None:
        method, path = (*line.split(" "), "", "")[:2]
        if method == "GET" and path.startswith(FIRMWARE_PATH):
            return self._image(path)
        if (method, path) != ("POST", PATH):
            return _refusal(404, "request_invalid")
        try:
            fields: Any = json.loads(body)
        except ValueError:
            return _refusal(400, "request_invalid")
        if fields.__class__ is not dict:
            return _refusal(400, "request_invalid")
        pile = self._piles.get(str(fields.get("pile_id", "")))
        if pile is None:
            return _refusal(403, "claim_refused")
        status = pile.spoiled.popleft() if pile.spoiled else 200
        application, answer = self._judged(pile, fields, headers, status)
        pile.applications.append(application)
        del pile.applications[:-MAX_APPLICATIONS]
        pile.on_application()
        return None if application.status == 0 else answer

    def _image(self, path: str) -> bytes:
        pile = self._piles.get(path.removeprefix(FIRMWARE_PATH).partition("/")[0])
        image = pile.images.get(path) if pile is not None else None
        if image is None:
            return _refusal(404, "request_invalid")
        head = ("HTTP/1.1 200 OK", "Content-Type: application/octet-stream", f"Content-Length: {len(image)}")
        return "\r\n".join([*head, "Connection: close", "", ""]).encode() + image

    def _judged(
        self, pile: Register, fields: dict[str, Any], headers: dict[str, str], status: int
    ) -> tuple[Application, bytes]:
        if status not in (0, 200):
            code = "too_many_attempts" if status == 429 else "unavailable"
            return Application(fields, headers, status, code), _refusal(status, code, retry_after="1")
        if _plain(str(fields.get("claim_code"))) != _plain(pile.claim_code):
            return Application(fields, headers, 403, "claim_refused"), _refusal(403, "claim_refused")
        try:
            chain = self._authority.chain_for(str(fields.get("csr_pem")), pile_id=pile.pile_id)
        except RequestRefused as refused:
            return Application(fields, headers, 400, str(refused)), _refusal(400, "csr_invalid")
        epoch = max(pile.secrets, default=0) + 1
        secret = pile.secrets[epoch] = secrets.token_bytes(SECRET_BYTES)
        answer = {
            "certificate_chain_pem": chain,
            "broker_url": pile.broker_url,
            "broker_ca_pem": self._files.server_ca.read_text(),
            "device_secret": base64.b64encode(secret).decode(),
            "key_epoch": epoch,
            "shard": topics.shard_of(pile.pile_id),
            "time_ms": pile.now_ms(),
            "a_field_of_a_later_version": [1, {"two": None}],
        }
        return Application(fields, headers, status, epoch=epoch), _response(200, "OK", answer)


async def _close(writer: asyncio.StreamWriter) -> None:
    """Say goodbye, and hang up on a pile that does not say it back."""
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(GOODBYE_LIMIT_S):
            await writer.wait_closed()
    writer.transport.abort()


async def _request(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    head = (await reader.readuntil(_HEAD_END)).decode("latin-1")
    line, *rest = head.rstrip().split("\r\n")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (entry.partition(":") for entry in rest)
    }
    length = headers.get("content-length", "")
    size = int(length) if length.isascii() and length.isdigit() else 0
    return line, headers, await reader.readexactly(min(size, MAX_REQUEST_BYTES))


def _refusal(status: int, code: str, *, retry_after: str | None = None) -> bytes:
    words = {"error": {"code": code, "message": "refused by the conformance kit"}}
    return _response(status, "Refused", words, retry_after=retry_after)


def _response(status: int, phrase: str, content: dict[str, Any], *, retry_after: str | None = None) -> bytes:
    body = json.dumps(content).encode()
    headers = [
        f"HTTP/1.1 {status} {phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    if retry_after is not None:
        headers.append(f"Retry-After: {retry_after}")
    return "\r\n".join([*headers, "", ""]).encode() + body


def _plain(code: str) -> str:
    return code.upper().replace("-", "").replace(" ", "")
