"""What the worker counts of its jobs and its sweeps, and whether both go on."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from prometheus_client.core import Metric

from billing import job_queue
from database.pool import Connection
from gateway.measures import Distribution
from pileway.telemetry import families
from pileway.telemetry.server import Checks

if TYPE_CHECKING:
    from procrastinate.job_context import JobContext
    from procrastinate.middleware import AsyncCallNext
    from procrastinate.worker import Worker

BOUNDS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SUCCEEDED, FAILED = OUTCOMES = ("succeeded", "failed")


@dataclass(eq=False)
class WorkerMeasures:
    """Written in the worker's event loop; a collector."""

    queue_open: bool = False
    """Whether jobs are being fetched."""
    turned_s: float = field(default_factory=monotonic)
    """When the sweep last took a step, by the monotonic clock."""
    round_ended_s: float = field(default_factory=monotonic)
    """When a whole sweep last ended, by the monotonic clock."""
    jobs: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    job_s: dict[tuple[str, ...], Distribution] = field(default_factory=dict[tuple[str, ...], Distribution])
    cases: Counter[tuple[str]] = field(default_factory=Counter[tuple[str]])
    failures: Counter[tuple[str]] = field(default_factory=Counter[tuple[str]])

    def expect_jobs(self, tasks: Iterable[str]) -> None:
        """Show these tasks from now on: a series born with its first failure hides that one."""
        for task in tasks:
            for outcome in OUTCOMES:
                self.jobs[task, outcome] += 0

    def expect_steps(self, steps: Iterable[str]) -> None:
        """Show these steps of the sweep from now on."""
        for step in steps:
            self.cases[(step,)] += 0
            self.failures[(step,)] += 0

    async def around_job(self, call_next: "AsyncCallNext", context: "JobContext", worker: "Worker") -> Any:
        """A worker middleware of the job queue: one job, from its beginning to its end."""
        del worker
        task, began_s, outcome = context.job.task_name, monotonic(), FAILED
        try:
            result = await call_next()
            outcome = SUCCEEDED
        finally:
            self.jobs[task, outcome] += 1
            if (task,) not in self.job_s:
                self.job_s = {**self.job_s, (task,): Distribution(BOUNDS_S)}
            self.job_s[(task,)].add(monotonic() - began_s)
        return result

    def swept(self, step: str, cases: int) -> None:
        """A step of the sweep handled so many cases."""
        self.cases[(step,)] += cases

    def failed(self, step: str) -> None:
        """A step of the sweep failed, or found no database."""
        self.failures[(step,)] += 1

    def question(self, conn: Connection) -> Checks:
        """Whether the job queue answers and jobs are being fetched."""
        job_queue.queues(conn)
        return {"job queue": None if self.queue_open else "is not open"}

    def collect(self) -> Iterable[Metric]:
        """Every family, whether it has samples yet or not."""
        yield families.counters(
            "pileway_jobs", "Jobs that ended here, by outcome.", ("task", "outcome"), self.jobs.copy()
        )
        yield families.histograms("pileway_job_seconds", "Time a job took.", ("task",), self.job_s)
        yield families.counters(
            "pileway_sweep_cases",
            "Cases that a step of the sweep handled, as time made them due.",
            ("step",),
            self.cases.copy(),
        )
        yield families.counters(
            "pileway_sweep_failures", "Steps of the sweep that failed.", ("step",), self.failures.copy()
        )
        yield families.gauge(
            "pileway_sweep_age_seconds",
            "Time since a whole sweep last ended.",
            monotonic() - self.round_ended_s,
        )
