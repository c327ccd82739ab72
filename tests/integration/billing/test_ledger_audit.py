"""The audit finds what the database was made to swallow."""

from datetime import timedelta
from typing import Any

import pytest

from billing import charges, ledger
from billing.ledger_audit import Check
from billing.rating import ChargingPeriod
from database.pool import Connection


def tamper(conn: Connection, statement: str) -> None:
    """Change rows as somebody with the superuser's rights could, past triggers and constraints."""
    conn.execute("SET session_replication_role = replica")
    conn.execute(statement.encode())
    conn.execute("SET session_replication_role = origin")


@pytest.mark.parametrize(
    ("statement", "checks"),
    [
        ("UPDATE ledger_balance SET credit_fen = credit_fen + 1 WHERE account_id = 2",
         {Check.BALANCE_DRIFTED, Check.TRIAL_BALANCE_OFF}),
        ("UPDATE journal_entry SET kind = 'session_failed' WHERE kind = 'session_settled'",
         {Check.ENTRY_ALTERED}),
        ("DELETE FROM posting WHERE entry_id = (SELECT min(entry_id) FROM journal_entry)",
         {Check.ENTRY_UNBALANCED, Check.BALANCE_DRIFTED, Check.PREPAYMENT_OVERDRAWN}),
        ("UPDATE journal_entry SET session_id = NULL WHERE kind = 'session_settled'",
         {Check.ENTRY_ALTERED, Check.REFUND_PAYABLE_OFF, Check.PREPAYMENT_OVERDRAWN}),
        ("UPDATE posting SET amount_fen = amount_fen - 1 WHERE entry_id = 2 AND line_no = 1",
         {Check.ENTRY_UNBALANCED, Check.ENTRY_ALTERED, Check.BALANCE_DRIFTED, Check.PREPAYMENT_LEFT}),
        ("DELETE FROM refund", {Check.REFUND_PAYABLE_OFF, Check.PAYMENT_REFUNDS_OFF}),
        ("UPDATE session_fee SET charged_fen = charged_fen - 1 WHERE fee_kind = 'service'",
         {Check.CHARGE_FEES_OFF, Check.FEE_SHARES_OFF}),
        ("UPDATE session_share SET share_fen = share_fen + 1 WHERE fee_kind = 'electricity'",
         {Check.FEE_SHARES_OFF, Check.SHARES_UNPOSTED}),
    ],
)  # fmt: skip
def test_what_was_tampered_with_is_found(
    conn: Connection, terms: Any, pay: Any, statement: str, checks: set[Check]
) -> None:
    payment = pay(300)
    charges.charge_session(
        conn,
        session_id=payment.session_id,
        tariff_version_id=terms.tariff.tariff_version_id,
        agreement_version_id=terms.agreement.agreement_version_id,
        periods=[ChargingPeriod(payment.created_at, 3600, 5000, 5000)],
        session_started_at=payment.created_at,
        now=payment.created_at + timedelta(hours=1),
    )
    conn.commit()
    report = ledger.audit(conn)
    assert report.clean
    assert (report.entries, report.sessions) == (2, 1)
    tamper(conn, statement)
    report = ledger.audit(conn)
    assert {finding.check for finding in report.findings} == checks
    assert not report.clean


def test_an_empty_ledger_is_clean(conn: Connection) -> None:
    report = ledger.audit(conn)
    assert report.clean
    assert report.entries == 0
