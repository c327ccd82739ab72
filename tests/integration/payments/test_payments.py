"""Prepayments over the simulated WeChat Pay: told, told twice, not told, lied to."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
import pytest

from billing import ledger_audit, notifications, payments, rail_calls, refunds
from billing.errors import (
    AmountMismatch,
    NotificationRefused,
    PaymentConflict,
    PaymentUnknown,
    RailRefused,
    RailUnavailable,
)
from billing.notifications import Handled
from billing.payment_rails.rail import Ok, PaymentPending, PaymentSucceeded
from billing.payment_rails.wechat_pay import WechatPay
from billing.refunds import RefundCause, RefundState
from payment_sim import signing

if TYPE_CHECKING:
    from tests.integration.payments.conftest import Till


def _balances(till: Till) -> dict[str, int]:
    with till.pool.connection() as conn:
        rows = conn.execute(
            """
            SELECT a.code, b.debit_fen - b.credit_fen FROM ledger_balance b JOIN ledger_account a USING (account_id)
            """
        ).fetchall()
    return {code: fen for code, fen in rows if fen}


def _jobs(till: Till, task: str) -> int:
    with till.pool.connection() as conn:
        row = conn.execute(
            "SELECT count(*) FROM procrastinate_jobs WHERE task_name = %(task)s AND status = 'todo'",
            {"task": task},
        ).fetchone()
    assert row is not None
    return row[0]


def test_a_payment_is_placed_paid_notified_and_booked(till: Till) -> None:
    payment = till.place(amount_fen=500)
    assert payment.pay_url is not None
    assert payment.pay_url.startswith(f"{till.sim.url}/cashier?prepay_id=")
    assert payment.pay_url.endswith("&redirect_url=http%3A%2F%2F127.0.0.1%3A9%2Fs%2F1%3Fx%3D1%26y%3D2")
    till.sim.pay(payment.out_trade_no)
    till.until(lambda: till.receiver.statuses == [204])
    paid = till.read(payment)
    assert paid.state == "paid"
    assert paid.rail_transaction_id == till.sim.order(payment.out_trade_no)["transaction_id"]
    assert [told.payment_id for told in till.told.paid] == [payment.payment_id]
    assert till.told.locked == [payment.session_id]
    assert _balances(till) == {"rail:wechat_pay:clearing": 500, "rider:prepayment": -500}


def test_a_notification_delivered_again_and_under_a_new_id_books_once(till: Till) -> None:
    till.sim.put_faults(duplicate_notifications=True)
    payment = till.place()
    till.sim.pay(payment.out_trade_no)
    till.until(lambda: till.receiver.statuses == [204] * 4)
    ids = {json.loads(body)["id"] for _, body in till.receiver.deliveries}
    assert len(ids) == 2
    assert len(till.told.paid) == 1
    assert _balances(till)["rail:wechat_pay:clearing"] == payment.amount_fen


def test_a_notification_that_never_comes_is_found_by_asking(till: Till) -> None:
    till.sim.put_faults(drop_notifications=True)
    payment = till.place()
    rail_calls.query_payment(till.desk, payment.payment_id, attempt=0)
    assert till.read(payment).state == "created"
    till.sim.pay(payment.out_trade_no)
    rail_calls.query_payment(till.desk, payment.payment_id, attempt=1)
    assert till.read(payment).state == "paid"
    assert len(till.told.paid) == 1
    assert till.receiver.deliveries == []


def test_asking_and_being_told_at_once_book_once(till: Till) -> None:
    payment = till.place()
    till.sim.put_faults(drop_notifications=True)
    till.sim.pay(payment.out_trade_no)
    barrier = threading.Barrier(6)

    def ask() -> None:
        barrier.wait(10)
        rail_calls.query_payment(till.desk, payment.payment_id, attempt=0)

    with ThreadPoolExecutor(6) as threads:
        for asked in [threads.submit(ask) for _ in range(6)]:
            asked.result(30)
    assert len(till.told.paid) == 1
    assert _balances(till) == {"rail:wechat_pay:clearing": 500, "rider:prepayment": -500}


def test_a_failed_booking_is_notified_again(till: Till) -> None:
    payment = till.place()
    with till.pool.connection() as conn:
        conn.execute("UPDATE payment SET amount_fen = 499 WHERE payment_id = %s", (payment.payment_id,))
    till.sim.pay(payment.out_trade_no)
    till.until(lambda: till.receiver.statuses[:2] == [400, 400])
    with till.pool.connection() as conn:
        conn.execute("UPDATE payment SET amount_fen = 500 WHERE payment_id = %s", (payment.payment_id,))
    till.until(lambda: 204 in till.receiver.statuses)
    assert till.read(payment).state == "paid"
    assert len(till.told.paid) == 1


def test_another_amount_than_asked_for_is_refused(till: Till) -> None:
    payment = till.place(amount_fen=500)
    lie = PaymentSucceeded(payment.out_trade_no, "4200", 499, payment.created_at)
    with pytest.raises(AmountMismatch), till.pool.connection() as conn:
        notifications.handle(conn, till.rail.name, lie, now=payment.created_at, hooks=till.told.hooks())
    assert till.read(payment).state == "created"
    assert _balances(till) == {}


def test_a_payment_nobody_made_or_of_another_rail_is_refused(till: Till) -> None:
    payment = till.place()
    stranger = PaymentSucceeded(uuid4().hex, "4200", 500, payment.created_at)
    with pytest.raises(PaymentUnknown), till.pool.connection() as conn:
        notifications.handle(conn, till.rail.name, stranger, now=payment.created_at, hooks=till.told.hooks())
    known = replace(stranger, out_trade_no=payment.out_trade_no)
    with pytest.raises(PaymentUnknown), till.pool.connection() as conn:
        notifications.handle(conn, "alipay", known, now=payment.created_at, hooks=till.told.hooks())


def test_a_second_transaction_of_one_payment_is_refused(till: Till) -> None:
    payment = till.paid()
    second = PaymentSucceeded(payment.out_trade_no, "another", 500, payment.created_at)
    with pytest.raises(PaymentConflict), till.pool.connection() as conn:
        notifications.handle(conn, till.rail.name, second, now=payment.created_at, hooks=till.told.hooks())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mchid": "1900000000"}, "another merchant or app"),
        ({"appid": "wx0000000000000000"}, "another merchant or app"),
        ({"amount": {"total": 500, "currency": "USD"}}, "currency 'USD'"),
        ({"amount": {"total": -1, "currency": "CNY"}}, "malformed"),
        ({"amount": {"total": 5.0, "currency": "CNY"}}, "malformed"),
        ({"trade_state": "NOTPAY"}, "a success that is none"),
        ({"trade_state": "STOLEN"}, "trade state 'STOLEN'"),
        ({"transaction_id": None}, "paid, but without amount, transaction or time"),
    ],
)
def test_a_signed_notification_about_other_money_is_refused(
    till: Till, change: dict[str, object], reason: str
) -> None:
    payment = till.place()
    till.sim.pay(payment.out_trade_no)
    till.until(lambda: len(till.receiver.deliveries) == 1)
    keys = till.sim.keys
    transaction = {
        "appid": keys.appid,
        "mchid": keys.mchid,
        "out_trade_no": payment.out_trade_no,
        "transaction_id": "4200001234",
        "trade_state": "SUCCESS",
        "success_time": "2026-05-20T13:29:35+08:00",
        "amount": {"total": 500, "currency": "CNY"},
    } | change
    sealed = signing.seal(keys, json.dumps(transaction).encode(), associated_data="transaction")
    body = json.dumps({"event_type": "TRANSACTION.SUCCESS", "resource": sealed}).encode()
    with pytest.raises(NotificationRefused) as refused:
        till.rail.parse_notification(signing.signed_headers(keys, body), body)
    assert refused.value.reason == reason


def test_a_forged_or_old_notification_is_refused_and_changes_nothing(till: Till) -> None:
    payment = till.place()
    till.sim.put_faults(drop_notifications=True)
    till.sim.pay(payment.out_trade_no)
    body = json.dumps({"event_type": "TRANSACTION.SUCCESS", "resource": {}}).encode()
    headers = dict(signing.signed_headers(till.sim.keys, body))
    forgeries: dict[str, tuple[Mapping[str, str], bytes]] = {
        "forged": (headers, body + b" "),
        "unknown_serial": (headers | {"Wechatpay-Serial": "PUB_KEY_ID_1"}, body),
        "stale": (headers | {"Wechatpay-Timestamp": "1554208460"}, body),
        "unsigned": ({}, body),
        "signtest_probe": (signing.signed_headers(till.sim.keys, body, probe=True), body),
        "oversized": (headers, b" " * 70_000),
    }
    for reason, (forged_headers, forged_body) in forgeries.items():
        with pytest.raises(NotificationRefused) as refused:
            till.rail.parse_notification(forged_headers, forged_body)
        assert refused.value.reason == reason
    answer = httpx.post(f"{till.receiver.url}/notify", content=body + b" ", headers=headers)
    assert answer.status_code == 400
    assert till.read(payment).state == "created"


def test_probes_are_refused_while_the_real_notification_is_booked(till: Till) -> None:
    till.sim.put_faults(probe_notifications=True)
    payment = till.place()
    till.sim.pay(payment.out_trade_no)
    till.until(lambda: till.receiver.statuses == [400, 204])
    assert till.read(payment).state == "paid"


def test_a_repeat_of_creation_returns_the_first_and_another_amount_is_refused(till: Till) -> None:
    first = till.create(amount_fen=500)

    def again(amount_fen: int, rail: str) -> payments.Payment:
        with till.pool.connection() as conn:
            return payments.create(
                conn,
                session_id=first.session_id,
                amount_fen=amount_fen,
                rail=rail,
                now=first.created_at,
                expires_at=first.expires_at,
            )

    assert again(500, till.rail.name) == first
    with pytest.raises(PaymentConflict):
        again(501, till.rail.name)
    with pytest.raises(PaymentConflict):
        again(500, "alipay")
    assert _jobs(till, "query_payment") == 1


def test_placing_survives_a_lost_answer_and_may_be_repeated(till: Till) -> None:
    till.sim.put_faults(lose_answers={"place_order": 1})
    payment = till.place()
    assert till.open(payment.payment_id).pay_url == payment.pay_url
    till.sim.put_faults(fail_calls={"place_order": 2})
    with pytest.raises(RailUnavailable):
        till.open(payment.payment_id)
    assert till.open(payment.payment_id).pay_url is not None


def test_a_rail_that_is_away_or_refuses_says_so(till: Till) -> None:
    payment = till.create()
    nowhere = WechatPay(
        till.rail._merchant,  # pyright: ignore[reportPrivateUsage]  # the same merchant at an address nobody serves
        base_url="http://127.0.0.1:9",
        notify_url="http://127.0.0.1:9/notify",
        wall_clock=till.desk.clock,
    )
    with pytest.raises(RailUnavailable):
        rail_calls.place_payment(
            till.pool,
            nowhere,
            payment_id=payment.payment_id,
            description="x",
            payer_ip="::1",
            return_url="http://x/",
        )
    nowhere.close()
    with pytest.raises(RailRefused) as refused:
        rail_calls.place_payment(
            till.pool,
            till.rail,
            payment_id=payment.payment_id,
            description="",
            payer_ip="::1",
            return_url="http://x/",
        )
    assert refused.value.code == "PARAM_ERROR"


def test_a_paid_or_closed_payment_cannot_be_placed_again(till: Till) -> None:
    paid = till.paid()
    with pytest.raises(PaymentConflict):
        till.open(paid.payment_id)
    closed = till.place()
    with till.pool.connection() as conn:
        payments.close(conn, payment_id=closed.payment_id, now=closed.created_at)
    with pytest.raises(PaymentConflict):
        till.open(closed.payment_id)


def test_an_expired_payment_is_closed_at_the_rail(till: Till) -> None:
    payment = till.open(till.create(lifetime=timedelta(seconds=-1)).payment_id)
    rail_calls.query_payment(till.desk, payment.payment_id, attempt=3)
    assert _jobs(till, "close_payment") == 1
    rail_calls.close_payment(till.desk, payment.payment_id, attempt=0)
    closed = till.read(payment)
    assert closed.state == "closed"
    assert closed.rail_closed_at is not None
    assert till.sim.order(payment.out_trade_no)["state"] == "CLOSED"
    assert isinstance(till.rail.query_payment(payment.out_trade_no), Ok)
    with till.pool.connection() as conn:
        assert payments.undecided(conn) == []


def test_a_payment_the_rail_never_heard_of_is_closed(till: Till) -> None:
    payment = till.create(lifetime=timedelta(seconds=-1))
    rail_calls.query_payment(till.desk, payment.payment_id, attempt=0)
    rail_calls.close_payment(till.desk, payment.payment_id, attempt=0)
    assert till.read(payment).rail_closed_at is not None


def test_closing_that_finds_the_money_books_it(till: Till) -> None:
    till.sim.put_faults(drop_notifications=True)
    payment = till.place()
    till.sim.pay(payment.out_trade_no)
    rail_calls.close_payment(till.desk, payment.payment_id, attempt=0)
    assert till.read(payment).state == "paid"
    assert len(till.told.paid) == 1


def test_closing_without_an_answer_is_tried_again(till: Till) -> None:
    payment = till.place()
    till.sim.put_faults(fail_calls={"close_order": 1})
    rail_calls.close_payment(till.desk, payment.payment_id, attempt=0)
    assert till.read(payment).state == "created"
    assert _jobs(till, "close_payment") == 1
    rail_calls.close_payment(till.desk, payment.payment_id, attempt=1)
    assert till.read(payment).state == "closed"


def test_money_after_we_stopped_waiting_goes_back_whole_once(till: Till) -> None:
    payment = till.place(amount_fen=700)
    with till.pool.connection() as conn:
        closed = payments.close(conn, payment_id=payment.payment_id, now=payment.created_at)
    assert closed.state == "closed"
    till.sim.put_faults(duplicate_notifications=True)
    till.sim.pay(payment.out_trade_no)
    till.until(lambda: till.receiver.statuses == [204] * 4)
    late = till.read(payment)
    assert late.too_late
    assert late.refund_fen == 700
    assert till.told.paid == []
    with till.pool.connection() as conn:
        (refund,) = refunds.of_session(conn, payment.session_id)
    assert (refund.cause, refund.amount_fen) == (RefundCause.PAID_TOO_LATE, 700)
    rail_calls.instruct_refund(till.desk, refund.refund_id)

    def succeeded() -> bool:
        with till.pool.connection() as conn:
            return refunds.get(conn, refund.refund_id).state is RefundState.SUCCEEDED

    till.until(succeeded)
    assert _balances(till) == {}
    assert till.sim.balance()["available_fen"] == 0
    with till.pool.connection() as conn:
        assert ledger_audit.audit(conn).clean


def test_a_repeated_event_is_answered_as_success(till: Till) -> None:
    payment = till.paid()
    result = till.rail.query_payment(payment.out_trade_no)
    assert isinstance(result, Ok)
    assert isinstance(result.value, PaymentSucceeded)
    with till.pool.connection() as conn:
        handled = notifications.handle(
            conn, till.rail.name, result.value, now=payment.created_at, hooks=till.told.hooks()
        )
    assert handled is Handled.REPEATED
    assert len(till.told.paid) == 1


def test_an_open_payment_is_pending(till: Till) -> None:
    payment = till.place()
    assert till.rail.query_payment(payment.out_trade_no) == Ok(PaymentPending(payment.out_trade_no))
