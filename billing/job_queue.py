"""Enqueue billing's background jobs in the caller's transaction: no job without its cause committed.

Delays are real seconds, because the jobs wait for the network; `billing/jobs.py` is the worker's side.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import procrastinate
from procrastinate.exceptions import AlreadyEnqueued
from psycopg import Connection
from psycopg.rows import TupleRow, class_row

QUEUE = "billing"
INSTRUCT_REFUND = "instruct_refund"
QUERY_PAYMENT = "query_payment"
CLOSE_PAYMENT = "close_payment"

# Never opened: it only writes the queue's own statements to connections that callers hand in.
_enqueuer = procrastinate.App(connector=procrastinate.SyncPsycopgConnector())


@dataclass(frozen=True)
class TaskQueue:
    """The jobs of one task: due ones that no worker took, with the age of the oldest in real seconds; those for later,
    under way, and failed within the last days."""

    task: str
    due: int
    oldest_due_s: float
    later: int
    doing: int
    failed: int


def queues(conn: Connection[TupleRow]) -> list[TaskQueue]:
    """How much waits, by task. Done jobs are deleted, so that the tables hold little else."""
    with conn.cursor(row_factory=class_row(TaskQueue)) as cursor:
        return cursor.execute(
            """
            WITH job AS (
                SELECT task_name, status,
                       status = 'todo' AND coalesce(scheduled_at, '-infinity') <= clock_timestamp() AS due,
                       CASE status WHEN 'todo' THEN coalesce(scheduled_at, (
                           SELECT min(at) FROM procrastinate_events WHERE job_id = procrastinate_jobs.id)) END AS since
                  FROM procrastinate_jobs)
            SELECT task_name AS task, count(*) FILTER (WHERE due) AS due,
                   coalesce(extract(epoch FROM clock_timestamp() - min(since) FILTER (WHERE due)), 0)::float8
                       AS oldest_due_s,
                   count(*) FILTER (WHERE status = 'todo' AND NOT due) AS later,
                   count(*) FILTER (WHERE status = 'doing') AS doing,
                   count(*) FILTER (WHERE status = 'failed') AS failed
              FROM job GROUP BY task_name ORDER BY task_name
            """
        ).fetchall()


def defer_instruct_refund(conn: Connection[TupleRow], refund_id: UUID, *, after_s: int = 0) -> bool:
    """Have a worker tell the rail about a refund or ask how it stands; False if queued already."""
    return _defer(conn, INSTRUCT_REFUND, f"refund:{refund_id}", after_s, {"refund_id": str(refund_id)})


def defer_query_payment(
    conn: Connection[TupleRow], payment_id: UUID, *, attempt: int = 0, after_s: int = 0
) -> bool:
    """Have a worker ask whether a payment is paid; `attempt` counts from 0. False if queued already."""
    args = {"payment_id": str(payment_id), "attempt": attempt}
    return _defer(conn, QUERY_PAYMENT, f"payment:{payment_id}:query", after_s, args)


def defer_close_payment(
    conn: Connection[TupleRow], payment_id: UUID, *, attempt: int = 0, after_s: int = 0
) -> bool:
    """Have a worker close a payment at the rail; `attempt` counts from 0. False if queued already."""
    args = {"payment_id": str(payment_id), "attempt": attempt}
    return _defer(conn, CLOSE_PAYMENT, f"payment:{payment_id}:close", after_s, args)


def _defer(
    conn: Connection[TupleRow], task: str, queueing_lock: str, after_s: int, args: dict[str, str | int]
) -> bool:
    # A plain SAVEPOINT begins the caller's transaction if need be; `conn.transaction()` would commit it too.
    conn.execute("SAVEPOINT enqueue")
    try:
        _enqueuer.configure_task(
            task,
            queue=QUEUE,
            queueing_lock=queueing_lock,
            schedule_in={"seconds": after_s} if after_s else None,
            connection=conn,
        ).defer(**args)
    except AlreadyEnqueued:
        conn.execute("ROLLBACK TO SAVEPOINT enqueue")
        return False
    conn.execute("RELEASE SAVEPOINT enqueue")
    return True
