"""A charge through the rider's JSON, from order to refund."""

from uuid import uuid4

import pytest

from charging.session_states import SessionState
from tests.integration.rider_web.street_stand import PILE, StreetStand
from tests.waiting import wait_until


def test_an_order_gives_the_address_to_pay_at_and_leads_back_to_the_session(stand: StreetStand) -> None:
    created = stand.http.post("/api/rider/sessions", json={"pile_id": PILE, "port_no": 1, "amount_fen": 300})
    assert created.status_code == 201
    session_id = created.json()["session_id"]
    assert created.json()["pay_url"].startswith(f"{stand.pay_url}/cashier")
    paid = stand.http.post(created.json()["pay_url"].replace("/cashier?", "/cashier/pay?"))
    assert paid.headers["location"] == f"{stand.url}/s/{session_id}"


def test_a_charge_shows_every_phase_in_both_languages(stand: StreetStand) -> None:
    session_id = stand.order()
    waiting = stand.view(session_id, lang="en")
    assert (waiting["phase"], waiting["headline"]) == ("waiting_payment", "Waiting for your payment")
    assert waiting["pay_url"].startswith(stand.pay_url)
    stand.pay(session_id)
    assert stand.view(session_id)["phase"] == "starting"
    stand.accept(session_id, plugged=False)
    plug_in = stand.view(session_id, lang="zh-CN")
    assert (plug_in["phase"], plug_in["headline"]) == ("plug_in", "请插上充电器")
    stand.power_flows(session_id)
    stand.meter(session_id, power_w=180, minutes=50)
    charging = stand.view(session_id)
    assert charging["phase"] == "charging"
    assert (charging["power_w"], charging["energy_wh"], charging["elapsed_s"]) == (180.0, 150.0, 3000)
    # 0.15 kWh at 0.8203 and at 0.45 yuan, each fee rounded once.
    assert (charging["electricity_fen"], charging["service_fen"]) == (12, 7)
    assert charging["remaining_fen"] == 300 - 19
    assert charging["shown"]["energy"] == "0.150"
    stand.meter(session_id, power_w=12, minutes=1, phase=2)
    assert stand.view(session_id)["phase"] == "topping_up"


def test_the_bill_adds_up_and_the_refund_arrives(stand: StreetStand) -> None:
    session_id = stand.charging()
    stand.meter(session_id, minutes=60)
    stand.settle(session_id)
    settled = stand.view(session_id, lang="en")
    assert (settled["phase"], settled["headline"], settled["ended"]) == ("refunding", "Battery full", False)
    assert settled["charged_fen"] + settled["remaining_fen"] == 300
    stand.send_refunds(session_id)
    wait_until(lambda: stand.state(session_id) is SessionState.CLOSED)
    done = stand.view(session_id)
    assert (done["phase"], done["ended"]) == ("done", True)
    assert done["refunded_fen"] == settled["remaining_fen"]
    page = stand.http.get(f"/s/{session_id}?lang=en").text
    assert "Returned to where you paid from" in page
    assert "0.1800 kWh × ¥0.8203" in page


def test_a_refused_start_names_the_cause_and_gives_everything_back(stand: StreetStand) -> None:
    session_id = stand.order(amount_fen=500)
    stand.pay(session_id)
    stand.refuse(session_id, "short_circuit")
    failed = stand.view(session_id, lang="en")
    assert (failed["phase"], failed["cause"], failed["remaining_fen"]) == (
        "failed_refunding",
        "short_circuit",
        500,
    )
    assert failed["explanation"].startswith("The pile found a short circuit at the plug.")
    stand.send_refunds(session_id)
    wait_until(lambda: stand.view(session_id)["phase"] == "failed")
    assert stand.view(session_id)["refunded_fen"] == 500


def test_stopping_twice_asks_the_pile_once(stand: StreetStand) -> None:
    session_id = stand.charging()
    stand.meter(session_id, minutes=5)
    for _ in range(2):
        stopped = stand.http.post(f"/api/rider/sessions/{session_id}/stop")
        assert (stopped.status_code, stopped.json()["phase"]) == (200, "finishing")
    with stand.pool.connection() as conn:
        told = conn.execute(
            "SELECT count(*) FROM command WHERE session_id = %s AND kind = 'stop'", (session_id,)
        ).fetchone()
    assert told == (1,)


def test_the_curve_is_thinned_and_keeps_its_end(stand: StreetStand) -> None:
    session_id = stand.charging()
    stand.meter(session_id, minutes=100)
    curve = stand.http.get(f"/api/rider/sessions/{session_id}/curve", params={"points": 10}).json()
    assert 2 <= len(curve["points"]) <= 10
    assert curve["points"][-1] == {
        "sampled_at": curve["points"][-1]["sampled_at"],
        "elapsed_s": 6000,
        "power_w": 180.0,
        "energy_wh": 300.0,
    }


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({"pile_id": "NOPE", "port_no": 1, "amount_fen": 300}, 404, "pile_unknown", "pile_id"),
        ({"pile_id": PILE, "port_no": 77, "amount_fen": 300}, 404, "port_unknown", "port_no"),
        ({"pile_id": PILE, "port_no": 1, "amount_fen": 9}, 422, "amount_refused", "amount_fen"),
        ({"pile_id": PILE, "port_no": 1, "amount_fen": 10_001}, 422, "amount_refused", "amount_fen"),
        ({"pile_id": PILE, "port_no": 1, "amount_fen": -300}, 422, "amount_refused", "amount_fen"),
        ({"pile_id": PILE, "port_no": 1, "amount_fen": 2.5}, 422, "invalid_request", "amount_fen"),
        ({"pile_id": PILE, "port_no": "one", "amount_fen": 300}, 422, "invalid_request", "port_no"),
        ({"pile_id": "\x00", "port_no": 1, "amount_fen": 300}, 422, "invalid_request", "pile_id"),
        ({"pile_id": PILE, "amount_fen": 300}, 422, "invalid_request", "port_no"),
        ([], 422, "invalid_request", None),
        ({"pile_id": "YQ-02", "port_no": 1, "amount_fen": 300}, 409, "pile_out_of_service", None),
    ],
)
def test_a_bad_order_is_refused_by_name(
    stand: StreetStand, body: object, status: int, code: str, field: str | None
) -> None:
    refused = stand.http.post("/api/rider/sessions", json=body)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["field"]) == (status, code, field)
    assert error["message"]


def test_broken_json_is_said_to_be_broken(stand: StreetStand) -> None:
    refused = stand.http.post(
        "/api/rider/sessions", content=b"{not json", headers={"Content-Type": "application/json"}
    )
    assert refused.status_code == 400
    assert refused.json()["error"]["message"].startswith("not JSON")


def test_a_busy_socket_takes_no_second_order(stand: StreetStand) -> None:
    stand.charging(port_no=2)
    refused = stand.http.post("/api/rider/sessions", json={"pile_id": PILE, "port_no": 2, "amount_fen": 300})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "port_busy")


@pytest.mark.parametrize("path", ["", "/curve", "/live"])
def test_an_unknown_session_is_not_found(stand: StreetStand, path: str) -> None:
    missing = stand.http.get(f"/api/rider/sessions/{uuid4()}{path}")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "session_unknown")


def test_a_rail_that_is_away_takes_no_money_and_says_so(stand: StreetStand) -> None:
    stand.http.put(f"{stand.pay_url}/sim/faults", json={"fail_calls": {"place_order": 5}}).raise_for_status()
    refused = stand.http.post("/api/rider/sessions", json={"pile_id": PILE, "port_no": 1, "amount_fen": 300})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "payment_unavailable")
    by_form = stand.http.post(f"/q/{PILE}/1", data={"amount": "3"}, headers={"Accept-Language": "en"})
    assert by_form.status_code == 503
    assert "Nothing was paid" in by_form.text
