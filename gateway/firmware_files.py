"""Where piles fetch firmware: an image by the SHA-256 of its bytes, whole or a range of it.

The address names the content, so an answer is good for ever; what makes an image firmware is its maker's signature,
which the pile checks.
"""

import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Path, Response
from fastapi.responses import StreamingResponse
from psycopg_pool import ConnectionPool

from charging import firmware_releases
from charging.firmware_releases import PART_BYTES, Image
from database.pool import Connection
from gateway.device_routes import DeviceRoute

FOR_EVER = "public, max-age=31536000, immutable"
_RANGE = re.compile(r"bytes=(\d{0,9})-(\d{0,9})")


def image_path(sha256: bytes) -> str:
    """The path of an image below the device server's address."""
    return f"/device/v1/firmware/{sha256.hex()}"


def router(pool: ConnectionPool[Connection]) -> APIRouter:
    """The device-facing route for images."""
    routes = APIRouter(prefix="/device/v1", tags=["device"], route_class=DeviceRoute)

    def firmware(
        sha256: Annotated[str, Path(pattern="^[0-9a-f]{64}$")],
        asked: Annotated[str | None, Header(alias="Range", max_length=64)] = None,
    ) -> Response:
        """An image; `Range` asks for a part of it, so that a broken download goes on where it broke."""
        with pool.connection() as conn:
            image = firmware_releases.find_image(conn, bytes.fromhex(sha256))
        if image is None:
            return Response(status_code=HTTPStatus.NOT_FOUND)
        return _answer(pool, image, asked)

    routes.add_api_route("/firmware/{sha256}", firmware, methods=["GET"], response_class=Response)
    return routes


def _answer(pool: ConnectionPool[Connection], image: Image, asked: str | None) -> Response:
    headers = {"Accept-Ranges": "bytes", "Cache-Control": FOR_EVER, "ETag": f'"{image.sha256.hex()}"'}
    span = range(image.size_bytes)
    status = HTTPStatus.OK
    if asked is not None and (match := _RANGE.fullmatch(asked.strip())) is not None:
        span = _span(match[1], match[2], image.size_bytes)
        if not span:
            headers["Content-Range"] = f"bytes */{image.size_bytes}"
            return Response(status_code=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=headers)
        status = HTTPStatus.PARTIAL_CONTENT
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{image.size_bytes}"
    headers["Content-Length"] = str(len(span))
    return StreamingResponse(
        _bytes(pool, image, span), status, headers=headers, media_type="application/octet-stream"
    )


def _span(first: str, last: str, size_bytes: int) -> range:
    """The bytes a range asks for; empty for one outside the image. Without a first byte it means the last so many."""
    if not first:
        return range(max(0, size_bytes - int(last or "0")), size_bytes)
    return range(int(first), min(size_bytes, int(last) + 1 if last else size_bytes))


def _bytes(pool: ConnectionPool[Connection], image: Image, span: range) -> Iterator[bytes]:
    """The bytes of a span, part by part; no connection is held while the pile reads."""
    for part_no in range(span.start // PART_BYTES, (span.stop - 1) // PART_BYTES + 1):
        begin = part_no * PART_BYTES
        with pool.connection() as conn:
            part = firmware_releases.read_part(conn, image.sha256, part_no)
        yield part[max(0, span.start - begin) : span.stop - begin]
