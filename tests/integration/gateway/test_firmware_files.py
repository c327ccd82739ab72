"""Piles fetch images by their hash: whole, from where they stopped, and never anything that is no release."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest
from fastapi import FastAPI
from psycopg_pool import ConnectionPool

from charging import firmware_releases
from charging.firmware_releases import PART_BYTES, Manifest
from database.pool import Connection
from gateway import firmware_files
from tests.integration.rider_web.street_house import listen, serving, url_of

IMAGE = bytes(range(251)) * 9000
SHA256 = hashlib.sha256(IMAGE).digest()


@pytest.fixture
def pile(pool: ConnectionPool[Connection]) -> Iterator[httpx.Client]:
    """A pile's HTTP client before a server with one release."""
    with pool.connection() as conn:
        firmware_releases.publish(
            conn,
            Manifest("PW-10", "2.0", "1.0", len(IMAGE), SHA256),
            b"s" * 64,
            [IMAGE],
            is_genuine=None,
            now=datetime.now(UTC),
        )
    app = FastAPI()
    app.include_router(firmware_files.router(pool))
    listener = listen()
    with listener, serving(app, listener), httpx.Client(base_url=url_of(listener), timeout=10) as client:
        yield client


def test_an_image_comes_whole_with_its_length_and_for_ever(pile: httpx.Client) -> None:
    answer = pile.get(firmware_files.image_path(SHA256))
    assert answer.status_code == 200
    assert answer.content == IMAGE
    assert answer.headers["content-length"] == str(len(IMAGE))
    assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize(
    ("asked", "span"),
    [
        ("bytes=0-99", slice(0, 100)),
        (f"bytes={PART_BYTES - 3}-{PART_BYTES + 3}", slice(PART_BYTES - 3, PART_BYTES + 4)),
        (f"bytes={PART_BYTES}-", slice(PART_BYTES, None)),
        ("bytes=-10", slice(-10, None)),
        ("bytes=0-999999999", slice(0, None)),
    ],
)
def test_a_range_goes_on_where_a_download_broke(pile: httpx.Client, asked: str, span: slice) -> None:
    answer = pile.get(firmware_files.image_path(SHA256), headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == IMAGE[span]
    first = range(len(IMAGE))[span].start
    last = first + len(IMAGE[span]) - 1
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(IMAGE)}"


@pytest.mark.parametrize("asked", ["bytes=999999999-", "bytes=9-3", "bytes=-0", "bytes=-"])
def test_a_range_outside_the_image_is_refused(pile: httpx.Client, asked: str) -> None:
    answer = pile.get(firmware_files.image_path(SHA256), headers={"Range": asked})
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(IMAGE)}")


def test_what_is_no_release_is_not_there(pile: httpx.Client) -> None:
    assert pile.get(firmware_files.image_path(b"\x00" * 32)).status_code == 404
    assert pile.get("/device/v1/firmware/no-hash").status_code == 400
