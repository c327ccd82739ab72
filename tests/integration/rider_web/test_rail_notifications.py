"""Where the rail tells us of money: genuine once, forged never."""

import psycopg
import pytest

from charging.session_states import SessionState
from tests.integration.rider_web.street_stand import StreetStand
from tests.waiting import wait_until

ADDRESS = "/rails/wechat_pay/notify"


def entries(stand: StreetStand, kind: str) -> int:
    with psycopg.connect(stand.dsn) as conn:
        row = conn.execute("SELECT count(*) FROM journal_entry WHERE kind = %s", (kind,)).fetchone()
    assert row is not None
    return row[0]


def test_a_payment_notified_three_times_starts_one_charge(stand: StreetStand) -> None:
    stand.http.put(f"{stand.pay_url}/sim/faults", json={"duplicate_notifications": True}).raise_for_status()
    session_id = stand.order()
    stand.pay(session_id)
    wait_until(lambda: len(stand.notified) >= 3, what="all deliveries")
    assert set(stand.notified) == {204}
    assert stand.state(session_id) is SessionState.STARTING
    assert entries(stand, "payment_received") == 1


def test_the_rails_probe_is_refused(stand: StreetStand) -> None:
    stand.http.put(f"{stand.pay_url}/sim/faults", json={"probe_notifications": True}).raise_for_status()
    session_id = stand.order()
    stand.pay(session_id)
    # The rail hears our answer after the charge is on its way: the second one may still be on the wire.
    wait_until(lambda: len(stand.notified) >= 2, what="probe and notification")
    assert stand.notified == [400, 204]
    assert stand.state(session_id) is SessionState.STARTING


@pytest.mark.parametrize("body", [b"", b"{}", b"not json", b"\xff\xfe", b'{"id": "x", "resource": {}}'])
def test_an_unsigned_body_is_refused_as_the_rail_expects(stand: StreetStand, body: bytes) -> None:
    refused = stand.http.post(ADDRESS, content=body)
    assert refused.status_code == 400
    assert refused.json()["code"] == "FAIL"
    assert refused.json()["message"]
    assert entries(stand, "payment_received") == 0


def test_a_forged_signature_is_refused(stand: StreetStand) -> None:
    headers = {
        "Wechatpay-Timestamp": "1772424600",
        "Wechatpay-Nonce": "n",
        "Wechatpay-Signature": "Zm9yZ2Vk",
        "Wechatpay-Serial": "PUB_KEY_ID_0",
    }
    refused = stand.http.post(ADDRESS, content=b"{}", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (400, "FAIL")


@pytest.mark.parametrize("digits", [13, 400, 5_000])
def test_a_timestamp_of_absurd_length_is_refused_before_it_is_read(stand: StreetStand, digits: int) -> None:
    headers = {
        "Wechatpay-Timestamp": "9" * digits,
        "Wechatpay-Nonce": "n",
        "Wechatpay-Signature": "Zm9yZ2Vk",
        "Wechatpay-Serial": "PUB_KEY_ID_0",
    }
    refused = stand.http.post(ADDRESS, content=b"{}", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (400, "FAIL")


def test_a_huge_body_is_refused_unread(stand: StreetStand) -> None:
    assert stand.http.post(ADDRESS, content=b"x" * 70_000).status_code == 413


def test_an_unknown_rail_is_not_found(stand: StreetStand) -> None:
    missing = stand.http.post("/rails/nope/notify", content=b"{}")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "rail_unknown")
