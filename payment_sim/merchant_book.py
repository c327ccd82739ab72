"""The merchant's orders, refunds and balance, and the rules by which they change.

Each public method is one transaction that also queues the notifications it causes.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from payment_sim import errors, outbox, records, rows
from payment_sim.database import Database
from payment_sim.faults import FaultBoard, RefundOutcome
from payment_sim.keys import Keys
from payment_sim.records import Order, Refund
from payment_sim.requests import PlaceOrder, PlaceRefund

LINK_LIFE_S = 300.0
"""How long a payment page's address is good, in real seconds."""

MIN_ORDER_LIFE = timedelta(minutes=1)
MAX_ORDER_LIFE = timedelta(days=7)
MAX_REFUNDS_PER_ORDER = 50


@dataclass(frozen=True)
class Balance:
    """The merchant's money at the simulator, in fen."""

    received_fen: int
    refunded_fen: int
    withdrawn_fen: int
    available_fen: int


class MerchantBook:
    """State of one merchant; `clock` gives business times, real time gives delays."""

    def __init__(
        self,
        database: Database,
        keys: Keys,
        board: FaultBoard,
        *,
        clock: Callable[[], datetime],
        refund_delay_s: float,
        wake: Callable[[], None],
    ) -> None:
        self._database = database
        self._keys = keys
        self._board = board
        self._clock = clock
        self._refund_delay_s = refund_delay_s
        self._wake = wake

    def place_order(self, request: PlaceOrder) -> Order:
        """Take an order, or give a known one a fresh address; changed parameters are refused."""
        self._check_ours(request.mchid, request.appid)
        identity = request.identity_sha256()
        now = self._clock()
        with self._database.transaction() as db:
            known = rows.order(db, request.out_trade_no)
            if known is not None:
                return self._place_again(db, known, identity)
            expires_at = request.expires_at(earliest=now + MIN_ORDER_LIFE, latest=now + MAX_ORDER_LIFE)
            db.execute(
                """
                INSERT INTO trade_order (out_trade_no, identity_sha256, description, attach, notify_url, total_fen,
                                         state, prepay_id, link_until_s, created_at, expires_at)
                VALUES (?, ?, ?, ?, ?, ?, 'NOTPAY', ?, ?, ?, ?)
                """,
                (
                    request.out_trade_no,
                    identity,
                    request.description,
                    request.attach or "",
                    request.notify_url,
                    request.amount.total,
                    "wx" + secrets.token_hex(17),
                    time.time() + LINK_LIFE_S,
                    now.isoformat(),
                    expires_at.isoformat(),
                ),
            )
            return rows.known_order(db, request.out_trade_no)

    def order(self, out_trade_no: str) -> Order:
        """Look an order up; raises ORDER_NOT_EXIST."""
        with self._database.transaction() as db:
            return rows.known_order(db, out_trade_no)

    def order_of_page(self, prepay_id: str) -> Order | None:
        """Look an order up by its payment page."""
        with self._database.transaction() as db:
            row = db.execute(
                "SELECT out_trade_no FROM trade_order WHERE prepay_id = ?", (prepay_id,)
            ).fetchone()
            return None if row is None else rows.known_order(db, row["out_trade_no"])

    def pay(self, out_trade_no: str) -> Order:
        """The rider pays: once. Raises ORDER_PAID, ORDER_CLOSED, or INVALID_REQUEST after the time to pay."""
        now = self._clock()
        with self._database.transaction() as db:
            order = rows.known_order(db, out_trade_no)
            if order.paid:
                raise errors.order_paid()
            if order.state == "CLOSED":
                raise errors.order_closed()
            if now > datetime.fromisoformat(order.expires_at):
                raise errors.invalid_request("订单已过支付结束时间")
            db.execute(
                """
                UPDATE trade_order SET state = 'SUCCESS', transaction_id = ?, success_at = ? WHERE out_trade_no = ?
                """,
                (rows.long_number("42"), records.rfc3339(now), out_trade_no),
            )
            rows.book(db, "payment", out_trade_no, order.total_fen)
            paid = rows.known_order(db, out_trade_no)
            body = records.transaction_body(paid, mchid=self._keys.mchid, appid=self._keys.appid)
            outbox.put(
                db,
                event_type="TRANSACTION.SUCCESS",
                original_type="transaction",
                notify_url=order.notify_url,
                body=body,
                at=now,
                faults=self._board.faults,
            )
        self._wake()
        return paid

    def close(self, out_trade_no: str) -> None:
        """Close an unpaid order, any number of times; raises ORDER_PAID and ORDER_NOT_EXIST."""
        with self._database.transaction() as db:
            if rows.known_order(db, out_trade_no).paid:
                raise errors.order_paid()
            db.execute("UPDATE trade_order SET state = 'CLOSED' WHERE out_trade_no = ?", (out_trade_no,))

    def place_refund(self, request: PlaceRefund) -> tuple[Refund, Order]:
        """Take a refund, or answer a known one; changed parameters and too much money are refused."""
        with self._database.transaction() as db:
            known = rows.refund(db, request.out_refund_no)
            if known is not None:
                if known.identity_sha256 != request.identity_sha256():
                    raise errors.invalid_request(
                        "退款单号重入时，参数与首次请求时不一致", errors.PARAMETERS_CHANGED
                    )
                return known, rows.known_order(db, known.out_trade_no)
            order = rows.order_to_refund(db, request)
            self._check_refundable(db, order, request)
            refund = self._insert_refund(db, order, request)
            paid_back = order.refunded_fen + refund.amount_fen
            db.execute(
                "UPDATE trade_order SET state = 'REFUND', refunded_fen = ? WHERE out_trade_no = ?",
                (paid_back, order.out_trade_no),
            )
            rows.book(db, "refund", refund.out_refund_no, -refund.amount_fen)
        self._wake()
        return refund, order

    def refund(self, out_refund_no: str) -> tuple[Refund, Order]:
        """Look a refund and its order up; raises RESOURCE_NOT_EXISTS."""
        with self._database.transaction() as db:
            refund = rows.refund(db, out_refund_no)
            if refund is None:
                raise errors.resource_not_exists()
            return refund, rows.known_order(db, refund.out_trade_no)

    def settle_due_refunds(self) -> float | None:
        """Let refunds whose time has come end; returns when the next is due, in epoch seconds."""
        with self._database.transaction() as db:
            found = db.execute(
                "SELECT out_refund_no FROM refund WHERE status = 'PROCESSING' AND settle_at_s <= ?",
                (time.time(),),
            ).fetchall()
            for row in found:
                self._settle(db, row["out_refund_no"], None)
            following = db.execute(
                "SELECT min(settle_at_s) AS due FROM refund WHERE status = 'PROCESSING'"
            ).fetchone()
            return following["due"]

    def finish_refund(self, out_refund_no: str) -> tuple[Refund, Order]:
        """A slow or abnormal refund reaches the rider after all, as when somebody at the bank sees to it."""
        with self._database.transaction() as db:
            refund = rows.refund(db, out_refund_no)
            if refund is None:
                raise errors.resource_not_exists()
            if refund.status in {"SUCCESS", "CLOSED"}:
                raise errors.invalid_request("退款已结束")
            self._settle(db, out_refund_no, RefundOutcome.SUCCESS)
            finished = rows.known_refund(db, out_refund_no)
            order = rows.known_order(db, finished.out_trade_no)
        self._wake()
        return finished, order

    def withdraw(self, amount_fen: int) -> None:
        """The merchant takes money out; raises NOT_ENOUGH."""
        with self._database.transaction() as db:
            if rows.available_fen(db) < amount_fen:
                raise errors.not_enough()
            rows.book(db, "withdrawal", secrets.token_hex(8), -amount_fen)

    def balance(self) -> Balance:
        """Add the merchant's lines up."""
        with self._database.transaction() as db:
            found = db.execute(
                "SELECT kind, sum(amount_fen) AS fen FROM balance_line GROUP BY kind"
            ).fetchall()
            fen = {row["kind"]: int(row["fen"]) for row in found}
            return Balance(
                received_fen=fen.get("payment", 0),
                refunded_fen=-fen.get("refund", 0) - fen.get("refund_returned", 0),
                withdrawn_fen=-fen.get("withdrawal", 0),
                available_fen=rows.available_fen(db),
            )

    def _check_ours(self, mchid: str, appid: str) -> None:
        if mchid != self._keys.mchid:
            raise errors.parameter_error("商户号与签名商户不一致")
        if appid != self._keys.appid:
            raise errors.ApiError(400, "APPID_MCHID_NOT_MATCH", "appid和mch_id不匹配")

    def _place_again(self, db: sqlite3.Connection, known: Order, identity: str) -> Order:
        if known.paid:
            raise errors.order_paid()
        if known.state == "CLOSED":
            raise errors.order_closed()
        if known.identity_sha256 != identity:
            raise errors.invalid_request("请求重入时，参数与首次请求时不一致", errors.PARAMETERS_CHANGED)
        db.execute(
            "UPDATE trade_order SET link_until_s = ? WHERE out_trade_no = ?",
            (time.time() + LINK_LIFE_S, known.out_trade_no),
        )
        return rows.known_order(db, known.out_trade_no)

    def _check_refundable(self, db: sqlite3.Connection, order: Order, request: PlaceRefund) -> None:
        if not order.paid:
            raise errors.invalid_request("订单未支付，不可退款")
        if request.amount.total != order.total_fen:
            raise errors.invalid_request("订单金额与原订单不一致")
        if request.amount.refund > order.total_fen - order.refunded_fen:
            raise errors.invalid_request("申请退款金额超过订单可退金额")
        count = db.execute(
            "SELECT count(*) AS refunds FROM refund WHERE out_trade_no = ?", (order.out_trade_no,)
        ).fetchone()
        if count["refunds"] >= MAX_REFUNDS_PER_ORDER:
            raise errors.invalid_request("订单退款次数已达上限")
        if request.amount.refund > rows.available_fen(db):
            raise errors.not_enough()

    def _insert_refund(self, db: sqlite3.Connection, order: Order, request: PlaceRefund) -> Refund:
        faults = self._board.faults
        delay_s = self._refund_delay_s if faults.refund_delay_s is None else faults.refund_delay_s
        db.execute(
            """
            INSERT INTO refund (out_refund_no, out_trade_no, identity_sha256, refund_id, notify_url, amount_fen,
                                total_fen, status, outcome, settle_at_s, created_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, 'PROCESSING', ?, ?, ?)
            """,
            (
                request.out_refund_no,
                order.out_trade_no,
                request.identity_sha256(),
                rows.long_number("503"),
                request.notify_url,
                request.amount.refund,
                order.total_fen,
                faults.refund_outcome,
                time.time() + delay_s,
                records.rfc3339(self._clock()),
            ),
        )
        return rows.known_refund(db, request.out_refund_no)

    def _settle(self, db: sqlite3.Connection, out_refund_no: str, outcome: RefundOutcome | None) -> None:
        pending = rows.known_refund(db, out_refund_no)
        status = outcome or RefundOutcome(pending.outcome)
        success_at = records.rfc3339(self._clock()) if status is RefundOutcome.SUCCESS else None
        db.execute(
            "UPDATE refund SET status = ?, success_at = ? WHERE out_refund_no = ?",
            (status, success_at, out_refund_no),
        )
        if status is RefundOutcome.CLOSED:
            db.execute(
                "UPDATE trade_order SET refunded_fen = refunded_fen - ? WHERE out_trade_no = ?",
                (pending.amount_fen, pending.out_trade_no),
            )
            rows.book(db, "refund_returned", out_refund_no, pending.amount_fen)
        settled = rows.known_refund(db, out_refund_no)
        order = rows.known_order(db, settled.out_trade_no)
        body = records.refund_notice(settled, mchid=self._keys.mchid, transaction_id=order.transaction_id)
        outbox.put(
            db,
            event_type=f"REFUND.{status}",
            original_type="refund",
            notify_url=settled.notify_url or order.notify_url,
            body=body,
            at=self._clock(),
            faults=self._board.faults,
        )
