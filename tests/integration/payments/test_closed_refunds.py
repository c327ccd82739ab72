"""A refund that the rail has closed is asked for again under a new number, and only then, and not for ever."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from billing import ledger_audit, notifications, rail_calls, refunds
from billing.errors import RefundUnknown
from billing.notifications import Handled
from billing.payment_rails.rail import RailRefundState, RefundChanged
from billing.refunds import MAX_GENERATION, Refund, RefundCause, RefundState

if TYPE_CHECKING:
    from uuid import UUID

    from tests.integration.payments.conftest import Till

AT = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def _asked(till: Till, amount_fen: int = 100) -> Refund:
    payment = till.paid(amount_fen=500)
    with till.pool.connection() as conn:
        return refunds.request(
            conn,
            payment_id=payment.payment_id,
            amount_fen=amount_fen,
            cause=RefundCause.UNUSED_PREPAYMENT,
            idempotency_key="the-cause",
            now=payment.created_at,
        )


def _read(till: Till, refund_id: UUID) -> Refund:
    with till.pool.connection() as conn:
        return refunds.get(conn, refund_id)


def _attempt(till: Till, refund_id: UUID) -> None:
    """As if the wait between two attempts were over."""
    with till.pool.connection() as conn:
        conn.execute("UPDATE refund SET retry_at = clock_timestamp() WHERE refund_id = %s", (refund_id,))
    rail_calls.instruct_refund(till.desk, refund_id)


def _reach(till: Till, refund_id: UUID, *, generation: int) -> Refund:
    def reached() -> bool:
        _attempt(till, refund_id)
        return _read(till, refund_id).generation >= generation

    till.until(reached)
    return _read(till, refund_id)


def _tell(till: Till, number: str, state: RailRefundState, rail_refund_id: str = "503") -> Handled:
    succeeded_at = AT if state is RailRefundState.SUCCEEDED else None
    changed = RefundChanged(number, rail_refund_id, state, 100, succeeded_at)
    with till.pool.connection() as conn:
        return notifications.handle(conn, till.rail.name, changed, now=AT, hooks=till.told.hooks())


def _entries(till: Till) -> int:
    with till.pool.connection() as conn:
        row = conn.execute("SELECT count(*) FROM journal_entry WHERE kind = 'refund_paid'").fetchone()
    assert row is not None
    return row[0]


def test_a_closed_refund_is_paid_once_under_its_next_number(till: Till) -> None:
    refund = _asked(till)
    till.sim.put_faults(refund_outcome="CLOSED", refund_delay_s=0, duplicate_notifications=True)
    rail_calls.instruct_refund(till.desk, refund.refund_id)
    till.until(lambda: len(till.receiver.statuses) >= 4)
    renewed = _read(till, refund.refund_id)
    assert (renewed.state, renewed.generation, renewed.last_error) == (RefundState.REQUESTED, 1, "closed")
    assert renewed.out_refund_no == f"{refund.out_refund_no}-1"
    assert set(till.receiver.statuses) == {204}

    till.sim.put_faults()

    def paid() -> bool:
        _attempt(till, refund.refund_id)
        return _read(till, refund.refund_id).state is RefundState.SUCCEEDED

    till.until(paid)
    assert _read(till, refund.refund_id).out_refund_no == renewed.out_refund_no
    assert till.sim.balance()["refunded_fen"] == 100
    assert [told.refund_id for told in till.told.refunded] == [refund.refund_id]
    assert _entries(till) == 1
    with till.pool.connection() as conn:
        assert "payment_refunds_off" not in {finding.check for finding in ledger_audit.audit(conn).findings}


def test_a_closed_refund_is_found_by_asking_when_nobody_tells_us(till: Till) -> None:
    refund = _asked(till)
    till.sim.put_faults(refund_outcome="CLOSED", refund_delay_s=0, drop_notifications=True)
    renewed = _reach(till, refund.refund_id, generation=1)
    assert renewed.out_refund_no == f"{refund.out_refund_no}-1"


def test_a_new_number_waits_its_minute_with_a_job_for_then(till: Till) -> None:
    refund = _asked(till)
    with till.pool.connection() as conn:
        conn.execute("DELETE FROM procrastinate_jobs")
    assert _tell(till, refund.out_refund_no, RailRefundState.CLOSED) is Handled.FIRST
    rail_calls.instruct_refund(till.desk, refund.refund_id)
    assert _read(till, refund.refund_id).attempts == 0
    with till.pool.connection() as conn:
        rows = conn.execute(
            "SELECT task_name, scheduled_at > now() + interval '50 seconds' FROM procrastinate_jobs"
        ).fetchall()
    assert rows == [("instruct_refund", True)]


def test_a_refund_closed_again_and_again_waits_for_a_person_with_its_money_still_owed(till: Till) -> None:
    refund = _asked(till)
    till.sim.put_faults(refund_outcome="CLOSED", refund_delay_s=0, drop_notifications=True)
    last = _reach(till, refund.refund_id, generation=MAX_GENERATION)

    def stuck() -> bool:
        _attempt(till, refund.refund_id)
        return _read(till, refund.refund_id).state is RefundState.ABNORMAL

    till.until(stuck)
    _attempt(till, refund.refund_id)
    given_up = _read(till, refund.refund_id)
    assert (given_up.state, given_up.last_error) == (RefundState.ABNORMAL, "closed")
    assert (given_up.generation, given_up.out_refund_no) == (MAX_GENERATION, last.out_refund_no)
    assert till.sim.balance()["available_fen"] == 500
    with till.pool.connection() as conn:
        assert conn.execute("SELECT refund_fen FROM payment").fetchone() == (100,)


@pytest.mark.parametrize(
    "late", [RailRefundState.CLOSED, RailRefundState.PROCESSING, RailRefundState.ABNORMAL]
)
def test_late_news_of_an_old_number_is_not_taken_for_the_new_one(till: Till, late: RailRefundState) -> None:
    refund = _asked(till)
    _tell(till, refund.out_refund_no, RailRefundState.CLOSED)
    renewed = _read(till, refund.refund_id)
    assert _tell(till, refund.out_refund_no, late) is Handled.REPEATED
    assert _read(till, refund.refund_id) == renewed


@pytest.mark.parametrize("new_one_paid", [False, True], ids=["new one open", "new one paid"])
def test_a_closed_number_that_pays_after_all_is_an_error_and_the_first_word_stands(
    till: Till, new_one_paid: bool
) -> None:
    refund = _asked(till)
    _tell(till, refund.out_refund_no, RailRefundState.CLOSED)
    if new_one_paid:
        _tell(till, f"{refund.out_refund_no}-1", RailRefundState.SUCCEEDED, "504")
    before = _read(till, refund.refund_id)
    with capture_logs() as logs:
        for _ in range(2):
            _tell(till, refund.out_refund_no, RailRefundState.SUCCEEDED)
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("refund_contradicted", "error")]
    assert _read(till, refund.refund_id) == before
    assert _entries(till) == len(till.told.refunded) == int(new_one_paid)
    with till.pool.connection() as conn:
        kept = conn.execute("SELECT event_key FROM rail_notification WHERE kind = 'refund_contradicted'")
        assert kept.fetchall() == [("refund:503:succeeded",)]


def test_a_failure_of_the_old_number_is_not_the_new_ones(till: Till) -> None:
    refund = _asked(till)
    _tell(till, refund.out_refund_no, RailRefundState.CLOSED)
    with till.pool.connection() as conn:
        refunds.mark_failed(conn, refund, error="INVALID_REQUEST", abnormal=True)
    assert _read(till, refund.refund_id).state is RefundState.REQUESTED


def test_a_number_of_a_generation_to_come_is_nobodys_yet(till: Till) -> None:
    refund = _asked(till)
    with pytest.raises(RefundUnknown):
        _tell(till, f"{refund.out_refund_no}-1", RailRefundState.SUCCEEDED)
