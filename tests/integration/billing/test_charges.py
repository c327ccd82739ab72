"""Charging and refunding sessions, to the fen, once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
from psycopg_pool import ConnectionPool

from billing import agreements, charges, ledger, payments, refunds, tariffs
from billing.charges import SessionCharge
from billing.errors import AgreementSilent, ChargeConflict, PaymentUnknown, PaymentUnpaid
from billing.payments import Payment
from billing.rating import ChargingPeriod
from billing.refunds import RefundCause
from billing.tariff_objects import FeeKind
from database.pool import Connection

WAIT_S = 30


def charge(conn: Connection, payment: Payment, terms: Any, energy_dwh: int = 5000) -> SessionCharge:
    """One hour from 20:00, in the peak band: 0.6103 electricity and 0.45 service a kWh."""
    start = payment.created_at
    return charges.charge_session(
        conn,
        session_id=payment.session_id,
        tariff_version_id=terms.tariff.tariff_version_id,
        agreement_version_id=terms.agreement.agreement_version_id,
        periods=[ChargingPeriod(start, 3600, energy_dwh, energy_dwh)],
        session_started_at=start,
        now=start + timedelta(hours=1),
    )


def fees_fen(charge: SessionCharge) -> dict[str, tuple[int, int]]:
    return {fee.fee_kind.value: (fee.rated_fen, fee.charged_fen) for fee in charge.fees}


def asked_back_fen(conn: Connection, payment: Payment) -> list[tuple[RefundCause, int]]:
    return [(refund.cause, refund.amount_fen) for refund in refunds.of_session(conn, payment.session_id)]


def test_a_session_is_charged_split_and_the_rest_asked_back(conn: Connection, terms: Any, pay: Any) -> None:
    """Half a kWh in the peak: 30.515 and 22.5 fen are 31 and 23; 246 of 300 go back."""
    payment = pay(300)
    made = charge(conn, payment, terms)
    conn.commit()
    assert fees_fen(made) == {"electricity": (31, 31), "service": (23, 23)}
    assert (made.prepaid_fen, made.charged_fen, made.refund_fen, made.waived_fen) == (300, 54, 246, 0)
    assert sum(made.shares_fen.values()) == 54
    assert made.fees[0].shares_fen == {"yuquan-wuye": 31}
    assert made.shares_fen["lvdian"] in (12, 13)
    assert asked_back_fen(conn, payment) == [(RefundCause.UNUSED_PREPAYMENT, 246)]
    assert charges.get(conn, payment.session_id) == made
    pending_fen = {(each.party_id, each.fee_kind): each.balance_fen for each in ledger.party_balances(conn)}
    assert pending_fen == {
        (party_id, fee.fee_kind): share_fen
        for fee in made.fees
        for party_id, share_fen in fee.shares_fen.items()
    }
    assert ledger.audit(conn).clean


def test_a_repeated_settlement_charges_once_whatever_it_says(conn: Connection, terms: Any, pay: Any) -> None:
    payment = pay(300)
    first = charge(conn, payment, terms)
    conn.commit()
    assert charge(conn, payment, terms, energy_dwh=9000) == first
    conn.commit()
    assert len(asked_back_fen(conn, payment)) == 1
    assert len(ledger.of_session(conn, payment.session_id)) == 2


def test_a_session_that_used_nothing_gets_everything_back(conn: Connection, terms: Any, pay: Any) -> None:
    payment = pay(300)
    made = charge(conn, payment, terms, energy_dwh=0)
    assert (made.charged_fen, made.refund_fen) == (0, 300)
    assert made.shares_fen == {}
    assert asked_back_fen(conn, payment) == [(RefundCause.UNUSED_PREPAYMENT, 300)]
    conn.commit()
    assert ledger.audit(conn).clean


def test_a_session_that_used_all_asks_nothing_back(conn: Connection, terms: Any, pay: Any) -> None:
    payment = pay(54)
    made = charge(conn, payment, terms)
    assert (made.charged_fen, made.refund_fen) == (54, 0)
    assert asked_back_fen(conn, payment) == []
    conn.commit()
    assert ledger.audit(conn).clean


@pytest.mark.parametrize(
    ("prepaid_fen", "electricity_fen", "service_fen"), [(53, 31, 22), (31, 31, 0), (20, 20, 0)]
)
def test_what_exceeds_the_prepayment_is_waived_service_first(
    conn: Connection, terms: Any, pay: Any, prepaid_fen: int, electricity_fen: int, service_fen: int
) -> None:
    payment = pay(prepaid_fen)
    made = charge(conn, payment, terms)
    conn.commit()
    assert fees_fen(made) == {"electricity": (31, electricity_fen), "service": (23, service_fen)}
    assert made.refund_fen == 0
    assert made.waived_fen == 54 - prepaid_fen
    assert sum(made.shares_fen.values()) == prepaid_fen
    assert ledger.audit(conn).clean


def test_a_session_keeps_the_versions_it_froze(conn: Connection, terms: Any, pay: Any) -> None:
    payment = pay(300)
    document = terms.tariff.tariffs[FeeKind.SERVICE].model_dump(mode="json")
    tariffs.publish(
        conn,
        site_id="yuquan",
        tariffs={"electricity": document, "service": document},
        effective_from=payment.created_at,
        now=payment.created_at,
    )
    agreements.publish(
        conn,
        site_id="yuquan",
        shares={FeeKind.ELECTRICITY: {"pileway": 10_000}, FeeKind.SERVICE: {"pileway": 10_000}},
        effective_from=payment.created_at,
        now=payment.created_at,
    )
    assert charge(conn, payment, terms).fees[0].shares_fen == {"yuquan-wuye": 31}


def test_a_failed_start_gives_the_whole_prepayment_back_once(conn: Connection, pay: Any) -> None:
    payment = pay(300)
    first = charges.refund_session(
        conn, session_id=payment.session_id, cause="start_failed", now=payment.created_at
    )
    conn.commit()
    again = charges.refund_session(
        conn,
        session_id=payment.session_id,
        cause="start_failed",
        now=payment.created_at + timedelta(minutes=1),
    )
    conn.commit()
    assert again == first
    assert asked_back_fen(conn, payment) == [(RefundCause.START_FAILED, 300)]
    assert charges.get(conn, payment.session_id) is None
    assert ledger.audit(conn).clean


def test_a_prepayment_is_disposed_of_only_once(conn: Connection, terms: Any, pay: Any) -> None:
    refunded, charged = pay(300), pay(300)
    charges.refund_session(
        conn, session_id=refunded.session_id, cause="start_failed", now=refunded.created_at
    )
    charge(conn, charged, terms)
    conn.commit()
    with pytest.raises(ChargeConflict) as late_settlement:
        charge(conn, refunded, terms)
    assert late_settlement.value.entry_kind == "session_failed"
    conn.rollback()
    with pytest.raises(ChargeConflict) as late_failure:
        charges.refund_session(
            conn, session_id=charged.session_id, cause="start_failed", now=charged.created_at
        )
    assert late_failure.value.entry_kind == "session_settled"


def test_money_that_came_too_late_is_not_charged(conn: Connection, terms: Any, pay: Any) -> None:
    payment = pay(300, closed=True)
    with pytest.raises(ChargeConflict) as refusal:
        charge(conn, payment, terms)
    assert refusal.value.entry_kind == "payment_too_late"


def test_without_money_there_is_nothing_to_charge(conn: Connection, terms: Any, pay: Any) -> None:
    payment = pay(300)
    unpaid = payments.create(
        conn,
        session_id=uuid4(),
        amount_fen=300,
        rail="wechat_pay",
        now=payment.created_at,
        expires_at=payment.expires_at,
    )
    with pytest.raises(PaymentUnpaid):
        charge(conn, unpaid, terms)
    with pytest.raises(PaymentUnknown):
        charges.refund_session(conn, session_id=uuid4(), cause="start_failed", now=payment.created_at)


def test_a_fee_nobody_shares_is_refused_and_nothing_is_written(
    conn: Connection, terms: Any, pay: Any
) -> None:
    payment = pay(300)
    silent = agreements.publish(
        conn,
        site_id="elsewhere",
        shares={FeeKind.ELECTRICITY: {"pileway": 10_000}},
        effective_from=payment.created_at,
        now=payment.created_at,
    )
    with pytest.raises(AgreementSilent) as refusal:
        charges.charge_session(
            conn,
            session_id=payment.session_id,
            tariff_version_id=terms.tariff.tariff_version_id,
            agreement_version_id=silent.agreement_version_id,
            periods=[ChargingPeriod(payment.created_at, 3600, 5000, 5000)],
            session_started_at=payment.created_at,
            now=payment.created_at,
        )
    assert refusal.value.fee_kind == "service"
    assert charges.get(conn, payment.session_id) is None
    assert [entry.kind for entry in ledger.of_session(conn, payment.session_id)] == ["payment_received"]


def test_settlement_and_failure_at_once_dispose_of_the_prepayment_once(
    conn: Connection, pool: ConnectionPool[Connection], terms: Any, pay: Any
) -> None:
    """A fully used prepayment, where nothing but the lock on the payment keeps the two apart."""
    for _ in range(5):
        payment = pay(54)
        barrier = Barrier(4)

        def settle(own: Connection, payment: Payment = payment) -> None:
            charge(own, payment, terms)

        def fail(own: Connection, payment: Payment = payment) -> None:
            charges.refund_session(
                own, session_id=payment.session_id, cause="start_failed", now=payment.created_at
            )

        def run(dispose: Callable[[Connection], None], barrier: Barrier = barrier) -> str:
            try:
                with pool.connection() as own, own.transaction():
                    barrier.wait(WAIT_S)
                    dispose(own)
            except ChargeConflict:
                return "refused"
            return "done"

        with ThreadPoolExecutor(4) as executor:
            outcomes = list(executor.map(run, (settle, fail, settle, fail), timeout=WAIT_S))
        assert sorted(outcomes) == ["done", "done", "refused", "refused"]
        assert len(ledger.of_session(conn, payment.session_id)) == 2
        conn.commit()
    assert ledger.audit(conn).clean


def test_a_preview_is_what_the_charge_then_says(conn: Connection, terms: Any, pay: Any) -> None:
    payment = pay(53)
    preview_fen = charges.preview(
        terms.tariff,
        [ChargingPeriod(payment.created_at, 3600, 5000, 5000)],
        session_started_at=payment.created_at,
        prepaid_fen=53,
    )
    made = charge(conn, payment, terms)
    assert preview_fen == {fee.fee_kind: fee.charged_fen for fee in made.fees}


def test_a_charge_cannot_be_changed(conn: Connection, terms: Any, pay: Any) -> None:
    payment = pay(300)
    charge(conn, payment, terms)
    conn.commit()
    for statement in (
        b"UPDATE session_charge SET charged_fen = 0, refund_fen = prepaid_fen",
        b"UPDATE session_fee SET rated_fen = rated_fen + 1",
        b"DELETE FROM session_share",
    ):
        with pytest.raises(Exception, match="immutable"):
            conn.execute(statement)
        conn.rollback()
