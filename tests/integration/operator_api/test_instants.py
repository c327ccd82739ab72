"""Instants an operator may name: none that a pile could not be told, or that ends the calendar."""

from uuid import UUID

import pytest

from operator_api import cursors
from operator_api.parameters import EARLIEST, LATEST
from tests.integration.rider_web.street_stand import NOON, PILE, StreetStand

TOO_FAR = (
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "1999-12-31T23:59:59Z",
    "2200-01-01T00:00:01Z",
    "2248-09-26T15:10:22.208Z",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-14:00",
    "2026-01-01T00:00:00",
)
CARD = {"site_id": "yuquan", "number": "0A1B2C3D", "label": "Porter"}


@pytest.mark.parametrize("edge", ["since", "until"])
def test_a_statement_refuses_instants_out_of_reach(stand: StreetStand, edge: str) -> None:
    card_id = stand.operator.post("/cards", json=CARD).json()["card_id"]
    for instant in TOO_FAR:
        refused = stand.operator.get(f"/cards/{card_id}/statement", params={edge: instant})
        assert (refused.status_code, refused.json()["error"]["field"]) == (422, edge), instant
    for instant in (EARLIEST, LATEST):
        params = {edge: instant.isoformat()}
        assert stand.operator.get(f"/cards/{card_id}/statement", params=params).status_code == 200


def test_logs_and_rollouts_refuse_instants_out_of_reach(stand: StreetStand) -> None:
    orders = (
        (f"/piles/{PILE}/log", "since_at"),
        ("/firmware/rollouts", "window_from"),
        ("/firmware/rollouts", "window_to"),
    )
    for path, field in orders:
        for instant in TOO_FAR:
            refused = stand.operator.post(path, json={"release_id": 1, field: instant})
            assert (refused.status_code, refused.json()["error"]["field"]) == (422, field), instant


def test_a_cursor_out_of_reach_is_refused(stand: StreetStand) -> None:
    for instant in (EARLIEST.replace(year=1), LATEST.replace(year=9999), NOON.replace(tzinfo=None)):
        forged = cursors.write_pair(instant, UUID(int=0))
        refused = stand.operator.get("/sessions", params={"cursor": forged})
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "cursor_invalid")
