"""The payment page a rider's phone opens: one order, a button to pay and one to cancel.

It says that it is a simulator before anything else, so that nobody takes it for the real one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader

from payment_sim.errors import ApiError
from payment_sim.keys import Keys
from payment_sim.merchant_book import MerchantBook
from payment_sim.records import Order

PATH = "/cashier"

_PrepayId = Annotated[str, Query(max_length=64)]
_ReturnUrl = Annotated[str, Query(max_length=2048)]

_templates = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)


@dataclass(frozen=True)
class Headline:
    """What became of the order, in both languages."""

    zh: str
    en: str


_UNKNOWN = Headline("订单不存在", "No such order")
_STALE = Headline("支付链接已过期", "This link has expired")
_PAID = Headline("支付成功", "Paid")
_CLOSED = Headline("订单已关闭", "This order is closed")
_REFUSED = Headline("无法支付", "This order cannot be paid")

_SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page_url(public_url: str, order: Order) -> str:
    """The address given to the merchant; it may append `&redirect_url=`."""
    return f"{public_url.rstrip('/')}{PATH}?{urlencode({'prepay_id': order.prepay_id})}"


def router(book: MerchantBook, keys: Keys) -> APIRouter:
    """The page and its two buttons."""
    routes = APIRouter(include_in_schema=False)

    @routes.get(PATH)
    def show(prepay_id: _PrepayId, redirect_url: _ReturnUrl = "") -> Response:
        order = book.order_of_page(prepay_id)
        return _page(keys, order, _headline(order), redirect_url)

    @routes.post(f"{PATH}/pay")
    def pay(prepay_id: _PrepayId, redirect_url: _ReturnUrl = "") -> Response:
        order = book.order_of_page(prepay_id)
        headline = _headline(order)
        if order is None or headline is not None:
            return _page(keys, order, headline, redirect_url)
        try:
            paid = book.pay(order.out_trade_no)
        except ApiError:
            return _page(keys, order, _REFUSED, redirect_url)
        return _leave(redirect_url) or _page(keys, paid, _PAID, redirect_url)

    @routes.post(f"{PATH}/cancel")
    def cancel(prepay_id: _PrepayId, redirect_url: _ReturnUrl = "") -> Response:
        # As with the real one, going back leaves the order open: the merchant decides when to close it.
        order = book.order_of_page(prepay_id)
        return _leave(redirect_url) or _page(keys, order, _headline(order), redirect_url)

    return routes


def _headline(order: Order | None) -> Headline | None:
    if order is None:
        return _UNKNOWN
    if order.paid:
        return _PAID
    if order.state == "CLOSED":
        return _CLOSED
    return _STALE if time.time() > order.link_until_s else None


def _page(keys: Keys, order: Order | None, headline: Headline | None, redirect_url: str) -> HTMLResponse:
    query = "" if order is None else urlencode({"prepay_id": order.prepay_id, "redirect_url": redirect_url})
    html = _templates.get_template("cashier.html").render(
        order=order,
        headline=headline,
        payable=order is not None and headline is None,
        amount_yuan="" if order is None else f"{order.total_fen // 100}.{order.total_fen % 100:02d}",
        mchid=keys.mchid,
        pay_path=f"{PATH}/pay?{query}",
        cancel_path=f"{PATH}/cancel?{query}",
        return_url=redirect_url if _is_web(redirect_url) else "",
    )
    status = 404 if order is None else 200
    return HTMLResponse(html, status_code=status, headers=_SECURITY_HEADERS)


def _leave(redirect_url: str) -> RedirectResponse | None:
    return RedirectResponse(redirect_url, status_code=303) if _is_web(redirect_url) else None


def _is_web(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in {"http", "https"} and bool(parts.hostname)
