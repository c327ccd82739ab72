"""The worker process: billing's jobs, and the sweep of everything whose time has come."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from time import monotonic
from typing import Any, cast

import procrastinate
import psycopg
import structlog
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolTimeout

from billing import job_queue, jobs
from billing.rail_calls import RailDesk
from charging import timers
from charging.waits import Waits
from pileway import composition, rails
from pileway.process import tell_ready
from pileway.settings import Settings
from pileway.telemetry import registry
from pileway.telemetry.business import BusinessCollector
from pileway.telemetry.readiness import DatabaseCheck
from pileway.telemetry.requests import Loops
from pileway.telemetry.server import Checks, OpsServer, turning
from pileway.telemetry.worker_metrics import WorkerMeasures

log = structlog.get_logger()

JOBS_AT_ONCE = 4
CONNECTIONS = JOBS_AT_ONCE + 2
QUEUE_CONNECTIONS = 4
SWEEP_INTERVAL_S = 0.5
"""Real seconds between two sweeps: how late a deadline can be noticed."""
CASES_AT_ONCE = 200
"""How many cases of one kind a sweep handles before it looks at the others."""
SHUTDOWN_S = 10.0
RECONNECT_S = 2.0
"""Real seconds before the job queue is opened again after the database was lost."""

Pool = ConnectionPool[psycopg.Connection[TupleRow]]


def run(settings: Settings) -> None:
    """Work until told to stop; a lost database is waited for."""
    with composition.pool(settings, max_size=CONNECTIONS) as pool:
        desk = rails.rail_desk(settings, pool)
        waits = composition.waits(settings)
        measures, loops = WorkerMeasures(), Loops()
        with ops_server(settings, pool, waits, measures, loops):
            asyncio.run(_run(composition.database_url(settings), desk, waits, measures, loops))


def ops_server(
    settings: Settings, pool: Pool, waits: Waits, measures: WorkerMeasures, loops: Loops
) -> OpsServer:
    """Where the worker shows itself, and what is read of the whole business."""
    business = BusinessCollector(pool, clock=settings.clock.now, waits=waits, speed=settings.clock_speed)
    database = DatabaseCheck(pool, question=measures.question)
    measures.expect_steps(step.__name__ for step in timers.STEPS)

    def health() -> Checks:
        return {**loops.check(), **turning({"sweep": measures.turned_s}, database=database)}

    return OpsServer(
        settings,
        "worker",
        registry=registry.create(pool, measures, business),
        health=health,
        ready=database,
    )


async def _run(dsn: str, desk: RailDesk, waits: Waits, measures: WorkerMeasures, loops: Loops) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loops.note("event loop")
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_sweep(desk.pool, clock=desk.clock, waits=waits, stop=stop, measures=measures))
        tasks.create_task(_work(dsn, desk, stop=stop, measures=measures))


async def _work(dsn: str, desk: RailDesk, *, stop: asyncio.Event, measures: WorkerMeasures) -> None:
    while not stop.is_set():
        app = jobs.worker_app(
            dsn,
            max_connections=QUEUE_CONNECTIONS,
            concurrency=JOBS_AT_ONCE,
            around=[measures.around_job],
        )
        jobs.register(app, desk)
        measures.expect_jobs(tasks(app))
        try:
            async with app.open_async():
                measures.queue_open = True
                tell_ready()
                worker = asyncio.create_task(
                    app.run_worker_async(install_signal_handlers=False, shutdown_graceful_timeout=SHUTDOWN_S)
                )
                stopping = asyncio.create_task(stop.wait())
                await asyncio.wait({worker, stopping}, return_when=asyncio.FIRST_COMPLETED)
                stopping.cancel()
                if not worker.done():
                    worker.cancel()
                with suppress(asyncio.CancelledError):
                    await worker
        except Exception as error:  # noqa: BLE001  # outermost line: the queue comes back with the database
            measures.queue_open = False
            log.warning("job_queue_lost", error=type(error).__name__)
            await _pause(stop, RECONNECT_S)


def tasks(app: procrastinate.App) -> list[str]:
    """The names of our own tasks; the library brings some of its own, in another queue."""
    known = cast("dict[str, Any]", app.tasks)  # pyright: ignore[reportUnknownMemberType]  # its tasks are half typed
    return [task.name for task in known.values() if task.queue == job_queue.QUEUE]


async def _sweep(
    pool: Pool,
    *,
    clock: Callable[[], datetime],
    waits: Waits,
    stop: asyncio.Event,
    measures: WorkerMeasures,
) -> None:
    while not stop.is_set():
        for step in timers.STEPS:
            measures.turned_s = monotonic()
            try:
                cases = await asyncio.to_thread(_repeat, pool, step, clock, waits)
            except (psycopg.OperationalError, psycopg.InternalError, PoolTimeout) as error:
                measures.failed(step.__name__)
                log.warning("sweep_postponed", step=step.__name__, error=type(error).__name__)
            except Exception:
                # Outermost line: one case that cannot be handled must not end the worker, and with it refunds.
                measures.failed(step.__name__)
                log.exception("sweep_failed", step=step.__name__)
            else:
                measures.swept(step.__name__, cases)
                if cases:
                    log.info("swept", step=step.__name__, cases=cases)
        measures.round_ended_s = monotonic()
        await _pause(stop, SWEEP_INTERVAL_S)


def _repeat(pool: Pool, step: timers.Step, clock: Callable[[], datetime], waits: Waits) -> int:
    """Take a step while it finds a case, each in its own transaction, for at most CASES_AT_ONCE."""
    for cases in range(CASES_AT_ONCE):
        with pool.connection() as conn:
            if not step(conn, waits, clock()):
                return cases
    return CASES_AT_ONCE


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
