"""What an operator is woken for: piles away, settlements and refunds that do not come, a ledger that is off.

Read from the database by the worker when somebody scrapes, at most once in FRESH_S seconds and within LIMIT_MS. Ages
are real seconds. When the database does not answer, the families have no samples: absence is not zero.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from prometheus_client.core import Metric
from psycopg_pool import ConnectionPool

from billing import job_queue, views
from billing.job_queue import TaskQueue
from billing.views import PendingRefunds
from charging import gauges
from charging.gauges import PileCount, SessionCount, Waiting
from charging.waits import Waits
from database.pool import Connection
from pileway.telemetry import families
from pileway.telemetry.kept_look import KeptLook

FRESH_S = 10.0
WAIT_S = 3.0
"""How long a scrape waits for the look."""
LIMIT_MS = 2_000
"""How long any one statement of it may take."""


@dataclass(frozen=True)
class Business:
    """One look."""

    at: datetime
    piles: list[PileCount]
    sessions: list[SessionCount]
    overdue: Waiting
    commands: Waiting
    alarms: Waiting
    refunds: list[PendingRefunds]
    trial_balance_fen: int
    queues: list[TaskQueue]


class BusinessCollector:
    """Looks through the worker's pool."""

    def __init__(
        self, pool: ConnectionPool[Connection], *, clock: Callable[[], datetime], waits: Waits, speed: float
    ) -> None:
        """`waits` fit the clock, of which `speed` seconds pass in a real one."""
        self._pool = pool
        self._clock = clock
        self._waits = waits
        self._speed = speed
        self._look = KeptLook(self._read, fresh_s=FRESH_S, wait_s=WAIT_S)

    def collect(self) -> Iterable[Metric]:
        """Every family, without samples when the look failed."""
        look = self._look.newest()
        yield families.gauge(
            "pileway_business_known", "1 if the figures below could be read.", look is not None
        )
        yield from self._street(look)
        yield from self._waiting(look)
        yield from _money(look)
        yield from _jobs(look.queues if look is not None else [])

    def _read(self) -> Business:
        now = self._clock()
        with self._pool.connection(timeout=WAIT_S) as conn:
            conn.execute(
                "SELECT set_config('statement_timeout', %(limit)s, true)", {"limit": f"{LIMIT_MS}ms"}
            )
            return Business(
                at=now,
                piles=gauges.pile_counts(conn),
                sessions=gauges.open_sessions(conn),
                overdue=gauges.overdue_settlements(conn, patience=self._waits.settlement, now=now),
                commands=gauges.open_commands(conn, now=now),
                alarms=gauges.open_alarms(conn),
                refunds=views.pending_refunds(conn),
                trial_balance_fen=views.trial_balance_fen(conn),
                queues=job_queue.queues(conn),
            )

    def _street(self, look: Business | None) -> Iterable[Metric]:
        piles = look.piles if look is not None else []
        yield families.gauges(
            "pileway_piles",
            "Piles by the state of their lives and whether they are connected.",
            ("state", "online"),
            {(count.state, "yes"): count.online for count in piles}
            | {(count.state, "no"): count.piles - count.online for count in piles},
        )
        yield families.gauges(
            "pileway_open_sessions",
            "Sessions whose story is not over, by state.",
            ("state",),
            {(count.state,): count.sessions for count in (look.sessions if look is not None else [])},
        )

    def _waiting(self, look: Business | None) -> Iterable[Metric]:
        for name, words, waiting in (
            (
                "pileway_overdue_settlements",
                "Sessions that have waited too long for their pile's record.",
                look and look.overdue,
            ),
            ("pileway_open_commands", "Commands neither answered nor given up.", look and look.commands),
            ("pileway_open_alarms", "Piles' alarms that nobody closed.", look and look.alarms),
        ):
            counts = {(): float(waiting.count)} if waiting is not None else {}
            ages = {(): self._age_s(look, waiting)} if look is not None and waiting is not None else {}
            yield families.gauges(name, words, (), counts)
            yield families.gauges(f"{name}_oldest_seconds", f"{words[:-1]}: the age of the oldest.", (), ages)
        refunds = look.refunds if look is not None else []
        yield families.gauges(
            "pileway_pending_refunds",
            "Refunds the rail has not paid yet, by state; `abnormal` ones wait for a person.",
            ("state",),
            {(pending.state,): pending.refunds for pending in refunds},
        )
        yield families.gauges(
            "pileway_pending_refunds_oldest_seconds",
            "The age of the oldest refund not paid yet, by state.",
            ("state",),
            {
                (pending.state,): self._age_s(look, Waiting(pending.refunds, pending.since))
                for pending in refunds
            },
        )

    def _age_s(self, look: Business | None, waiting: Waiting) -> float:
        if look is None or waiting.since is None:
            return 0.0
        return max(0.0, (look.at - waiting.since).total_seconds() / self._speed)


def _money(look: Business | None) -> Iterable[Metric]:
    yield families.gauges(
        "pileway_pending_refund_fen",
        "What riders are still owed, in fen.",
        (),
        {(): sum(pending.amount_fen for pending in look.refunds)} if look is not None else {},
    )
    yield families.gauges(
        "pileway_ledger_trial_balance_fen",
        "Debits less credits of the whole ledger, in fen: 0, or something is very wrong.",
        (),
        {(): look.trial_balance_fen} if look is not None else {},
    )


def _jobs(queues: list[TaskQueue]) -> Iterable[Metric]:
    yield families.gauges(
        "pileway_job_queue",
        "Jobs by task and state: due and not taken, for later, under way, failed in the last days.",
        ("task", "state"),
        {
            (queue.task, state): count
            for queue in queues
            for state, count in (
                ("due", queue.due),
                ("later", queue.later),
                ("doing", queue.doing),
                ("failed", queue.failed),
            )
        },
    )
    yield families.gauges(
        "pileway_job_queue_oldest_due_seconds",
        "How long the oldest due job has waited for a worker.",
        ("task",),
        {(queue.task,): queue.oldest_due_s for queue in queues},
    )
