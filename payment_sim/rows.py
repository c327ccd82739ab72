"""Reads and writes of single rows that the merchant's book is made of; the caller holds the transaction."""

from __future__ import annotations

import secrets
import sqlite3

from payment_sim import errors
from payment_sim.records import Order, Refund
from payment_sim.requests import PlaceRefund


def order(db: sqlite3.Connection, out_trade_no: str) -> Order | None:
    """Read an order, if there is one."""
    row = db.execute(
        """
        SELECT out_trade_no, identity_sha256, description, attach, notify_url, total_fen, refunded_fen, state,
               prepay_id, link_until_s, transaction_id, created_at, expires_at, success_at
          FROM trade_order WHERE out_trade_no = ?
        """,
        (out_trade_no,),
    ).fetchone()
    return None if row is None else Order(*row)


def known_order(db: sqlite3.Connection, out_trade_no: str) -> Order:
    """Read an order; raises ORDER_NOT_EXIST."""
    found = order(db, out_trade_no)
    if found is None:
        raise errors.order_not_exist()
    return found


def refund(db: sqlite3.Connection, out_refund_no: str) -> Refund | None:
    """Read a refund, if there is one."""
    row = db.execute(
        """
        SELECT out_refund_no, out_trade_no, identity_sha256, refund_id, notify_url, amount_fen, total_fen, status,
               outcome, settle_at_s, created_at, success_at
          FROM refund WHERE out_refund_no = ?
        """,
        (out_refund_no,),
    ).fetchone()
    return None if row is None else Refund(*row)


def known_refund(db: sqlite3.Connection, out_refund_no: str) -> Refund:
    """Read a refund; raises RESOURCE_NOT_EXISTS."""
    found = refund(db, out_refund_no)
    if found is None:
        raise errors.resource_not_exists()
    return found


def order_to_refund(db: sqlite3.Connection, request: PlaceRefund) -> Order:
    """The order a refund names by either number; raises RESOURCE_NOT_EXISTS."""
    out_trade_no = request.out_trade_no
    if request.transaction_id is not None:
        row = db.execute(
            "SELECT out_trade_no FROM trade_order WHERE transaction_id = ?", (request.transaction_id,)
        ).fetchone()
        out_trade_no = None if row is None else str(row["out_trade_no"])
    found = None if out_trade_no is None else order(db, out_trade_no)
    if found is None:
        raise errors.resource_not_exists()
    return found


def book(db: sqlite3.Connection, kind: str, reference: str, amount_fen: int) -> None:
    """Add a line to the merchant's balance: once for each kind and reference."""
    db.execute(
        "INSERT INTO balance_line (kind, reference, amount_fen) VALUES (?, ?, ?)",
        (kind, reference, amount_fen),
    )


def available_fen(db: sqlite3.Connection) -> int:
    """What the merchant has at the simulator, in fen."""
    row = db.execute("SELECT coalesce(sum(amount_fen), 0) AS fen FROM balance_line").fetchone()
    return int(row["fen"])


def long_number(prefix: str) -> str:
    """A number of 28 digits as WeChat Pay gives them."""
    return prefix + "".join(secrets.choice("0123456789") for _ in range(28 - len(prefix)))
