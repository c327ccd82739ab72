"""The worker's side of billing's jobs: the procrastinate app, its tasks, and the sweep that loses nothing.

A task is one short conversation with a rail that writes down the next one itself. When a worker dies in between,
the sweep finds what nobody is asking about; so jobs need no retry of their own and a job run twice is harmless.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import procrastinate
from procrastinate.middleware import WorkerMiddleware

from billing import job_queue, payments, rail_calls, refunds
from billing.rail_calls import RailDesk

SWEEP_CRON = "* * * * *"
"""Every minute."""

FORGET_CRON = "17 4 * * *"
"""Once a night."""

KEEP_FINISHED_H = 72
POLL_INTERVAL_S = 1.0


def worker_app(
    dsn: str, *, max_connections: int, concurrency: int, around: Sequence[WorkerMiddleware] = ()
) -> procrastinate.App:
    """Make the app a worker process opens (`open_async`) and runs (`run_worker_async`), with its own pool.

    Each of `concurrency` jobs runs in a thread and takes connections of the pool given to `register`. What is
    `around` them sees each job begin and end.
    """
    return procrastinate.App(
        connector=procrastinate.PsycopgConnector(conninfo=dsn, min_size=1, max_size=max_connections),
        worker_defaults={
            "concurrency": concurrency,
            "fetch_job_polling_interval": POLL_INTERVAL_S,
            "delete_jobs": "successful",
            "worker_middleware": list(around),
        },
    )


def register(app: procrastinate.App, desk: RailDesk) -> None:
    """Give the app the bodies of billing's tasks."""

    def instruct_refund(refund_id: str) -> None:
        rail_calls.instruct_refund(desk, UUID(refund_id))

    def query_payment(payment_id: str, attempt: int) -> None:
        rail_calls.query_payment(desk, UUID(payment_id), attempt=attempt)

    def close_payment(payment_id: str, attempt: int) -> None:
        rail_calls.close_payment(desk, UUID(payment_id), attempt=attempt)

    def sweep_rails(timestamp: int) -> None:
        del timestamp
        sweep(desk)

    async def forget_finished_jobs(timestamp: int) -> None:
        del timestamp
        await app.job_manager.delete_old_jobs(nb_hours=KEEP_FINISHED_H, include_failed=True)

    app.task(name=job_queue.INSTRUCT_REFUND, queue=job_queue.QUEUE)(instruct_refund)
    app.task(name=job_queue.QUERY_PAYMENT, queue=job_queue.QUEUE)(query_payment)
    app.task(name=job_queue.CLOSE_PAYMENT, queue=job_queue.QUEUE)(close_payment)
    app.periodic(cron=SWEEP_CRON)(app.task(name="sweep_rails", queue=job_queue.QUEUE)(sweep_rails))
    app.periodic(cron=FORGET_CRON)(
        app.task(name="forget_finished_jobs", queue=job_queue.QUEUE)(forget_finished_jobs)
    )


def sweep(desk: RailDesk) -> int:
    """Enqueue a question for every refund and payment whose outcome is open; returns how many were new."""
    enqueued = 0
    with desk.pool.connection() as conn:
        for refund_id in refunds.due(conn):
            enqueued += job_queue.defer_instruct_refund(conn, refund_id)
        for payment in payments.undecided(conn):
            enqueued += job_queue.defer_query_payment(conn, payment.payment_id)
    return enqueued
