"""The audit: the ledger's invariants recomputed from its rows, by another path than the one that wrote them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from psycopg import Connection
from psycopg.rows import TupleRow

MAX_FINDINGS = 100
"""Most findings one audit lists for each of its two halves; a sound ledger has none."""


class Check(StrEnum):
    """What can be found wrong."""

    ENTRY_UNBALANCED = "entry_unbalanced"
    ENTRY_ALTERED = "entry_altered"
    BALANCE_DRIFTED = "balance_drifted"
    TRIAL_BALANCE_OFF = "trial_balance_off"
    PREPAYMENT_LEFT = "prepayment_left"
    PREPAYMENT_OVERDRAWN = "prepayment_overdrawn"
    REFUND_PAYABLE_OFF = "refund_payable_off"
    PAYMENT_REFUNDS_OFF = "payment_refunds_off"
    CHARGE_FEES_OFF = "charge_fees_off"
    FEE_SHARES_OFF = "fee_shares_off"
    SHARES_UNPOSTED = "shares_unposted"


@dataclass(frozen=True)
class Finding:
    """Something wrong with an entry, account, session or payment: two sums that should agree."""

    check: Check
    subject: str
    expected_fen: int
    found_fen: int


@dataclass(frozen=True)
class AuditReport:
    """What an audit looked at and found."""

    entries: int
    sessions: int
    findings: tuple[Finding, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def audit(conn: Connection[TupleRow]) -> AuditReport:
    """Check the whole ledger and the documents behind it; reads only.

    Each half is one statement and so sees one moment of a ledger that is being written.
    """
    counts = conn.execute("SELECT count(*), count(DISTINCT session_id) FROM journal_entry").fetchone()
    assert counts is not None
    findings = [*_ledger_findings(conn), *_document_findings(conn)]
    return AuditReport(entries=counts[0], sessions=counts[1], findings=tuple(findings))


def _ledger_findings(conn: Connection[TupleRow]) -> list[Finding]:
    """Entries balance and are what was posted, cached balances equal their postings, debits equal credits."""
    cursor = conn.execute(
        """
        WITH line AS (
            SELECT posting.entry_id, posting.account_id, account.code, posting.side, posting.amount_fen,
                   CASE side WHEN 'debit' THEN amount_fen ELSE 0 END AS debit_fen,
                   CASE side WHEN 'credit' THEN amount_fen ELSE 0 END AS credit_fen,
                   posting.side || ' ' || account.code || ' ' || posting.amount_fen AS text
              FROM posting JOIN ledger_account AS account USING (account_id)
        ), entry AS (
            SELECT entry_id, sum(debit_fen) AS debit_fen, sum(credit_fen) AS credit_fen,
                   string_agg(text, E'\n' ORDER BY text COLLATE "C") AS text
              FROM line GROUP BY entry_id
        ), posted AS (
            SELECT account_id, sum(debit_fen) AS debit_fen, sum(credit_fen) AS credit_fen
              FROM line GROUP BY account_id
        )
        SELECT 'entry_unbalanced', entry_id::text, coalesce(entry.debit_fen, 0), coalesce(entry.credit_fen, 0)
          FROM journal_entry LEFT JOIN entry USING (entry_id)
         WHERE entry.debit_fen IS DISTINCT FROM entry.credit_fen OR entry.entry_id IS NULL
        UNION ALL
        SELECT 'entry_altered', entry_id::text, 0, 0
          FROM journal_entry AS head JOIN entry USING (entry_id)
         WHERE content_sha256 <> sha256(convert_to(
                   head.kind || E'\n' || coalesce(head.session_id::text, '-') || E'\n' || entry.text, 'UTF8'))
        UNION ALL
        SELECT 'balance_drifted', account.code, coalesce(posted.debit_fen - posted.credit_fen, 0),
               coalesce(balance.debit_fen - balance.credit_fen, 0)
          FROM ledger_account AS account
          LEFT JOIN ledger_balance AS balance USING (account_id)
          LEFT JOIN posted USING (account_id)
         WHERE coalesce(balance.debit_fen, 0) <> coalesce(posted.debit_fen, 0)
            OR coalesce(balance.credit_fen, 0) <> coalesce(posted.credit_fen, 0)
        UNION ALL
        SELECT 'trial_balance_off', 'all accounts', sum(debit_fen), sum(credit_fen)
          FROM ledger_balance HAVING sum(debit_fen) <> sum(credit_fen)
        LIMIT %(limit)s
        """,
        {"limit": MAX_FINDINGS},
    )
    return [Finding(Check(row[0]), row[1], int(row[2]), int(row[3])) for row in cursor]


def _document_findings(conn: Connection[TupleRow]) -> list[Finding]:
    """Per session: prepayment used up once disposed of, refunds owed as asked, shares posted as written."""
    cursor = conn.execute(
        """
        WITH held AS (
            SELECT head.session_id, account.code,
                   sum(CASE side WHEN 'credit' THEN amount_fen ELSE -amount_fen END) AS balance_fen
              FROM journal_entry AS head
              JOIN posting USING (entry_id)
              JOIN ledger_account AS account USING (account_id)
             WHERE account.code IN ('rider:prepayment', 'rider:refund_payable')
             GROUP BY head.session_id, account.code
        ), asked AS (
            SELECT payment_id, sum(amount_fen) AS all_fen,
                   coalesce(sum(amount_fen) FILTER (WHERE state <> 'succeeded'), 0) AS open_fen
              FROM refund GROUP BY payment_id
        ), credited AS (
            SELECT posting.entry_id, sum(posting.amount_fen) AS share_fen
              FROM posting JOIN ledger_account AS account USING (account_id)
             WHERE account.party_id IS NOT NULL AND posting.side = 'credit' GROUP BY posting.entry_id
        ), shared AS (
            SELECT session_id, fee_kind, sum(share_fen) AS share_fen
              FROM session_share GROUP BY session_id, fee_kind
        ), fees AS (
            SELECT session_id, sum(fee.charged_fen) AS charged_fen,
                   sum(coalesce(shared.share_fen, 0)) AS share_fen
              FROM session_fee AS fee LEFT JOIN shared USING (session_id, fee_kind) GROUP BY session_id
        )
        SELECT CASE WHEN balance_fen < 0 THEN 'prepayment_overdrawn' ELSE 'prepayment_left' END,
               session_id::text, 0, balance_fen
          FROM held
         WHERE code = 'rider:prepayment' AND (balance_fen < 0 OR balance_fen > 0 AND EXISTS (
                   SELECT FROM journal_entry AS disposal WHERE disposal.session_id = held.session_id
                      AND disposal.kind IN ('session_settled', 'session_failed', 'payment_too_late')))
        UNION ALL
        SELECT 'refund_payable_off', payment.session_id::text, coalesce(asked.open_fen, 0),
               coalesce(balance_fen, 0)
          FROM payment LEFT JOIN asked USING (payment_id)
          LEFT JOIN held ON held.session_id = payment.session_id AND held.code = 'rider:refund_payable'
         WHERE coalesce(asked.open_fen, 0) <> coalesce(balance_fen, 0)
        UNION ALL
        SELECT 'payment_refunds_off', payment_id::text, coalesce(asked.all_fen, 0), payment.refund_fen
          FROM payment LEFT JOIN asked USING (payment_id) WHERE coalesce(asked.all_fen, 0) <> payment.refund_fen
        UNION ALL
        SELECT 'charge_fees_off', session_id::text, charge.charged_fen, coalesce(fees.charged_fen, 0)
          FROM session_charge AS charge LEFT JOIN fees USING (session_id)
         WHERE charge.charged_fen <> coalesce(fees.charged_fen, 0)
        UNION ALL
        SELECT 'fee_shares_off', session_id::text, fee.charged_fen, coalesce(shared.share_fen, 0)
          FROM session_fee AS fee LEFT JOIN shared USING (session_id, fee_kind)
         WHERE fee.charged_fen <> coalesce(shared.share_fen, 0)
        UNION ALL
        SELECT 'shares_unposted', session_id::text, coalesce(fees.share_fen, 0),
               coalesce(credited.share_fen, 0)
          FROM session_charge AS charge LEFT JOIN fees USING (session_id) LEFT JOIN credited USING (entry_id)
         WHERE coalesce(fees.share_fen, 0) <> coalesce(credited.share_fen, 0)
        LIMIT %(limit)s
        """,
        {"limit": MAX_FINDINGS},
    )
    return [Finding(Check(row[0]), row[1], int(row[2]), int(row[3])) for row in cursor]
