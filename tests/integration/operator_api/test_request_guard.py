"""Before a body is read: the operator's token is checked, and long bodies are refused unread."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from operator_api.firmware_models import MOST_PILES_NAMED
from operator_api.request_guard import MOST_BODY_BYTES
from tests.integration.rider_web.street_house import TOKEN
from tests.integration.rider_web.street_stand import PILE, StreetStand

ORDER = f"/operator/v1/piles/{PILE}/voice"
UPLOAD = "/operator/v1/firmware/releases"
DECLARED = f"Content-Length: {60 << 20}"
CHUNKED = "Transfer-Encoding: chunked"


def first_line(stand: StreetStand, path: str, *headers: str, body: bytes = b"") -> str:
    """What a request is answered of which no more than `body` ever arrives."""
    address = urlsplit(stand.url)
    head = (f"POST {path} HTTP/1.1", "Host: test", "Content-Type: application/json", *headers, "", "")
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=5) as connection:
        connection.sendall("\r\n".join(head).encode() + body)
        return connection.makefile("rb").readline().decode()


@pytest.mark.parametrize("path", [ORDER, UPLOAD, "/operator/v1/nothing"])
@pytest.mark.parametrize("length", [DECLARED, CHUNKED])
def test_without_the_token_no_body_is_waited_for(stand: StreetStand, path: str, length: str) -> None:
    assert " 401 " in first_line(stand, path, length)


@pytest.mark.parametrize("path", [ORDER, "/api/rider/sessions"])
def test_a_long_body_is_refused_unread(stand: StreetStand, path: str) -> None:
    bearer = f"Authorization: Bearer {TOKEN}"
    assert " 413 " in first_line(stand, path, bearer, DECLARED)
    size_bytes = MOST_BODY_BYTES + 1
    chunk = b"%x\r\n" % size_bytes + b" " * size_bytes + b"\r\n"
    assert " 413 " in first_line(stand, path, bearer, CHUNKED, body=chunk)


def test_the_refusal_says_what_was_wrong(stand: StreetStand) -> None:
    refused = stand.operator.post(f"/piles/{PILE}/voice", content=b" " * (MOST_BODY_BYTES + 1))
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "body_too_long")
    assert refused.headers["cache-control"] == "no-store"


def test_a_body_as_long_as_may_be_is_read(stand: StreetStand) -> None:
    words = b'{"topic": "status"}'
    padding = b" " * (MOST_BODY_BYTES - len(words))

    def pieces() -> Iterator[bytes]:
        yield words
        yield padding

    for content in (words + padding, pieces()):
        asked = stand.operator.post(
            f"/piles/{PILE}/query", content=content, headers={"Content-Type": "application/json"}
        )
        assert asked.status_code == 202, asked.text


def test_an_upload_is_held_to_its_own_limit(stand: StreetStand) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    image = b"x" * (2 * MOST_BODY_BYTES)
    answer = stand.http.post(UPLOAD, headers=bearer, files={"image": ("image.bin", image)})
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "manifest")
    assert " 422 " in first_line(stand, UPLOAD, f"Authorization: Bearer {TOKEN}", CHUNKED)


def test_a_rollout_may_name_as_many_piles_as_its_schema_allows(stand: StreetStand) -> None:
    named = {"release_id": 1, "pile_ids": [f"{no:064}" for no in range(MOST_PILES_NAMED)]}
    unknown = stand.operator.post("/firmware/rollouts", json=named)
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "release_unknown")
