"""The double-entry ledger: post, read and audit.

Entries are immutable and balanced (checked here and again by the database at commit), each made once per
idempotency key, with the balances kept in the same transaction.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from billing.accounts import Account, AccountKind
from billing.errors import EntryConflict, EntryUnbalanced, EntryUnknown
from billing.ledger_audit import AuditReport, audit

__all__ = [
    "AccountBalance",
    "AuditReport",
    "JournalEntry",
    "JournalKind",
    "PartyBalance",
    "Posting",
    "Side",
    "audit",
    "balances",
    "credit",
    "debit",
    "entry",
    "entry_by_key",
    "of_session",
    "party_balances",
    "post",
]

MAX_POSTINGS = 1000
"""Most lines of one entry: an agreement of three fee kinds and some hundred parties stays far below."""


class JournalKind(StrEnum):
    """The business events that move money; each is worked to the fen in docs/ledger.md."""

    PAYMENT_RECEIVED = "payment_received"
    SESSION_SETTLED = "session_settled"
    SESSION_FAILED = "session_failed"
    PAYMENT_TOO_LATE = "payment_too_late"
    REFUND_PAID = "refund_paid"


class Side(StrEnum):
    """The direction of a posting."""

    DEBIT = "debit"
    CREDIT = "credit"


@dataclass(frozen=True)
class Posting:
    """One line of an entry: an amount above zero, in fen, on one side of one account."""

    account: Account
    side: Side
    amount_fen: int

    def __post_init__(self) -> None:
        if self.amount_fen <= 0:
            raise ValueError(f"a posting to {self.account.code} of {self.amount_fen} fen is not above zero")


@dataclass(frozen=True)
class JournalEntry:
    """A posted entry with its lines in the order they were given."""

    entry_id: int
    idempotency_key: str
    kind: JournalKind
    session_id: UUID | None
    occurred_at: datetime
    booked_at: datetime
    postings: tuple[Posting, ...]


@dataclass(frozen=True)
class PartyBalance:
    """What a party has earned of one fee kind and not been paid out, in fen."""

    party_id: str
    name: str
    party_kind: str
    fee_kind: str
    balance_fen: int


@dataclass(frozen=True)
class AccountBalance:
    """The totals posted to an account, in fen; the balance counts in the account's own direction."""

    code: str
    kind: AccountKind
    debit_fen: int
    credit_fen: int

    @property
    def balance_fen(self) -> int:
        grows_by_debit = self.kind in (AccountKind.ASSET, AccountKind.EXPENSE)
        return self.debit_fen - self.credit_fen if grows_by_debit else self.credit_fen - self.debit_fen


@dataclass(frozen=True)
class _EntryRow:
    entry_id: int
    idempotency_key: str
    kind: str
    session_id: UUID | None
    occurred_at: datetime
    booked_at: datetime
    content_sha256: bytes


@dataclass(frozen=True)
class _PostingRow:
    entry_id: int
    code: str
    kind: str
    party_id: str | None
    side: str
    amount_fen: int


def debit(account: Account, amount_fen: int) -> Posting:
    """A debit line of `amount_fen` above zero."""
    return Posting(account, Side.DEBIT, amount_fen)


def credit(account: Account, amount_fen: int) -> Posting:
    """A credit line of `amount_fen` above zero."""
    return Posting(account, Side.CREDIT, amount_fen)


def post(
    conn: Connection[TupleRow],
    *,
    idempotency_key: str,
    kind: JournalKind,
    postings: Sequence[Posting],
    session_id: UUID | None,
    occurred_at: datetime,
    now: datetime,
) -> JournalEntry:
    """Write one balanced entry in the caller's transaction, or return the first one made with this key.

    The content that must agree on a repeat is the kind, the session and the money; not the times, because a
    repeat may come from another process with a later clock. A concurrent post of the same key waits for the
    first to commit. Balances are locked in account order, after everything else of the entry is written.

    Raises EntryUnbalanced, and EntryConflict when the key was used for other content.
    """
    _check_balanced(idempotency_key, postings)
    content_sha256 = _content_sha256(kind, session_id, postings)
    inserted = conn.execute(
        """
        INSERT INTO journal_entry (idempotency_key, kind, session_id, occurred_at, booked_at, content_sha256)
        VALUES (%(key)s, %(kind)s, %(session_id)s, %(occurred_at)s, %(now)s, %(sha256)s)
        ON CONFLICT (idempotency_key) DO NOTHING
        RETURNING entry_id
        """,
        {
            "key": idempotency_key,
            "kind": kind,
            "session_id": session_id,
            "occurred_at": occurred_at,
            "now": now,
            "sha256": content_sha256,
        },
    ).fetchone()
    if inserted is None:
        return _first(conn, idempotency_key, content_sha256)
    entry_id: int = inserted[0]
    account_ids = _account_ids(conn, [posting.account for posting in postings], now)
    _insert_postings(conn, entry_id, postings, account_ids)
    _add_to_balances(conn, postings, account_ids)
    return JournalEntry(
        entry_id=entry_id,
        idempotency_key=idempotency_key,
        kind=kind,
        session_id=session_id,
        occurred_at=occurred_at,
        booked_at=now,
        postings=tuple(postings),
    )


def entry(conn: Connection[TupleRow], entry_id: int) -> JournalEntry:
    """An entry with its lines; raises EntryUnknown."""
    with conn.cursor(row_factory=class_row(_EntryRow)) as cursor:
        row = cursor.execute(
            """
            SELECT entry_id, idempotency_key, kind, session_id, occurred_at, booked_at, content_sha256
              FROM journal_entry WHERE entry_id = %(entry_id)s
            """,
            {"entry_id": entry_id},
        ).fetchone()
    if row is None:
        raise EntryUnknown(entry_id)
    return _with_postings(conn, [row])[0]


def entry_by_key(conn: Connection[TupleRow], idempotency_key: str) -> JournalEntry | None:
    """The entry made with this idempotency key, if any."""
    row = _row_by_key(conn, idempotency_key)
    return None if row is None else _with_postings(conn, [row])[0]


def of_session(conn: Connection[TupleRow], session_id: UUID) -> tuple[JournalEntry, ...]:
    """Every entry of a session in the order they were booked."""
    with conn.cursor(row_factory=class_row(_EntryRow)) as cursor:
        rows = cursor.execute(
            """
            SELECT entry_id, idempotency_key, kind, session_id, occurred_at, booked_at, content_sha256
              FROM journal_entry WHERE session_id = %(session_id)s ORDER BY entry_id
            """,
            {"session_id": session_id},
        ).fetchall()
    return _with_postings(conn, rows)


def balances(conn: Connection[TupleRow]) -> tuple[AccountBalance, ...]:
    """The trial balance: every account with its totals, by code."""
    with conn.cursor() as cursor:
        cursor.execute(
            """
            SELECT account.code, account.kind, balance.debit_fen, balance.credit_fen
              FROM ledger_account AS account JOIN ledger_balance AS balance USING (account_id)
             ORDER BY account.code
            """
        )
        return tuple(
            AccountBalance(code=row[0], kind=AccountKind(row[1]), debit_fen=row[2], credit_fen=row[3])
            for row in cursor
        )


def party_balances(conn: Connection[TupleRow]) -> tuple[PartyBalance, ...]:
    """What each party has pending, by party and fee kind, in fen."""
    with conn.cursor(row_factory=class_row(PartyBalance)) as cursor:
        cursor.execute(
            """
            SELECT party.party_id, party.name, party.kind AS party_kind,
                   split_part(account.code, ':', 4) AS fee_kind,
                   balance.credit_fen - balance.debit_fen AS balance_fen
              FROM ledger_account AS account
              JOIN ledger_balance AS balance USING (account_id)
              JOIN party USING (party_id)
             WHERE account.code LIKE 'party:%%:pending:%%'
             ORDER BY party.party_id, fee_kind
            """
        )
        return tuple(cursor.fetchall())


def _check_balanced(idempotency_key: str, postings: Sequence[Posting]) -> None:
    debit_fen = sum(line.amount_fen for line in postings if line.side is Side.DEBIT)
    credit_fen = sum(line.amount_fen for line in postings if line.side is Side.CREDIT)
    if not 2 <= len(postings) <= MAX_POSTINGS or debit_fen != credit_fen:
        raise EntryUnbalanced(idempotency_key, debit_fen=debit_fen, credit_fen=credit_fen)


def _content_sha256(kind: JournalKind, session_id: UUID | None, postings: Sequence[Posting]) -> bytes:
    # Plain lines in byte order, so that the audit can compute the same hash inside PostgreSQL.
    lines = sorted(f"{line.side} {line.account.code} {line.amount_fen}" for line in postings)
    return hashlib.sha256("\n".join([kind, str(session_id or "-"), *lines]).encode()).digest()


def _first(conn: Connection[TupleRow], idempotency_key: str, content_sha256: bytes) -> JournalEntry:
    row = _row_by_key(conn, idempotency_key)
    assert row is not None
    if row.content_sha256 != content_sha256:
        raise EntryConflict(idempotency_key, entry_id=row.entry_id)
    return _with_postings(conn, [row])[0]


def _row_by_key(conn: Connection[TupleRow], idempotency_key: str) -> _EntryRow | None:
    with conn.cursor(row_factory=class_row(_EntryRow)) as cursor:
        return cursor.execute(
            """
            SELECT entry_id, idempotency_key, kind, session_id, occurred_at, booked_at, content_sha256
              FROM journal_entry WHERE idempotency_key = %(key)s
            """,
            {"key": idempotency_key},
        ).fetchone()


def _with_postings(conn: Connection[TupleRow], rows: Sequence[_EntryRow]) -> tuple[JournalEntry, ...]:
    with conn.cursor(row_factory=class_row(_PostingRow)) as cursor:
        cursor.execute(
            """
            SELECT posting.entry_id, account.code, account.kind, account.party_id,
                   posting.side, posting.amount_fen
              FROM posting JOIN ledger_account AS account USING (account_id)
             WHERE posting.entry_id = ANY (%(entry_ids)s)
             ORDER BY posting.entry_id, posting.line_no
            """,
            {"entry_ids": [row.entry_id for row in rows]},
        )
        lines: dict[int, list[Posting]] = defaultdict(list)
        for line in cursor:
            account = Account(line.code, AccountKind(line.kind), line.party_id)
            lines[line.entry_id].append(Posting(account, Side(line.side), line.amount_fen))
    return tuple(
        JournalEntry(
            entry_id=row.entry_id,
            idempotency_key=row.idempotency_key,
            kind=JournalKind(row.kind),
            session_id=row.session_id,
            occurred_at=row.occurred_at,
            booked_at=row.booked_at,
            postings=tuple(lines[row.entry_id]),
        )
        for row in rows
    )


def _account_ids(conn: Connection[TupleRow], accounts: Sequence[Account], now: datetime) -> dict[str, int]:
    by_code = {account.code: account for account in accounts}
    known = _known_account_ids(conn, list(by_code))
    missing = sorted(by_code.keys() - known.keys())
    if missing:
        conn.execute(
            """
            INSERT INTO ledger_account (code, kind, party_id, created_at)
            SELECT code, kind, party_id, %(now)s
              FROM unnest(%(codes)s::text[], %(kinds)s::text[], %(party_ids)s::text[])
                    AS new (code, kind, party_id)
             ORDER BY code
            ON CONFLICT (code) DO NOTHING
            """,
            {
                "codes": missing,
                "kinds": [by_code[code].kind.value for code in missing],
                "party_ids": [by_code[code].party_id for code in missing],
                "now": now,
            },
        )
        known = _known_account_ids(conn, list(by_code))
    return known


def _known_account_ids(conn: Connection[TupleRow], codes: list[str]) -> dict[str, int]:
    rows = conn.execute(
        "SELECT code, account_id FROM ledger_account WHERE code = ANY (%(codes)s)", {"codes": codes}
    ).fetchall()
    return {row[0]: row[1] for row in rows}


def _insert_postings(
    conn: Connection[TupleRow], entry_id: int, postings: Sequence[Posting], account_ids: dict[str, int]
) -> None:
    conn.execute(
        """
        INSERT INTO posting (entry_id, line_no, account_id, side, amount_fen)
        SELECT %(entry_id)s, line_no, account_id, side, amount_fen
          FROM unnest(%(account_ids)s::bigint[], %(sides)s::text[], %(amounts_fen)s::bigint[])
               WITH ORDINALITY AS line (account_id, side, amount_fen, line_no)
        """,
        {
            "entry_id": entry_id,
            "account_ids": [account_ids[line.account.code] for line in postings],
            "sides": [line.side.value for line in postings],
            "amounts_fen": [line.amount_fen for line in postings],
        },
    )


def _add_to_balances(
    conn: Connection[TupleRow], postings: Sequence[Posting], account_ids: dict[str, int]
) -> None:
    debits_fen: dict[int, int] = dict.fromkeys(sorted(account_ids.values()), 0)
    credits_fen = dict(debits_fen)
    for line in postings:
        totals_fen = debits_fen if line.side is Side.DEBIT else credits_fen
        totals_fen[account_ids[line.account.code]] += line.amount_fen
    ids = list(debits_fen)
    # A lock on a row that is not there locks nothing: the zero row comes first.
    conn.execute(
        """
        INSERT INTO ledger_balance (account_id)
        SELECT account_id FROM unnest(%(ids)s::bigint[]) AS wanted (account_id)
         WHERE NOT EXISTS (SELECT FROM ledger_balance AS present WHERE present.account_id = wanted.account_id)
         ORDER BY account_id
        ON CONFLICT (account_id) DO NOTHING
        """,
        {"ids": ids},
    )
    conn.execute(
        """
        SELECT account_id FROM ledger_balance WHERE account_id = ANY (%(ids)s) ORDER BY account_id FOR UPDATE
        """,
        {"ids": ids},
    )
    conn.execute(
        """
        UPDATE ledger_balance AS balance
           SET debit_fen = balance.debit_fen + added.debit_fen,
               credit_fen = balance.credit_fen + added.credit_fen
          FROM unnest(%(ids)s::bigint[], %(debits_fen)s::bigint[], %(credits_fen)s::bigint[])
               AS added (account_id, debit_fen, credit_fen)
         WHERE balance.account_id = added.account_id
        """,
        {
            "ids": ids,
            "debits_fen": list(debits_fen.values()),
            "credits_fen": list(credits_fen.values()),
        },
    )
