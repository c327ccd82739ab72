"""How WeChat Pay's states, codes and amounts read to us."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from billing.payment_rails import wechat_messages
from billing.payment_rails.rail import (
    PaymentClosed,
    PaymentPending,
    PaymentSucceeded,
    RailRefundState,
    RefundChanged,
    RejectionKind,
)
from billing.payment_rails.wechat_messages import Inconsistent, RefundAnswer, RefundNotice, Transaction

MCHID = "1900009191"
APPID = "wxd678efh567hg6787"
PAID: dict[str, object] = {
    "appid": APPID,
    "mchid": MCHID,
    "out_trade_no": "1217752501201407033233368018",
    "transaction_id": "1217752501201407033233368018",
    "trade_state": "SUCCESS",
    "success_time": "2018-06-08T10:34:56+08:00",
    "amount": {"total": 100, "payer_total": 90, "currency": "CNY", "payer_currency": "CNY"},
    "promotion_detail": [{"coupon_id": "109519"}],
}


def _status(**change: object) -> object:
    transaction = Transaction.model_validate(PAID | change)
    return wechat_messages.payment_status(transaction, mchid=MCHID, appid=APPID)


def test_a_success_carries_what_was_ordered_not_what_was_left_after_coupons() -> None:
    assert _status() == PaymentSucceeded(
        out_trade_no="1217752501201407033233368018",
        rail_transaction_id="1217752501201407033233368018",
        amount_fen=100,
        paid_at=datetime(2018, 6, 8, 2, 34, 56, tzinfo=UTC),
    )


def test_a_payment_given_back_was_paid() -> None:
    assert isinstance(_status(trade_state="REFUND"), PaymentSucceeded)


@pytest.mark.parametrize("state", ["NOTPAY", "USERPAYING", "PAYERROR", "ACCEPT"])
def test_a_payment_under_way_is_pending(state: str) -> None:
    assert isinstance(_status(trade_state=state, transaction_id=None, success_time=None), PaymentPending)


@pytest.mark.parametrize("state", ["CLOSED", "REVOKED"])
def test_a_closed_payment_is_closed(state: str) -> None:
    assert isinstance(_status(trade_state=state), PaymentClosed)


@pytest.mark.parametrize(
    "change",
    [
        {"mchid": "1"},
        {"appid": "wx1"},
        {"trade_state": "NEW"},
        {"amount": None},
        {"success_time": None},
        {"transaction_id": ""},
        {"amount": {"total": 100, "currency": "HKD"}},
    ],
)
def test_a_payment_that_is_not_ours_or_makes_no_sense_is_inconsistent(change: dict[str, object]) -> None:
    with pytest.raises(Inconsistent):
        _status(**change)


@pytest.mark.parametrize("total", [0, -1, 1.0, "100", None])
def test_an_amount_is_a_whole_number_of_fen_above_zero(total: object) -> None:
    with pytest.raises(ValidationError):
        _status(amount={"total": total, "currency": "CNY"})


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ValidationError):
        _status(success_time="2018-06-08T10:34:56")


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("PROCESSING", RailRefundState.PROCESSING),
        ("SUCCESS", RailRefundState.SUCCEEDED),
        ("ABNORMAL", RailRefundState.ABNORMAL),
        ("CLOSED", RailRefundState.CLOSED),
    ],
)
def test_refund_states_read_the_same_told_and_asked(status: str, state: RailRefundState) -> None:
    common: dict[str, object] = {
        "refund_id": "50000000382019052709732678859",
        "out_refund_no": "r-1",
        "success_time": "2018-06-08T10:34:56+08:00",
    }
    asked = RefundAnswer.model_validate(
        common | {"status": status, "amount": {"refund": 8, "currency": "CNY"}}
    )
    told = RefundNotice.model_validate(
        common | {"mchid": MCHID, "refund_status": status, "amount": {"refund": 8}}
    )
    changed = wechat_messages.refund_answer(asked)
    assert changed == wechat_messages.refund_notice(told, mchid=MCHID)
    assert isinstance(changed, RefundChanged)
    assert changed.state is state
    assert (changed.succeeded_at is not None) == (state is RailRefundState.SUCCEEDED)
    with pytest.raises(Inconsistent):
        wechat_messages.refund_notice(told, mchid="1")


def test_an_event_has_one_key_however_it_is_learnt() -> None:
    first, again = _status(), _status(trade_state="REFUND")
    assert isinstance(first, PaymentSucceeded)
    assert isinstance(again, PaymentSucceeded)
    assert first.event_key == again.event_key


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ORDER_NOT_EXIST", RejectionKind.NOT_FOUND),
        ("ORDERNOTEXIST", RejectionKind.NOT_FOUND),
        ("RESOURCE_NOT_EXISTS", RejectionKind.NOT_FOUND),
        ("ORDER_PAID", RejectionKind.ALREADY_PAID),
        ("ORDER_CLOSED", RejectionKind.CLOSED),
        ("FREQUENCY_LIMITED", RejectionKind.RETRY_LATER),
        ("NOT_ENOUGH", RejectionKind.RETRY_LATER),
        ("PARAM_ERROR", RejectionKind.REFUSED),
        ("SOMETHING_NEW", RejectionKind.REFUSED),
    ],
)
def test_a_refusal_says_what_to_do_next(code: str, kind: RejectionKind) -> None:
    assert wechat_messages.rejection_kind(code) is kind
