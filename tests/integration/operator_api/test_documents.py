"""The API documents itself: every operation, parameter and refusal, with nothing from elsewhere."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from operator_api import access
from tests.integration.rider_web.street_stand import StreetStand

METHODS = {"get", "post", "put", "patch", "delete"}


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in METHODS & item.keys():
            yield f"{method.upper()} {path}", item[method]


def test_every_operation_says_what_it_does_and_how_it_refuses(stand: StreetStand) -> None:
    document = stand.http.get("/openapi.json").json()
    names = dict(operations(document))
    assert "GET /operator/v1/sessions/{session_id}" in names
    assert "POST /api/rider/sessions" in names
    assert "POST /rails/{rail}/notify" in names
    for name, operation in names.items():
        assert operation["summary"], name
        assert operation["tags"], name
        if name.startswith("POST /rails") or "/live" in name:
            continue
        refusal = operation["responses"]["422"]["content"]["application/json"]["schema"]
        assert refusal == {"$ref": "#/components/schemas/ErrorBody"} or "ErrorBody" in refusal["$ref"], name
        for parameter in operation.get("parameters", []):
            path_id = parameter["in"] == "path" and parameter["name"] == "session_id"
            assert path_id or parameter.get("description"), (name, parameter["name"])


def test_only_the_operators_part_asks_for_the_token(stand: StreetStand) -> None:
    for name, operation in operations(stand.http.get("/openapi.json").json()):
        assert bool(operation.get("security")) == ("/operator/v1/" in name), name


def test_every_amount_and_quantity_says_its_unit(stand: StreetStand) -> None:
    document = stand.http.get("/openapi.json").json()
    for name, schema in document["components"]["schemas"].items():
        for field, facts in schema.get("properties", {}).items():
            if re.search(r"_(fen|wh|w|v|a|dbm)$", field):
                assert facts.get("description"), f"{name}.{field}"


def test_the_documents_page_loads_nothing_from_elsewhere(stand: StreetStand) -> None:
    page = stand.http.get("/docs")
    assert page.status_code == 200
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert [address for address in loaded if not address.startswith(("/docs/", "data:"))] == []
    for address in loaded:
        if address.startswith("/"):
            assert stand.http.get(address).status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert stand.http.get("/docs/redoc.standalone.js").status_code == 404


def test_an_extension_says_that_it_may_still_be_under_way(stand: StreetStand) -> None:
    names = dict(operations(stand.http.get("/openapi.json").json()))
    answers = names["POST /operator/v1/sessions/{session_id}/extend"]["responses"]
    assert {"200", "202", "404", "409"} <= set(answers)


def test_a_short_token_is_no_token() -> None:
    with pytest.raises(ValueError, match="at least 16 characters"):
        access.required("short")
