"""docs/ledger.md says what the code does, to the fen."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from billing import charges, ledger, refunds
from billing.rating import ChargingPeriod
from database.pool import Connection

DOCUMENT = Path(__file__).parents[3] / "docs" / "ledger.md"
SESSION_ID = UUID("00000000-0000-4000-8000-000000000001")

Lines = dict[str, tuple[int, int]]


def documented() -> Iterator[tuple[str, Lines]]:
    """Each journal kind of the document with its table: account to (debit, credit)."""
    for section in re.split(r"^### ", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        kind = section.split("`")[1]
        rows = re.findall(r"^\| `([^`]+)` \| (\d*) ?\| (\d*) ?\|$", section, flags=re.MULTILINE)
        yield kind, {code: (int(debit or 0), int(credit or 0)) for code, debit, credit in rows}


def posted(entry: ledger.JournalEntry) -> Lines:
    return {
        line.account.code: (line.amount_fen, 0) if line.side is ledger.Side.DEBIT else (0, line.amount_fen)
        for line in entry.postings
    }


def test_every_journal_kind_is_documented_with_the_numbers_it_posts(
    conn: Connection, terms: Any, pay: Any
) -> None:
    payment = pay(300, session_id=SESSION_ID)
    start = payment.paid_at + timedelta(hours=1)
    charge = charges.charge_session(
        conn,
        session_id=SESSION_ID,
        tariff_version_id=terms.tariff.tariff_version_id,
        agreement_version_id=terms.agreement.agreement_version_id,
        periods=[
            ChargingPeriod(start, 3600, 2100, 2100),
            ChargingPeriod(start + timedelta(hours=1), 7200, 3500, 1750),
        ],
        session_started_at=start,
        now=start + timedelta(hours=3),
    )
    (refund,) = refunds.of_session(conn, SESSION_ID)
    refunds.mark_succeeded(
        conn,
        out_refund_no=refund.out_refund_no,
        rail_refund_id="50000000001",
        succeeded_at=charge.charged_at,
        now=charge.charged_at,
    )
    failed = pay(300)
    charges.refund_session(conn, session_id=failed.session_id, cause="start_failed", now=charge.charged_at)
    too_late = pay(300, closed=True)

    entries = {
        entry.kind.value: posted(entry)
        for session_id in (too_late.session_id, failed.session_id, SESSION_ID)
        for entry in ledger.of_session(conn, session_id)
    }
    assert dict(documented()) == entries
    assert entries.keys() == {kind.value for kind in ledger.JournalKind}
    assert ledger.audit(conn).clean
