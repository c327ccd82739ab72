"""The simulator itself: the rider's page, retries, limits, and what survives its restart."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from payment_sim.courier import DOCUMENTED_RETRIES_S
from payment_sim.database import FILE_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.integration.payments.conftest import Sim, Till

    StartSim = Callable[..., AbstractContextManager[Sim]]


@pytest.fixture
def browser() -> Iterator[httpx.Client]:
    """A phone's browser that shows where it would go next."""
    with httpx.Client(follow_redirects=False) as client:
        yield client


def _formaction(page: str, name: str) -> str:
    match = re.search(rf'class="{name}" formaction="([^"]+)"', page)
    assert match is not None
    return match.group(1).replace("&amp;", "&")


def test_the_page_says_it_is_a_simulator_and_pays(till: Till, browser: httpx.Client) -> None:
    payment = till.place(amount_fen=1234)
    assert payment.pay_url is not None
    page = browser.get(payment.pay_url)
    assert page.status_code == 200
    assert "模拟支付" in page.text
    assert "Payment simulator" in page.text
    assert "12.34" in page.text
    assert "阳光花园 3号桩 2口 充电预付" in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    done = browser.post(till.sim.url + _formaction(page.text, "pay"))
    assert (done.status_code, done.headers["Location"]) == (303, "http://127.0.0.1:9/s/1?x=1&y=2")
    till.until(lambda: till.read(payment).state == "paid")
    again = browser.get(payment.pay_url)
    assert "支付成功" in again.text
    assert "<button" not in again.text
    assert browser.post(till.sim.url + _formaction(page.text, "pay")).status_code == 200
    assert till.sim.balance()["received_fen"] == 1234


def test_cancelling_goes_back_and_leaves_the_order_open(till: Till, browser: httpx.Client) -> None:
    payment = till.place()
    assert payment.pay_url is not None
    page = browser.get(payment.pay_url)
    back = browser.post(till.sim.url + _formaction(page.text, "cancel"))
    assert back.status_code == 303
    assert till.sim.order(payment.out_trade_no)["state"] == "NOTPAY"
    till.sim.pay(payment.out_trade_no)


def test_the_page_of_no_order_and_of_a_closed_one_offers_nothing(till: Till, browser: httpx.Client) -> None:
    unknown = browser.get(f"{till.sim.url}/cashier", params={"prepay_id": "<script>"})
    assert unknown.status_code == 404
    assert "<script>" not in unknown.text
    payment = till.place()
    till.rail.close_payment(payment.out_trade_no)
    assert payment.pay_url is not None
    closed = browser.get(payment.pay_url)
    assert "订单已关闭" in closed.text
    assert "<button" not in closed.text
    assert (
        browser.post(f"{till.sim.url}/sim/orders/{payment.out_trade_no}/pay").json()["code"] == "ORDER_CLOSED"
    )


def test_an_address_that_is_not_a_web_page_is_not_followed(till: Till, browser: httpx.Client) -> None:
    payment = till.place()
    prepay_id = till.sim.order(payment.out_trade_no)["prepay_id"]
    for url in ("javascript:alert(1)", "//evil.example", "data:text/html,x"):
        params = {"prepay_id": prepay_id, "redirect_url": url}
        page = browser.get(f"{till.sim.url}/cashier", params=params)
        assert f'href="{url}"' not in page.text
        assert browser.post(f"{till.sim.url}/cashier/cancel", params=params).status_code == 200


def test_an_order_cannot_be_paid_after_its_time(simulator: StartSim) -> None:
    clock = [datetime(2026, 5, 20, tzinfo=UTC)]
    with simulator(clock=lambda: clock[0]) as sim:
        _insert_order(sim.directory, expires_at=clock[0] + timedelta(minutes=5))
        clock[0] += timedelta(minutes=6)
        refused = sim.http.post("/sim/orders/order-0001/pay")
        assert (refused.status_code, refused.json()["code"]) == (400, "INVALID_REQUEST")
        clock[0] -= timedelta(minutes=2)
        sim.pay("order-0001")
        assert sim.order("order-0001")["success_at"] == "2026-05-20T08:04:00+08:00"
        paid_again = sim.http.post("/sim/orders/order-0001/pay")
        assert (paid_again.status_code, paid_again.json()["code"]) == (400, "ORDER_PAID")


def test_state_and_unsent_notifications_survive_a_restart(simulator: StartSim) -> None:
    with simulator() as sim:
        _insert_order(sim.directory, expires_at=datetime.now(UTC) + timedelta(minutes=5))
        sim.put_faults(notification_delay_s=3000)
        sim.pay("order-0001")
    with simulator() as sim:
        assert sim.order("order-0001")["state"] == "SUCCESS"
        assert sim.balance()["available_fen"] == 500
        assert _notifications(sim.directory) == [("pending", 0)]


def test_a_notification_nobody_acknowledges_is_given_up_after_the_documented_tries(
    simulator: StartSim,
) -> None:
    assert len(DOCUMENTED_RETRIES_S) == 15
    assert sum(DOCUMENTED_RETRIES_S) == 24 * 3600 + 4 * 60
    with simulator(retry_scale=0.000001) as sim:
        _insert_order(sim.directory, expires_at=datetime.now(UTC) + timedelta(minutes=5))
        sim.pay("order-0001")
        sim.until(lambda: _notifications(sim.directory) == [("given_up", 16)])


def test_switches_that_do_not_exist_are_refused(till: Till) -> None:
    assert till.sim.http.put("/sim/faults", json={"rain": True}).status_code == 422
    assert till.sim.http.put("/sim/faults", json={"lose_answers": {"sing": 1}}).status_code == 422
    till.sim.put_faults(refund_outcome="ABNORMAL")
    assert till.sim.http.get("/sim/faults").json()["refund_outcome"] == "ABNORMAL"


def test_unsigned_and_misdirected_calls_are_refused(till: Till) -> None:
    payment = till.place()
    target = f"/v3/pay/transactions/out-trade-no/{payment.out_trade_no}"
    unsigned = till.sim.http.get(f"{target}?mchid={till.sim.keys.mchid}")
    assert (unsigned.status_code, unsigned.json()["code"]) == (401, "SIGN_ERROR")
    assert "Wechatpay-Signature" in unsigned.headers
    assert unsigned.headers["Request-ID"].endswith("-1")


def _insert_order(directory: Path, *, expires_at: datetime) -> None:
    with closing(sqlite3.connect(directory / FILE_NAME)) as db, db:
        db.execute(
            """
            INSERT INTO trade_order (out_trade_no, identity_sha256, description, attach, notify_url, total_fen,
                                     state, prepay_id, link_until_s, created_at, expires_at)
            VALUES ('order-0001', 'x', '充电预付', '', 'http://127.0.0.1:9/notify', 500, 'NOTPAY', 'wx1', 0,
                    '2026-05-20T00:00:00+00:00', ?)
            """,
            (expires_at.isoformat(),),
        )


def _notifications(directory: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(directory / FILE_NAME)) as db:
        return db.execute("SELECT state, tries FROM notification").fetchall()
