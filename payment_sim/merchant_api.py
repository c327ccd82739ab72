"""The merchant's endpoints of API v3: every request verified first, every answer signed, refusals too."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from payment_sim import cashier, errors, records, requests, signing
from payment_sim.errors import ApiError
from payment_sim.faults import FaultBoard, Operation
from payment_sim.keys import Keys
from payment_sim.merchant_book import MerchantBook

MAX_BODY_BYTES = 64 * 1024


class BrokenOffResponse(Response):
    """An answer whose connection breaks before its body: the work is done and the merchant does not know."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Promise a body and leave; the server then cuts the connection."""
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4096")]})


class MerchantApi:
    """Answers one merchant's calls."""

    def __init__(self, book: MerchantBook, keys: Keys, board: FaultBoard, *, public_url: str) -> None:
        self._book = book
        self._keys = keys
        self._board = board
        self._public_url = public_url

    def router(self) -> APIRouter:
        """The endpoints; bodies arrive verified."""
        routes = APIRouter()
        prefix = "/v3/pay/transactions/out-trade-no/{out_trade_no}"

        @routes.post("/v3/pay/transactions/h5")
        def place_order(body: bytes = Depends(self._verified)) -> Response:
            return self._answer(Operation.PLACE_ORDER, lambda: self._place_order(body))

        @routes.get(prefix, dependencies=[Depends(self._verified)])
        def query_order(out_trade_no: str, mchid: Annotated[str, Query()] = "") -> Response:
            return self._answer(Operation.QUERY_ORDER, lambda: self._query_order(out_trade_no, mchid))

        @routes.post(f"{prefix}/close")
        def close_order(out_trade_no: str, body: bytes = Depends(self._verified)) -> Response:
            return self._answer(Operation.CLOSE_ORDER, lambda: self._close_order(out_trade_no, body))

        @routes.post("/v3/refund/domestic/refunds")
        def place_refund(body: bytes = Depends(self._verified)) -> Response:
            return self._answer(Operation.PLACE_REFUND, lambda: self._place_refund(body))

        @routes.get("/v3/refund/domestic/refunds/{out_refund_no}", dependencies=[Depends(self._verified)])
        def query_refund(out_refund_no: str) -> Response:
            return self._answer(Operation.QUERY_REFUND, lambda: self._query_refund(out_refund_no))

        return routes

    def refusal(self, error: ApiError) -> Response:
        """A refusal as the documents write it."""
        content = {"code": error.code, "message": error.message}
        return self._signed(error.status, content, detail_code=error.detail_code)

    async def _verified(self, request: Request) -> bytes:
        body = await request.body()
        if len(body) > MAX_BODY_BYTES:
            raise errors.parameter_error("请求体过大")
        raw_path: bytes = request.scope["raw_path"]
        query: bytes = request.scope["query_string"]
        target = raw_path.decode() + (f"?{query.decode()}" if query else "")
        signing.verify_request(
            self._keys,
            authorization=request.headers.get("Authorization", ""),
            method=request.method,
            target=target,
            body=body,
        )
        return body

    def _answer(self, operation: Operation, work: Callable[[], Mapping[str, object] | None]) -> Response:
        if self._board.take_failed_call(operation):
            raise errors.system_error()
        content = work()
        if self._board.take_lost_answer(operation):
            return BrokenOffResponse()
        return self._signed(204 if content is None else 200, content)

    def _signed(
        self, status: int, content: Mapping[str, object] | None, *, detail_code: str = "0"
    ) -> Response:
        body = b"" if content is None else json.dumps(content, ensure_ascii=False).encode()
        headers = {
            **signing.signed_headers(self._keys, body),
            "Request-ID": f"{secrets.token_hex(10).upper()}-{detail_code}",
        }
        media_type = None if content is None else "application/json; charset=utf-8"
        return Response(body, status_code=status, headers=headers, media_type=media_type)

    def _place_order(self, body: bytes) -> Mapping[str, object]:
        order = self._book.place_order(requests.parse(requests.PlaceOrder, body))
        return {"h5_url": cashier.page_url(self._public_url, order)}

    def _query_order(self, out_trade_no: str, mchid: str) -> Mapping[str, object]:
        self._check_mchid(mchid)
        order = self._book.order(out_trade_no)
        return records.transaction_body(order, mchid=self._keys.mchid, appid=self._keys.appid)

    def _close_order(self, out_trade_no: str, body: bytes) -> None:
        self._check_mchid(requests.parse(requests.CloseOrder, body).mchid)
        self._book.close(out_trade_no)

    def _place_refund(self, body: bytes) -> Mapping[str, object]:
        refund, order = self._book.place_refund(requests.parse(requests.PlaceRefund, body))
        return records.refund_body(refund, transaction_id=order.transaction_id)

    def _query_refund(self, out_refund_no: str) -> Mapping[str, object]:
        refund, order = self._book.refund(out_refund_no)
        return records.refund_body(refund, transaction_id=order.transaction_id)

    def _check_mchid(self, mchid: str) -> None:
        if mchid != self._keys.mchid:
            raise errors.parameter_error("商户号与签名商户不一致")
