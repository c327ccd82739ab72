"""The simulated WeChat Pay as one web application: the merchant's API, the rider's page, and switches for tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Body, FastAPI, Request
from fastapi.responses import Response

from payment_sim import cashier, records
from payment_sim.courier import DOCUMENTED_RETRIES_S, Courier
from payment_sim.database import Database
from payment_sim.errors import ApiError
from payment_sim.faults import FaultBoard, Faults
from payment_sim.keys import Keys
from payment_sim.merchant_api import MerchantApi
from payment_sim.merchant_book import MerchantBook


@dataclass(frozen=True)
class SimConfig:
    """Where the simulator keeps its state and how it behaves; delays are real seconds.

    `public_url` is where phones reach it. `retry_scale` shortens the documented retry schedule.
    """

    directory: Path
    keys: Keys
    public_url: str
    refund_delay_s: float = 0.5
    retry_scale: float = 0.05

    @property
    def retries_s(self) -> Sequence[float]:
        """The waits between tries of a notification."""
        return [delay_s * self.retry_scale for delay_s in DOCUMENTED_RETRIES_S]


def create_app(config: SimConfig, clock: Callable[[], datetime]) -> FastAPI:
    """Build the application; `clock` gives the times of payments and refunds, signatures go by real time.

    What an earlier run was told is there again: orders, refunds, balance and unsent notifications.
    """
    database = Database(config.directory)
    board = FaultBoard()
    courier = Courier(database, config.keys, board, retries_s=config.retries_s)
    book = MerchantBook(
        database,
        config.keys,
        board,
        clock=clock,
        refund_delay_s=config.refund_delay_s,
        wake=courier.wake,
    )
    api = MerchantApi(book, config.keys, board, public_url=config.public_url)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        courier.start(book)
        yield
        courier.stop()
        database.close()

    app = FastAPI(title="Simulated WeChat Pay API v3", lifespan=lifespan)
    app.include_router(api.router())
    app.include_router(cashier.router(book, config.keys))
    app.include_router(_switches(book, board, config.keys))

    def refuse(_: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return api.refusal(error)

    app.add_exception_handler(ApiError, refuse)
    return app


def _switches(book: MerchantBook, board: FaultBoard, keys: Keys) -> APIRouter:
    """What simulated riders and tests do; unsigned, because a simulator has nothing to protect."""
    routes = APIRouter(prefix="/sim", tags=["simulator"])

    @routes.post("/orders/{out_trade_no}/pay")
    def pay(out_trade_no: str) -> Mapping[str, object]:
        return records.transaction_body(book.pay(out_trade_no), mchid=keys.mchid, appid=keys.appid)

    @routes.get("/orders/{out_trade_no}")
    def order(out_trade_no: str) -> Mapping[str, object]:
        return asdict(book.order(out_trade_no))

    @routes.get("/refunds/{out_refund_no}")
    def refund(out_refund_no: str) -> Mapping[str, object]:
        return asdict(book.refund(out_refund_no)[0])

    @routes.post("/refunds/{out_refund_no}/finish")
    def finish_refund(out_refund_no: str) -> Mapping[str, object]:
        return asdict(book.finish_refund(out_refund_no)[0])

    @routes.get("/balance")
    def balance() -> Mapping[str, object]:
        return asdict(book.balance())

    @routes.post("/withdrawals")
    def withdraw(amount_fen: Annotated[int, Body(embed=True, gt=0)]) -> Mapping[str, object]:
        book.withdraw(amount_fen)
        return asdict(book.balance())

    @routes.get("/faults")
    def faults() -> Faults:
        return board.faults

    @routes.put("/faults")
    def put_faults(faults: Faults) -> Faults:
        board.put(faults)
        return board.faults

    return routes
