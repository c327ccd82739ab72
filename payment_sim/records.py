"""Orders, refunds and notifications as the simulator keeps them, and how WeChat Pay writes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

BEIJING = timezone(timedelta(hours=8))

_TRADE_STATES = {"NOTPAY": "订单未支付", "SUCCESS": "支付成功", "REFUND": "转入退款", "CLOSED": "订单已关闭"}
_PAYER = {"openid": "oSimulatedRider0000000000000"}


@dataclass(frozen=True)
class Order:
    """One order; `link_until_s` is epoch seconds of real time, the instants are of the simulator's clock."""

    out_trade_no: str
    identity_sha256: str
    description: str
    attach: str
    notify_url: str
    total_fen: int
    refunded_fen: int
    state: str
    prepay_id: str
    link_until_s: float
    transaction_id: str | None
    created_at: str
    expires_at: str
    success_at: str | None

    @property
    def paid(self) -> bool:
        """Whether the money came, given back since or not."""
        return self.state in {"SUCCESS", "REFUND"}


@dataclass(frozen=True)
class Refund:
    """One refund; `settle_at_s` is epoch seconds of real time, `outcome` what it will then become."""

    out_refund_no: str
    out_trade_no: str
    identity_sha256: str
    refund_id: str
    notify_url: str | None
    amount_fen: int
    total_fen: int
    status: str
    outcome: str
    settle_at_s: float
    created_at: str
    success_at: str | None


@dataclass(frozen=True)
class Notification:
    """One notification; the same event may have several, each with its id and its own tries."""

    notification_id: str
    event_type: str
    notify_url: str
    original_type: str
    resource: str
    created_at: str
    tries: int


def rfc3339(at: datetime) -> str:
    """Write an instant as WeChat Pay does: Beijing time, whole seconds."""
    return at.astimezone(BEIJING).isoformat(timespec="seconds")


def transaction_body(order: Order, *, mchid: str, appid: str) -> dict[str, object]:
    """An order as a query answers it and as TRANSACTION.SUCCESS carries it."""
    body: dict[str, object] = {
        "appid": appid,
        "mchid": mchid,
        "out_trade_no": order.out_trade_no,
        "trade_state": order.state,
        "trade_state_desc": _TRADE_STATES[order.state],
        "attach": order.attach,
        "promotion_detail": [],
    }
    if not order.paid:
        return body
    return body | {
        "transaction_id": order.transaction_id,
        "trade_type": "MWEB",
        "bank_type": "OTHERS",
        "success_time": order.success_at,
        "payer": _PAYER,
        "amount": {
            "total": order.total_fen,
            "payer_total": order.total_fen,
            "currency": "CNY",
            "payer_currency": "CNY",
        },
    }


def refund_body(refund: Refund, *, transaction_id: str | None) -> dict[str, object]:
    """A refund as the refund call and the refund query answer it."""
    body: dict[str, object] = {
        "refund_id": refund.refund_id,
        "out_refund_no": refund.out_refund_no,
        "transaction_id": transaction_id,
        "out_trade_no": refund.out_trade_no,
        "channel": "ORIGINAL",
        "user_received_account": "支付用户零钱",
        "create_time": refund.created_at,
        "status": refund.status,
        "funds_account": "AVAILABLE",
        "promotion_detail": [],
        "amount": {
            "total": refund.total_fen,
            "refund": refund.amount_fen,
            "payer_total": refund.total_fen,
            "payer_refund": refund.amount_fen,
            "settlement_refund": refund.amount_fen,
            "settlement_total": refund.total_fen,
            "discount_refund": 0,
            "currency": "CNY",
        },
    }
    return body if refund.success_at is None else body | {"success_time": refund.success_at}


def refund_notice(refund: Refund, *, mchid: str, transaction_id: str | None) -> dict[str, object]:
    """A refund as REFUND.* notifications carry it."""
    body: dict[str, object] = {
        "mchid": mchid,
        "out_trade_no": refund.out_trade_no,
        "transaction_id": transaction_id,
        "out_refund_no": refund.out_refund_no,
        "refund_id": refund.refund_id,
        "refund_status": refund.status,
        "user_received_account": "支付用户零钱",
        "amount": {
            "total": refund.total_fen,
            "refund": refund.amount_fen,
            "payer_total": refund.total_fen,
            "payer_refund": refund.amount_fen,
        },
    }
    return body if refund.success_at is None else body | {"success_time": refund.success_at}
