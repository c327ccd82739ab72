"""The desk: an HTTPS server where piles enrol and renew, which loses its answers on order, and fetch firmware."""

import asyncio
import base64
import contextlib
import json
import secrets
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from conformance.pile.authority import YOUNG, Authority, Files, Issued, Life, RequestRefused
from conformance.pile.tap import common_name, serial_of
from protocol import topics
from protocol.envelope import SECRET_BYTES

PATH: Final = "/device/v1/enroll"
RENEWAL_PATH: Final = "/device/v1/renew"
FIRMWARE_PATH: Final = "/firmware/"
MAX_REQUEST_BYTES: Final = 16_384
REQUEST_LIMIT_S: Final = 15.0
GOODBYE_LIMIT_S: Final = 1.0
MAX_APPLICATIONS: Final = 1_000

LOST: Final = 0
OTHER_KEY: Final = -1
"""Treatments beside the HTTP statuses: the answer is lost on the way, or its certificate is for another key."""

_CODES: Final = {403: "certificate_refused", 429: "too_many_attempts", 503: "unavailable"}
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
    presented: int | None = None
    """Serial number of the certificate it came with."""
    issued: int | None = None
    """Serial number of the certificate that was made for it."""
    at_s: float = field(default_factory=time.monotonic)


@dataclass
class Renewals:
    """How a pile's certificate is renewed. ``spoiled`` is used up from the left; then ``held`` decides, while set.

    ``life`` is what the next certificate will have; ``good`` are the serial numbers a pile may come with.
    """

    life: Life = YOUNG
    held: int | None = None
    spoiled: deque[int] = field(default_factory=deque[int])
    requests: list[Application] = field(default_factory=list[Application])
    good: tuple[int, ...] = ()

    def treatment(self) -> int:
        """What becomes of the next request."""
        if self.spoiled:
            return self.spoiled.popleft()
        return 200 if self.held is None else self.held

    def granted(self) -> list[int]:
        """The serial numbers of the certificates whose answer was sent whole, oldest first."""
        return [asked.issued for asked in self.requests if asked.status == 200 and asked.issued is not None]


@dataclass
class Register:
    """What the desk knows of one pile, and how it will treat its next requests.

    ``spoiled`` is used up from the left, one entry a request: LOST loses the answer, 503 and 429 refuse with that
    status, asking to wait ``retry_after_s``. ``life`` is that of the certificates enrolment gives.
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
    retry_after_s: int = 1
    life: Life = YOUNG
    renewals: Renewals = field(default_factory=Renewals)
    on_application: Callable[[], None] = lambda: None


class Desk:
    """Enrols the piles in its register, and renews. An async context manager that serves while entered."""

    def __init__(self, files: Files, *, host: str, told_host: str) -> None:
        self._files = files
        self._host, self._told_host = host, told_host
        self._authority = Authority(files)
        self._piles: dict[str, Register] = {}

    async def __aenter__(self) -> Self:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self._files.server_certificate, self._files.server_key)
        tls.load_verify_locations(self._files.device_ca)
        tls.verify_mode = ssl.CERT_OPTIONAL
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
                answer = self._answer(writer.get_extra_info("ssl_object"), *await _request(reader))
                if answer is not None:
                    writer.write(answer)
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            await _close(writer)

    def _answer(self, link: ssl.SSLObject, line: str, headers: dict[str, str], body: bytes) -> bytes | None:
        method, path = (*line.split(" "), "", "")[:2]
        if method == "GET" and path.startswith(FIRMWARE_PATH):
            return self._image(path)
        if method != "POST" or path not in (PATH, RENEWAL_PATH):
            return _refusal(404, "request_invalid")
        try:
            fields: Any = json.loads(body)
        except ValueError:
            return _refusal(400, "request_invalid")
        if fields.__class__ is not dict:
            return _refusal(400, "request_invalid")
        if path == RENEWAL_PATH:
            return self._renewed(link, fields, headers)
        pile = self._piles.get(str(fields.get("pile_id", "")))
        if pile is None:
            return _refusal(403, "claim_refused")
        status = pile.spoiled.popleft() if pile.spoiled else 200
        return _noted(pile, pile.applications, *self._judged(pile, fields, headers, status))

    def _renewed(self, link: ssl.SSLObject, fields: dict[str, Any], headers: dict[str, str]) -> bytes | None:
        pile = self._piles.get(common_name(link))
        if pile is None:
            return _refusal(401, "certificate_required")
        renewals, presented = pile.renewals, serial_of(link)
        status = renewals.treatment() if presented in renewals.good else 403
        application, answer = self._renewal(pile, fields, headers, status, presented)
        if presented is not None and application.issued is not None and status != OTHER_KEY:
            # What was given before the one it came with is good no more.
            renewals.good = (*renewals.good[renewals.good.index(presented) :], application.issued)
        return _noted(pile, renewals.requests, application, answer)

    def _renewal(
        self,
        pile: Register,
        fields: dict[str, Any],
        headers: dict[str, str],
        status: int,
        presented: int | None,
    ) -> tuple[Application, bytes]:
        if status in _CODES:
            refused = Application(fields, headers, status, _CODES[status], presented=presented)
            return refused, _refusal(status, _CODES[status], retry_after=pile.retry_after_s)
        try:
            issued = self._authority.issue(
                str(fields.get("csr_pem")), pile_id=pile.pile_id, life=pile.renewals.life
            )
        except RequestRefused as why:
            refused = Application(fields, headers, 400, str(why), presented=presented)
            return refused, _refusal(400, "csr_invalid")
        if status == OTHER_KEY:
            issued = self._authority.issue_for_another_key(pile_id=pile.pile_id)
        granted = Application(fields, headers, status, presented=presented, issued=issued.serial)
        return granted, _response(200, "OK", self._certificate(pile, issued))

    def _certificate(self, pile: Register, issued: Issued) -> dict[str, Any]:
        return {
            "certificate_chain_pem": issued.chain_pem,
            "broker_url": pile.broker_url,
            "broker_ca_pem": self._files.server_ca.read_text(),
            "shard": topics.shard_of(pile.pile_id),
            "time_ms": pile.now_ms(),
            "a_field_of_a_later_version": [1, {"two": None}],
        }

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
            refusal = _refusal(status, code, retry_after=pile.retry_after_s)
            return Application(fields, headers, status, code), refusal
        if _plain(str(fields.get("claim_code"))) != _plain(pile.claim_code):
            return Application(fields, headers, 403, "claim_refused"), _refusal(403, "claim_refused")
        try:
            issued = self._authority.issue(str(fields.get("csr_pem")), pile_id=pile.pile_id, life=pile.life)
        except RequestRefused as refused:
            return Application(fields, headers, 400, str(refused)), _refusal(400, "csr_invalid")
        epoch = max(pile.secrets, default=0) + 1
        secret = pile.secrets[epoch] = secrets.token_bytes(SECRET_BYTES)
        answer = self._certificate(pile, issued) | {
            "device_secret": base64.b64encode(secret).decode(),
            "key_epoch": epoch,
        }
        pile.renewals.good = (issued.serial,)
        application = Application(fields, headers, status, epoch=epoch, issued=issued.serial)
        return application, _response(200, "OK", answer)


def _noted(pile: Register, book: list[Application], application: Application, answer: bytes) -> bytes | None:
    """Write a request down; gives its answer unless that is to be lost."""
    book.append(application)
    del book[:-MAX_APPLICATIONS]
    pile.on_application()
    return None if application.status == LOST else answer


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


def _refusal(status: int, code: str, *, retry_after: int | None = None) -> bytes:
    words = {"error": {"code": code, "message": "refused by the conformance kit"}}
    return _response(status, "Refused", words, retry_after=retry_after)


def _response(status: int, phrase: str, content: dict[str, Any], *, retry_after: int | None = None) -> bytes:
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
