"""The operator uploads signed firmware and rolls it out; the number of a card goes in and never comes out."""

import hashlib
import json
from typing import Any

import httpx
import pytest

from charging import timers
from protocol import firmware
from protocol.firmware import Manifest
from tests.integration.rider_web.street_house import MAKER, WAITS
from tests.integration.rider_web.street_stand import PILE, StreetStand

IMAGE = b"firmware " * 200_000


def manifest(image: bytes = IMAGE, *, version: str = "2.0.0", **changed: object) -> str:
    described = Manifest("PW-10", version, "1.0", len(image), hashlib.sha256(image).digest())
    signed: dict[str, object] = {
        **described._asdict(),
        "sha256": described.sha256.hex(),
        "signature": firmware.sign(MAKER, described).hex(),
    }
    return json.dumps(signed | changed)


def upload(stand: StreetStand, words: str, image: bytes = IMAGE) -> httpx.Response:
    return stand.operator.post(
        "/firmware/releases", data={"manifest": words}, files={"image": ("image.bin", image)}
    )


def test_a_signed_image_is_kept_once_and_listed(stand: StreetStand) -> None:
    first = upload(stand, manifest())
    assert first.status_code == 201, first.text
    assert (first.json()["signature_checked"], first.json()["size_bytes"]) == (True, len(IMAGE))
    assert upload(stand, manifest()).json() == first.json()
    assert stand.operator.get("/firmware/releases").json()["releases"] == [first.json()]
    assert stand.operator.get(f"/firmware/releases/{first.json()['release_id']}").json() == first.json()


@pytest.mark.parametrize(
    ("words", "image", "status", "code"),
    [
        (manifest(), IMAGE + b"!", 422, "release_refused"),
        (manifest(), IMAGE[:-1] + b"!", 422, "release_refused"),
        (manifest(signature="00" * 64), IMAGE, 422, "release_refused"),
        (manifest(version="2.0.1", model="PW-12"), IMAGE, 422, "release_refused"),
        (manifest(sha256="xyz"), IMAGE, 422, "invalid_request"),
        ("{", IMAGE, 400, "not_json"),
    ],
)
def test_what_its_maker_did_not_sign_is_refused(
    stand: StreetStand, words: str, image: bytes, status: int, code: str
) -> None:
    refused = upload(stand, words, image)
    assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
    assert stand.operator.get("/firmware/releases").json()["releases"] == []


def test_the_same_version_with_other_bytes_is_refused(stand: StreetStand) -> None:
    upload(stand, manifest()).raise_for_status()
    other = upload(stand, manifest(b"other"), b"other")
    assert (other.status_code, other.json()["error"]["code"]) == (409, "release_exists")


def test_an_upload_without_its_parts_or_its_token_is_refused(stand: StreetStand) -> None:
    lonely = stand.operator.post("/firmware/releases", data={"manifest": manifest()})
    assert (lonely.status_code, lonely.json()["error"]["field"]) == (422, "image")
    assert stand.http.post("/operator/v1/firmware/releases", files={"image": ("x", b"x")}).status_code == 401


def test_a_rollout_is_seen_stage_by_stage_and_can_be_steered(stand: StreetStand) -> None:
    release_id = upload(stand, manifest()).json()["release_id"]
    begun = stand.operator.post("/firmware/rollouts", json={"release_id": release_id, "pile_ids": [PILE]})
    assert begun.status_code == 201, begun.text
    address = f"/firmware/rollouts/{begun.json()['rollout_id']}"
    assert (begun.json()["state"], begun.json()["waiting"]) == ("running", 1)
    sweep(stand)
    seen = stand.operator.get(address).json()
    assert (seen["stage"], seen["stages"][0]["piles"]) == (1, {"told": 1})
    [part] = stand.operator.get(f"{address}/piles").json()["piles"]
    assert (part["pile_id"], part["state"]) == (PILE, "told")
    assert stand.operator.post(f"{address}/pause").json()["state"] == "paused"
    assert stand.operator.post(f"{address}/resume").json()["state"] == "running"
    assert stand.operator.post(f"{address}/abort").json()["state"] == "aborted"
    over = stand.operator.post(f"{address}/pause")
    assert (over.status_code, over.json()["error"]["code"]) == (409, "rollout_over")
    listed = stand.operator.get("/firmware/rollouts", params={"state": "aborted"}).json()
    assert [each["rollout_id"] for each in listed["rollouts"]] == [begun.json()["rollout_id"]]


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"stages_percent": [50, 25]}, "stages_percent"),
        ({"site_id": "wutong", "pile_ids": [PILE]}, "pile_ids"),
    ],
)
def test_a_rollout_that_makes_no_sense_is_refused(
    stand: StreetStand, wanted: dict[str, Any], field: str
) -> None:
    release_id = upload(stand, manifest()).json()["release_id"]
    refused = stand.operator.post("/firmware/rollouts", json={"release_id": release_id, **wanted})
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, field)


def sweep(stand: StreetStand) -> None:
    for step in timers.STEPS:
        with stand.pool.connection() as conn:
            while step(conn, WAITS, stand.clock.now()):
                pass


def test_a_card_is_registered_blocked_and_its_number_never_shown(stand: StreetStand) -> None:
    new = {"site_id": "yuquan", "number": "04A1B2C3", "label": "物业 17"}
    made = stand.operator.post("/cards", json=new)
    assert made.status_code == 201, made.text
    card = made.json()
    assert (card["label"], card["active"], card["rated_fen"]) == ("物业 17", True, 0)
    again = stand.operator.post("/cards", json=new | {"number": "04 a1-b2-c3"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "card_exists")
    blocked = stand.operator.patch(f"/cards/{card['card_id']}", json={"active": False})
    assert blocked.json()["active"] is False
    listed = stand.operator.get("/cards", params={"site_id": "yuquan"})
    statement = stand.operator.get(f"/cards/{card['card_id']}/statement")
    assert [each["card_id"] for each in listed.json()["cards"]] == [card["card_id"]]
    assert (statement.json()["sessions"], statement.json()["rated_fen"]) == ([], 0)
    for answer in (made, again, blocked, listed, statement):
        assert "04A1" not in answer.text.upper().replace(" ", "")


def test_a_card_for_no_site_or_without_a_number_is_refused(stand: StreetStand) -> None:
    nowhere = stand.operator.post("/cards", json={"site_id": "nowhere", "number": "04A1", "label": "x"})
    assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (404, "site_unknown")
    unreadable = stand.operator.post("/cards", json={"site_id": "yuquan", "number": "1", "label": "x"})
    assert (unreadable.status_code, unreadable.json()["error"]["field"]) == (422, "number")
