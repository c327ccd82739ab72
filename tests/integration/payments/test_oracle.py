"""The simulator against a client we did not write: wechatpayv3 from the Python package index.

It signs, verifies and decrypts by its own reading of the documents, so a mistake shared by our client and our
simulator shows here.
"""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.payments.conftest import Till


@pytest.fixture
def oracle(till: Till) -> Any:
    """A client in public-key mode, pointed at the simulator."""
    keys = till.sim.keys
    library: Any = importlib.import_module("wechatpayv3")
    client = library.WeChatPay(
        wechatpay_type=library.WeChatPayType.H5,
        mchid=keys.mchid,
        private_key=keys.merchant_key_pem.decode(),
        cert_serial_no=keys.merchant_serial,
        appid=keys.appid,
        apiv3_key=keys.api_v3_key.decode(),
        notify_url=f"{till.receiver.url}/notify",
        public_key=keys.platform_public_key_pem.decode(),
        public_key_id=keys.platform_serial,
        timeout=(5, 10),
    )
    # The library has no setting for the address.
    client._core._gate_way = till.sim.url
    return client


def _place(oracle: Any, number: str, total: int = 888) -> tuple[int, dict[str, Any]]:
    status, text = oracle.pay(
        description="充电预付",
        out_trade_no=number,
        amount={"total": total, "currency": "CNY"},
        scene_info={"payer_client_ip": "127.0.0.1", "h5_info": {"type": "Wap"}},
    )
    return status, json.loads(text)


def test_another_client_pays_queries_refunds_and_closes(till: Till, oracle: Any) -> None:
    status, placed = _place(oracle, "oracle-0001")
    assert status == 200
    assert placed["h5_url"].startswith(till.sim.url)
    status, text = oracle.query(out_trade_no="oracle-0001")
    assert (status, json.loads(text)["trade_state"]) == (200, "NOTPAY")
    till.sim.pay("oracle-0001")
    status, text = oracle.query(out_trade_no="oracle-0001")
    assert (status, json.loads(text)["amount"]["total"]) == (200, 888)
    status, text = oracle.close(out_trade_no="oracle-0001")
    assert (status, json.loads(text)["code"]) == (400, "ORDER_PAID")
    status, text = oracle.refund(
        out_refund_no="oracle-r1",
        out_trade_no="oracle-0001",
        amount={"refund": 88, "total": 888, "currency": "CNY"},
    )
    assert (status, json.loads(text)["status"]) == (200, "PROCESSING")
    status, text = oracle.query_refund(out_refund_no="oracle-r1")
    assert (status, json.loads(text)["out_refund_no"]) == (200, "oracle-r1")
    assert _place(oracle, "oracle-0002")[0] == 200
    assert oracle.close(out_trade_no="oracle-0002")[0] == 204
    status, text = oracle.query(out_trade_no="oracle-0002")
    assert (status, json.loads(text)["trade_state"]) == (200, "CLOSED")


def test_another_client_gets_the_documented_refusals(oracle: Any) -> None:
    assert _place(oracle, "oracle-0001")[0] == 200
    status, refusal = _place(oracle, "oracle-0001", total=889)
    assert (status, refusal["code"]) == (400, "INVALID_REQUEST")
    status, text = oracle.query(out_trade_no="oracle-9999")
    assert (status, json.loads(text)["code"]) == (404, "ORDER_NOT_EXIST")
    status, text = oracle.query_refund(out_refund_no="oracle-r9")
    assert (status, json.loads(text)["code"]) == (404, "RESOURCE_NOT_EXISTS")
    oracle._core._cert_serial_no = "00"
    status, text = oracle.query(out_trade_no="oracle-0001")
    assert (status, json.loads(text)["code"]) == (401, "SIGN_ERROR")


def test_another_client_opens_our_notifications(till: Till, oracle: Any) -> None:
    assert _place(oracle, "oracle-0001")[0] == 200
    till.sim.pay("oracle-0001")
    till.until(lambda: len(till.receiver.deliveries) > 0)
    headers, body = till.receiver.deliveries[0]
    opened = oracle.callback(headers, body)
    assert opened["event_type"] == "TRANSACTION.SUCCESS"
    assert opened["resource"]["out_trade_no"] == "oracle-0001"
    assert opened["resource"]["amount"]["total"] == 888
    assert oracle.callback(headers, body.replace(b"SUCCESS", b"FAILURE")) is None
