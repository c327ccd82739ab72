"""The operator sees which refunds are stuck, and why."""

from typing import Any

from tests.integration.rider_web.street_stand import StreetStand
from tests.waiting import wait_until


def _listed(stand: StreetStand, **query: str) -> dict[str, Any]:
    return stand.operator.get("/refunds", params=query).raise_for_status().json()


def _settled(stand: StreetStand, port_no: int) -> str:
    session_id = stand.charging(port_no=port_no)
    stand.meter(session_id, minutes=30)
    stand.settle(session_id)
    return str(session_id)


def test_a_stuck_refund_is_listed_with_what_is_owed_and_why(stand: StreetStand) -> None:
    stand.http.put(
        f"{stand.pay_url}/sim/faults", json={"refund_outcome": "ABNORMAL", "refund_delay_s": 0}
    ).raise_for_status()
    stuck = stand.charging(port_no=1)
    stand.meter(stuck, minutes=30)
    stand.settle(stuck)
    waiting = _settled(stand, 2)
    stand.send_refunds(stuck)
    wait_until(lambda: len(_listed(stand, state="abnormal")["refunds"]) == 1, what="the abnormal refund")
    [row] = _listed(stand, state="abnormal")["refunds"]
    charge = stand.operator.get(f"/sessions/{stuck}").json()["charge"]
    assert (row["session_id"], row["amount_fen"]) == (str(stuck), charge["refund_fen"])
    assert (row["state"], row["attempts"], row["last_error"]) == ("abnormal", 1, "abnormal")
    assert [each["session_id"] for each in _listed(stand, state="requested")["refunds"]] == [waiting]


def test_refunds_page_longest_waiting_first_and_each_comes_once(stand: StreetStand) -> None:
    settled = [_settled(stand, port_no) for port_no in range(1, 4)]
    seen: list[dict[str, Any]] = []
    page = _listed(stand, limit="1")
    seen += page["refunds"]
    for _ in settled[1:]:
        page = _listed(stand, limit="1", cursor=page["next_cursor"])
        seen += page["refunds"]
    assert page["next_cursor"] is None
    assert sorted(each["session_id"] for each in seen) == sorted(settled)
    order = [(each["requested_at"], each["refund_id"]) for each in seen]
    assert order == sorted(order)


def test_the_list_needs_the_token_and_a_state_that_exists(stand: StreetStand) -> None:
    assert stand.http.get("/operator/v1/refunds").status_code == 401
    refused = stand.operator.get("/refunds", params={"state": "lost"})
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "state")
