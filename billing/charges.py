"""Charges: a session's prepayment becomes fees, shares and a refund, once, in one balanced entry.

The prepayment is disposed of in exactly one of two ways: `charge_session` after the pile's settlement, or
`refund_session` when nothing was started. Both lock the payment first, so that two disposals cannot meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

import structlog
from psycopg import Connection
from psycopg.rows import TupleRow

from billing import accounts, agreements, bills, charge_records, ledger, payments, refunds, tariffs
from billing.agreements import AgreementVersion
from billing.bills import Bill
from billing.charge_records import ChargedFee, SessionCharge, get
from billing.errors import ChargeConflict, PaymentUnknown, PaymentUnpaid
from billing.ledger import JournalEntry, JournalKind, Posting
from billing.metered_slices import ChargingPeriod
from billing.payments import Payment, PaymentState
from billing.refunds import Refund, RefundCause
from billing.split import split
from billing.tariff_objects import FeeKind, TariffVersion

__all__ = ["ChargedFee", "SessionCharge", "charge_session", "get", "preview", "refund_session"]

log = structlog.get_logger()


def charge_session(
    conn: Connection[TupleRow],
    *,
    session_id: UUID,
    tariff_version_id: int,
    agreement_version_id: int,
    periods: Sequence[ChargingPeriod],
    session_started_at: datetime,
    now: datetime,
) -> SessionCharge:
    """Charge a session from its prepayment by the versions it froze, and ask for the rest to go back.

    Called again it returns the first charge, whatever the periods. Raises PaymentUnknown, PaymentUnpaid,
    ChargeConflict when the prepayment was given back whole before, RatingRefused, AgreementSilent.
    """
    payment = _locked_payment(conn, session_id)
    first = get(conn, session_id)
    if first is not None:
        return first
    _refuse_disposed(conn, payment, besides=_charge_key(session_id))
    version = tariffs.get(conn, tariff_version_id)
    agreement = agreements.get(conn, agreement_version_id)
    bill = bills.make(version, periods, session_started_at=session_started_at, prepaid_fen=payment.amount_fen)
    fees = _split(bill, agreement, session_id)
    entry = _post(conn, session_id, bill, fees, now)
    charge = SessionCharge(
        session_id=session_id,
        payment_id=payment.payment_id,
        tariff_version_id=version.tariff_version_id,
        agreement_version_id=agreement.agreement_version_id,
        entry_id=entry.entry_id,
        energy_dwh=bill.energy_dwh,
        duration_s=bill.duration_s,
        prepaid_fen=bill.prepaid_fen,
        charged_fen=bill.charged_fen,
        refund_fen=bill.refund_fen,
        charged_at=now,
        fees=fees,
    )
    charge_records.insert(conn, charge)
    if charge.refund_fen:
        refunds.request(
            conn,
            payment_id=payment.payment_id,
            amount_fen=charge.refund_fen,
            cause=RefundCause.UNUSED_PREPAYMENT,
            idempotency_key=_charge_key(session_id),
            now=now,
        )
    log.info(
        "session_charged",
        session_id=str(session_id),
        energy_dwh=charge.energy_dwh,
        charged_fen=charge.charged_fen,
        refund_fen=charge.refund_fen,
        waived_fen=charge.waived_fen,
    )
    return charge


def refund_session(
    conn: Connection[TupleRow], *, session_id: UUID, cause: RefundCause | str, now: datetime
) -> Refund:
    """Give the whole prepayment of a session back; called again it returns the first refund.

    Raises PaymentUnknown, PaymentUnpaid, and ChargeConflict when the session was charged before.
    """
    payment = _locked_payment(conn, session_id)
    key = f"session:{session_id}:refund_all"
    _refuse_disposed(conn, payment, besides=key)
    ledger.post(
        conn,
        idempotency_key=key,
        kind=JournalKind.SESSION_FAILED,
        postings=[
            ledger.debit(accounts.RIDER_PREPAYMENT, payment.amount_fen),
            ledger.credit(accounts.RIDER_REFUND_PAYABLE, payment.amount_fen),
        ],
        session_id=session_id,
        occurred_at=now,
        now=now,
    )
    return refunds.request(
        conn,
        payment_id=payment.payment_id,
        amount_fen=payment.amount_fen,
        cause=RefundCause(cause),
        idempotency_key=key,
        now=now,
    )


def preview(
    version: TariffVersion,
    periods: Sequence[ChargingPeriod],
    *,
    session_started_at: datetime,
    prepaid_fen: int,
) -> dict[FeeKind, int]:
    """What a running session would be charged if it ended now, by fee kind, in fen; raises RatingRefused."""
    bill = bills.make(version, periods, session_started_at=session_started_at, prepaid_fen=prepaid_fen)
    return {fee.rated.fee_kind: fee.charged_fen for fee in bill.fees}


def _charge_key(session_id: UUID) -> str:
    return f"session:{session_id}:charge"


def _locked_payment(conn: Connection[TupleRow], session_id: UUID) -> Payment:
    conn.execute(
        "SELECT payment_id FROM payment WHERE session_id = %(session_id)s FOR UPDATE",
        {"session_id": session_id},
    )
    payment = payments.of_session(conn, session_id)
    if payment is None:
        raise PaymentUnknown(str(session_id))
    if payment.state is not PaymentState.PAID:
        raise PaymentUnpaid(payment.payment_id)
    return payment


def _refuse_disposed(conn: Connection[TupleRow], payment: Payment, *, besides: str) -> None:
    keys = (
        _charge_key(payment.session_id),
        f"session:{payment.session_id}:refund_all",
        f"payment:{payment.payment_id}:too_late",
    )
    for key in keys:
        if key != besides and (entry := ledger.entry_by_key(conn, key)) is not None:
            raise ChargeConflict(payment.session_id, entry.kind)


def _split(bill: Bill, agreement: AgreementVersion, session_id: UUID) -> tuple[ChargedFee, ...]:
    agreement.require(fee.rated.fee_kind for fee in bill.fees if fee.charged_fen)
    return tuple(
        ChargedFee(
            fee_kind=fee.rated.fee_kind,
            rated_fen=fee.rated.total_fen,
            charged_fen=fee.charged_fen,
            lines=fee.rated.lines,
            shares_fen=split(
                fee.charged_fen,
                agreement.shares[fee.rated.fee_kind],
                salt=f"{session_id}:{fee.rated.fee_kind}".encode(),
            )
            if fee.charged_fen
            else {},
        )
        for fee in bill.fees
    )


def _post(
    conn: Connection[TupleRow], session_id: UUID, bill: Bill, fees: Iterable[ChargedFee], now: datetime
) -> JournalEntry:
    postings: list[Posting] = [ledger.debit(accounts.RIDER_PREPAYMENT, bill.prepaid_fen)]
    if bill.refund_fen:
        postings.append(ledger.credit(accounts.RIDER_REFUND_PAYABLE, bill.refund_fen))
    postings += [
        ledger.credit(accounts.party_pending(party_id, fee.fee_kind), share_fen)
        for fee in fees
        for party_id, share_fen in fee.shares_fen.items()
        if share_fen
    ]
    return ledger.post(
        conn,
        idempotency_key=_charge_key(session_id),
        kind=JournalKind.SESSION_SETTLED,
        postings=postings,
        session_id=session_id,
        occurred_at=now,
        now=now,
    )
