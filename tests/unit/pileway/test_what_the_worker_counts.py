"""A series that is born with its first failure hides that failure: what the worker knows it shows from the start."""

from prometheus_client import CollectorRegistry

from billing import jobs
from charging import timers
from pileway import worker_process
from pileway.telemetry.worker_metrics import WorkerMeasures


def test_every_task_and_step_is_shown_at_zero() -> None:
    app = jobs.worker_app("", max_connections=1, concurrency=1)
    app.task(name="instruct_refund", queue="billing")(print)
    measures, registry = WorkerMeasures(), CollectorRegistry()
    measures.expect_jobs(worker_process.tasks(app))
    measures.expect_steps(step.__name__ for step in timers.STEPS)
    registry.register(measures)
    for outcome in ("succeeded", "failed"):
        labels = {"task": "instruct_refund", "outcome": outcome}
        assert registry.get_sample_value("pileway_jobs_total", labels) == 0
    assert registry.get_sample_value("pileway_sweep_cases_total", {"step": "expire_command"}) == 0
    assert {task for task, _ in measures.jobs} == {"instruct_refund"}, "the library's own tasks are not ours"
