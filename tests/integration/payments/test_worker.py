"""The worker's tasks run by a real procrastinate worker on the real queue."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from billing import jobs, payments, refunds
from billing.refunds import RefundCause, RefundState

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.payments.conftest import Till


async def _work_until(till: Till, dsn: str, condition: Callable[[], bool]) -> None:
    app = jobs.worker_app(dsn, max_connections=4, concurrency=4)
    jobs.register(app, till.desk)
    async with app.open_async():
        worker = asyncio.create_task(app.run_worker_async(install_signal_handlers=False))
        try:
            async with asyncio.timeout(30):
                while not await asyncio.to_thread(condition):
                    await asyncio.to_thread(threading.Event().wait, 0.05)
        finally:
            worker.cancel()
            await asyncio.wait({worker}, timeout=10)


def test_a_payment_nobody_notified_is_found_and_its_refund_paid_by_the_worker(till: Till, dsn: str) -> None:
    till.sim.put_faults(drop_notifications=True)
    payment = till.place(amount_fen=500)
    till.sim.pay(payment.out_trade_no)

    def paid() -> bool:
        return till.read(payment).state == "paid"

    asyncio.run(_work_until(till, dsn, paid))
    with till.pool.connection() as conn:
        refund = refunds.request(
            conn,
            payment_id=payment.payment_id,
            amount_fen=500,
            cause=RefundCause.START_FAILED,
            idempotency_key="start-failed",
            now=payment.created_at,
        )

    def refunded() -> bool:
        with till.pool.connection() as conn:
            return refunds.get(conn, refund.refund_id).state is RefundState.SUCCEEDED

    asyncio.run(_work_until(till, dsn, refunded))
    assert till.sim.balance()["available_fen"] == 0
    assert len(till.told.refunded) == 1


def test_a_payment_we_gave_up_is_closed_at_the_rail_by_the_worker(till: Till, dsn: str) -> None:
    payment = till.place()
    with till.pool.connection() as conn:
        payments.close(conn, payment_id=payment.payment_id, now=payment.created_at)

    def closed() -> bool:
        return till.read(payment).rail_closed_at is not None

    asyncio.run(_work_until(till, dsn, closed))
    assert till.sim.order(payment.out_trade_no)["state"] == "CLOSED"
