"""Refunds over the simulated WeChat Pay: bounded, never doubled, never forgotten."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from billing import jobs, ledger_audit, notifications, rail_calls, refunds
from billing.errors import (
    AmountMismatch,
    OverRefund,
    PaymentUnknown,
    PaymentUnpaid,
    RefundConflict,
    RefundUnknown,
)
from billing.payment_rails.rail import RailRefundState, RefundChanged, Rejected, RejectionKind
from billing.payments import Payment
from billing.refunds import Refund, RefundCause, RefundState

if TYPE_CHECKING:
    from uuid import UUID

    from tests.integration.payments.conftest import Till


def _request(till: Till, payment: Payment, amount_fen: int, key: str = "the-cause") -> Refund:
    with till.pool.connection() as conn:
        return refunds.request(
            conn,
            payment_id=payment.payment_id,
            amount_fen=amount_fen,
            cause=RefundCause.UNUSED_PREPAYMENT,
            idempotency_key=key,
            now=payment.created_at,
        )


def _read(till: Till, refund_id: UUID) -> Refund:
    with till.pool.connection() as conn:
        return refunds.get(conn, refund_id)


def _make_due(till: Till, refund_id: UUID) -> None:
    """As if the wait between two attempts were over."""
    with till.pool.connection() as conn:
        conn.execute("UPDATE refund SET retry_at = clock_timestamp() WHERE refund_id = %s", (refund_id,))


def _instruct_until(till: Till, refund_id: UUID, state: RefundState) -> Refund:
    def reached() -> bool:
        _make_due(till, refund_id)
        rail_calls.instruct_refund(till.desk, refund_id)
        return _read(till, refund_id).state is state

    till.until(reached)
    return _read(till, refund_id)


def test_a_refund_is_instructed_notified_and_booked_once(till: Till) -> None:
    payment = till.paid(amount_fen=500)
    till.sim.put_faults(duplicate_notifications=True)
    refund = _request(till, payment, 320)
    assert refund.state is RefundState.REQUESTED
    rail_calls.instruct_refund(till.desk, refund.refund_id)
    till.until(lambda: till.receiver.statuses == [204] * 5)
    booked = _read(till, refund.refund_id)
    assert booked.state is RefundState.SUCCEEDED
    assert booked.rail_refund_id is not None
    assert [told.refund_id for told in till.told.refunded] == [refund.refund_id]
    assert till.sim.balance() == {
        "received_fen": 500,
        "refunded_fen": 320,
        "withdrawn_fen": 0,
        "available_fen": 180,
    }


def test_a_refund_whose_notification_is_lost_is_found_by_asking(till: Till) -> None:
    payment = till.paid()
    till.sim.put_faults(drop_notifications=True)
    refund = _request(till, payment, 100)
    _instruct_until(till, refund.refund_id, RefundState.SUCCEEDED)
    assert len(till.told.refunded) == 1
    assert till.sim.balance()["refunded_fen"] == 100


def test_a_refund_whose_answer_is_lost_is_not_paid_twice(till: Till) -> None:
    payment = till.paid()
    till.sim.put_faults(drop_notifications=True, lose_answers={"place_refund": 1})
    refund = _request(till, payment, 100)
    rail_calls.instruct_refund(till.desk, refund.refund_id)
    unsure = _read(till, refund.refund_id)
    assert unsure.state is RefundState.REQUESTED
    assert unsure.last_error == "RemoteProtocolError"
    finished = _instruct_until(till, refund.refund_id, RefundState.SUCCEEDED)
    assert finished.out_refund_no == refund.out_refund_no
    assert till.sim.balance()["refunded_fen"] == 100


def test_a_refund_the_rail_never_got_is_sent_again_under_its_number(till: Till) -> None:
    payment = till.paid()
    till.sim.put_faults(fail_calls={"place_refund": 2})
    refund = _request(till, payment, 100)
    finished = _instruct_until(till, refund.refund_id, RefundState.SUCCEEDED)
    assert finished.attempts >= 3
    assert till.sim.balance()["refunded_fen"] == 100


def test_an_attempt_is_not_repeated_before_its_wait_is_over(till: Till) -> None:
    payment = till.paid()
    till.sim.put_faults(refund_delay_s=60)
    refund = _request(till, payment, 100)
    rail_calls.instruct_refund(till.desk, refund.refund_id)
    rail_calls.instruct_refund(till.desk, refund.refund_id)
    waiting = _read(till, refund.refund_id)
    assert waiting.attempts == 1
    assert waiting.state is RefundState.PROCESSING
    with till.pool.connection() as conn:
        assert refunds.due(conn) == []


def test_two_workers_on_one_refund_ask_the_rail_once(till: Till) -> None:
    payment = till.paid()
    refund = _request(till, payment, 100)
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait(10)
        rail_calls.instruct_refund(till.desk, refund.refund_id)

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(work) for _ in range(4)]:
            done.result(30)
    assert _read(till, refund.refund_id).attempts == 1
    till.until(lambda: _read(till, refund.refund_id).state is RefundState.SUCCEEDED)
    assert till.sim.balance()["refunded_fen"] == 100


def test_the_same_cause_asked_twice_at_once_is_one_refund(till: Till) -> None:
    payment = till.paid(amount_fen=500)
    barrier = threading.Barrier(4)

    def ask() -> UUID:
        barrier.wait(10)
        return _request(till, payment, 300).refund_id

    with ThreadPoolExecutor(4) as threads:
        ids = {asked.result(30) for asked in [threads.submit(ask) for _ in range(4)]}
    assert len(ids) == 1
    assert till.read(payment).refund_fen == 300


def test_two_causes_at_once_never_exceed_what_was_paid(till: Till) -> None:
    payment = till.paid(amount_fen=500)
    barrier = threading.Barrier(4)

    def ask(cause_no: int) -> bool:
        barrier.wait(10)
        try:
            _request(till, payment, 300, f"cause-{cause_no}")
        except OverRefund:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        granted = [asked.result(30) for asked in [threads.submit(ask, number) for number in range(4)]]
    assert granted.count(True) == 1
    assert till.read(payment).refund_fen == 300


def test_refunds_that_make_no_sense_are_refused(till: Till) -> None:
    unpaid, paid = till.create(), till.paid(amount_fen=500)
    with pytest.raises(PaymentUnpaid):
        _request(till, unpaid, 1)
    for amount_fen in (0, -1, 501):
        with pytest.raises(OverRefund):
            _request(till, paid, amount_fen)
    _request(till, paid, 200)
    with pytest.raises(RefundConflict):
        _request(till, paid, 201)
    with pytest.raises(OverRefund) as refused:
        _request(till, paid, 301, "another")
    assert refused.value.refundable_fen == 300
    with till.pool.connection() as conn, pytest.raises(PaymentUnknown):
        refunds.request(
            conn,
            payment_id=unpaid.session_id,
            amount_fen=1,
            cause=RefundCause.START_FAILED,
            idempotency_key="x",
            now=paid.created_at,
        )


def test_the_rail_refuses_too_much_and_changed_refunds(till: Till) -> None:
    payment = till.paid(amount_fen=500)

    def refund(number: str, amount_fen: int) -> object:
        return till.rail.refund(
            out_trade_no=payment.out_trade_no,
            out_refund_no=number,
            amount_fen=amount_fen,
            paid_fen=500,
            reason="退款",
        )

    refused = Rejected(RejectionKind.REFUSED, "INVALID_REQUEST")
    assert refund("r-too-much", 501) == refused
    assert not isinstance(refund("r-1", 400), Rejected)
    assert not isinstance(refund("r-1", 400), Rejected)
    assert refund("r-1", 100) == refused
    assert refund("r-2", 101) == refused
    assert till.rail.query_refund("r-2") == Rejected(RejectionKind.NOT_FOUND, "RESOURCE_NOT_EXISTS")
    assert till.sim.balance()["refunded_fen"] == 400


def test_an_abnormal_refund_stays_visible_and_may_still_succeed(till: Till) -> None:
    payment = till.paid()
    till.sim.put_faults(refund_outcome="ABNORMAL", refund_delay_s=0)
    refund = _request(till, payment, 100)
    rail_calls.instruct_refund(till.desk, refund.refund_id)
    till.until(lambda: _read(till, refund.refund_id).state is RefundState.ABNORMAL)
    assert till.told.refunded == []
    till.sim.http.post(f"/sim/refunds/{refund.out_refund_no}/finish").raise_for_status()
    _instruct_until(till, refund.refund_id, RefundState.SUCCEEDED)
    assert len(till.told.refunded) == 1


def test_an_answer_read_after_the_notification_that_overtook_it_changes_nothing(till: Till) -> None:
    payment = till.paid()
    refund = _request(till, payment, 100)
    notified = RefundChanged(refund.out_refund_no, "503", RailRefundState.ABNORMAL, 100, None)
    answered = RefundChanged(refund.out_refund_no, "503", RailRefundState.PROCESSING, 100, None)
    for changed in (notified, answered):
        with till.pool.connection() as conn:
            notifications.handle(
                conn, till.rail.name, changed, now=payment.created_at, hooks=till.told.hooks()
            )
    assert _read(till, refund.refund_id).state is RefundState.ABNORMAL


def test_a_refund_refused_for_good_is_abnormal_and_one_short_of_balance_waits(till: Till) -> None:
    payment = till.paid(amount_fen=500)
    till.sim.http.post("/sim/withdrawals", json={"amount_fen": 450}).raise_for_status()
    short = _request(till, payment, 100)
    rail_calls.instruct_refund(till.desk, short.refund_id)
    waiting = _read(till, short.refund_id)
    assert (waiting.state, waiting.last_error) == (RefundState.REQUESTED, "NOT_ENOUGH")
    till.paid(amount_fen=500)
    _instruct_until(till, short.refund_id, RefundState.SUCCEEDED)

    other = till.paid(amount_fen=500)
    till.rail.refund(
        out_trade_no=other.out_trade_no,
        out_refund_no="by-hand",
        amount_fen=450,
        paid_fen=500,
        reason="手工退款",
    )
    refused = _request(till, other, 100, "another-cause")
    rail_calls.instruct_refund(till.desk, refused.refund_id)
    stuck = _read(till, refused.refund_id)
    assert (stuck.state, stuck.last_error) == (RefundState.ABNORMAL, "INVALID_REQUEST")
    assert till.read(other).refund_fen == 100


def test_success_is_never_undone_and_amounts_must_agree(till: Till) -> None:
    payment = till.paid()
    refund = _request(till, payment, 100)
    at = payment.created_at
    done = RefundChanged(refund.out_refund_no, "503", RailRefundState.SUCCEEDED, 100, at)
    wrong = RefundChanged(refund.out_refund_no, "503", RailRefundState.SUCCEEDED, 99, at)
    undone = RefundChanged(refund.out_refund_no, "503", RailRefundState.ABNORMAL, 100, None)
    unknown = RefundChanged(uuid4().hex, "503", RailRefundState.SUCCEEDED, 100, at)
    not_ours = RefundChanged("nobody-asked", "503", RailRefundState.SUCCEEDED, 100, at)

    def handle(changed: RefundChanged) -> None:
        with till.pool.connection() as conn:
            notifications.handle(conn, till.rail.name, changed, now=at, hooks=till.told.hooks())

    with pytest.raises(AmountMismatch):
        handle(wrong)
    for stranger in (unknown, not_ours):
        with pytest.raises(RefundUnknown):
            handle(stranger)
    for changed in (done, done, undone):
        handle(changed)
    assert _read(till, refund.refund_id).state is RefundState.SUCCEEDED
    assert len(till.told.refunded) == 1
    with till.pool.connection() as conn:
        entries = conn.execute("SELECT count(*) FROM journal_entry WHERE kind = 'refund_paid'").fetchone()
    assert entries == (1,)


def test_the_sweep_asks_about_everything_open_once(till: Till) -> None:
    open_payment, paid = till.place(), till.paid()
    refund = _request(till, paid, 100)
    with till.pool.connection() as conn:
        conn.execute("DELETE FROM procrastinate_jobs")
    assert jobs.sweep(till.desk) == 2
    assert jobs.sweep(till.desk) == 0
    with till.pool.connection() as conn:
        rows = conn.execute("SELECT task_name, args FROM procrastinate_jobs ORDER BY task_name").fetchall()
    assert rows == [
        ("instruct_refund", {"refund_id": str(refund.refund_id)}),
        ("query_payment", {"payment_id": str(open_payment.payment_id), "attempt": 0}),
    ]


def test_a_job_of_a_cause_that_was_rolled_back_does_not_exist(till: Till) -> None:
    paid = till.paid()
    with till.pool.connection() as conn:
        conn.execute("DELETE FROM procrastinate_jobs")
    with till.pool.connection() as conn:
        refunds.request(
            conn,
            payment_id=paid.payment_id,
            amount_fen=100,
            cause=RefundCause.START_FAILED,
            idempotency_key="k",
            now=paid.created_at,
        )
        conn.rollback()
    with till.pool.connection() as conn:
        assert conn.execute("SELECT count(*) FROM procrastinate_jobs").fetchone() == (0,)
        assert conn.execute("SELECT count(*) FROM refund").fetchone() == (0,)
        assert ledger_audit.audit(conn).clean
