"""What the simulator accepts and refuses of a merchant's request bodies."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from payment_sim import requests
from payment_sim.errors import ApiError
from payment_sim.requests import PlaceOrder, PlaceRefund

ORDER: dict[str, object] = {
    "appid": "wxd678efh567hg6787",
    "mchid": "1900009191",
    "description": "充电预付",
    "out_trade_no": "1217752501201407033233368018",
    "time_expire": "2026-05-20T13:29:35+08:00",
    "notify_url": "https://example.com/notify",
    "amount": {"total": 500, "currency": "CNY"},
    "scene_info": {"payer_client_ip": "14.23.150.211", "h5_info": {"type": "Wap"}},
}


def _order(**change: object) -> PlaceOrder:
    return requests.parse(PlaceOrder, json.dumps(ORDER | change).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"out_trade_no": "short"},
        {"out_trade_no": "x" * 33},
        {"out_trade_no": "has space"},
        {"description": ""},
        {"description": "x" * 128},
        {"notify_url": "https://example.com/notify?a=1"},
        {"notify_url": "ftp://example.com/"},
        {"amount": {"total": 0}},
        {"amount": {"total": "500"}},
        {"amount": {"total": 5.5}},
        {"amount": {"total": 500, "currency": "USD"}},
        {"scene_info": {"payer_client_ip": "14.23.150.211"}},
        {"scene_info": None},
        {"time_expire": "2026-05-20 13:29:35"},
    ],
)
def test_a_malformed_order_is_a_parameter_error_naming_the_field(change: dict[str, object]) -> None:
    with pytest.raises(ApiError) as refused:
        _order(**change)
    assert (refused.value.status, refused.value.code) == (400, "PARAM_ERROR")
    assert f"/body/{next(iter(change))}" in refused.value.message


def test_a_body_that_is_no_json_is_a_parameter_error() -> None:
    for body in (b"", b"{", b"[]", b"\xff"):
        with pytest.raises(ApiError) as refused:
            requests.parse(PlaceOrder, body)
        assert refused.value.code == "PARAM_ERROR"


def test_a_repeat_from_another_phone_is_the_same_order_and_another_amount_is_not() -> None:
    elsewhere = _order(scene_info={"payer_client_ip": "::1", "h5_info": {"type": "iOS"}})
    assert elsewhere.identity_sha256() == _order().identity_sha256()
    assert _order(amount={"total": 501}).identity_sha256() != _order().identity_sha256()
    assert _order(time_expire=None).identity_sha256() != _order().identity_sha256()


def test_the_time_to_pay_lies_between_a_minute_and_seven_days() -> None:
    now = datetime(2026, 5, 20, 5, 0, tzinfo=UTC)
    earliest, latest = now + timedelta(minutes=1), now + timedelta(days=7)

    def expires_at(time_expire: str | None) -> datetime:
        return _order(time_expire=time_expire).expires_at(earliest=earliest, latest=latest)

    assert expires_at("2026-05-20T13:29:35+08:00") == datetime(2026, 5, 20, 5, 29, 35, tzinfo=UTC)
    assert expires_at("2026-05-20T13:00:10+08:00") == earliest
    assert expires_at("2027-05-20T13:00:10+08:00") == latest
    assert expires_at(None) == latest


def test_the_same_refund_number_with_another_amount_is_another_refund() -> None:
    def refund(**change: object) -> PlaceRefund:
        body: dict[str, object] = {
            "out_trade_no": "1217752501201407033233368018",
            "out_refund_no": "r-1",
            "amount": {"refund": 1, "total": 500, "currency": "CNY"},
        }
        return requests.parse(PlaceRefund, json.dumps(body | change).encode())

    assert refund(reason="again").identity_sha256() == refund().identity_sha256()
    changed = refund(amount={"refund": 2, "total": 500, "currency": "CNY"})
    assert changed.identity_sha256() != refund().identity_sha256()
