"""The ledger on a real PostgreSQL: once, balanced, unchangeable, together."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from billing import accounts, ledger, parties
from billing.errors import EntryConflict, EntryUnbalanced, EntryUnknown
from billing.ledger import JournalEntry, JournalKind, Posting
from database.pool import Connection

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
CLEARING = accounts.rail_clearing("wechat_pay")
WAIT_S = 30


def received(amount_fen: int) -> list[Posting]:
    return [ledger.debit(CLEARING, amount_fen), ledger.credit(accounts.RIDER_PREPAYMENT, amount_fen)]


def post(
    conn: Connection, key: str, postings: list[Posting], *, session_id: UUID | None = None
) -> JournalEntry:
    return ledger.post(
        conn,
        idempotency_key=key,
        kind=JournalKind.PAYMENT_RECEIVED,
        postings=postings,
        session_id=session_id,
        occurred_at=NOW,
        now=NOW,
    )


def balances_fen(conn: Connection) -> dict[str, int]:
    return {balance.code: balance.balance_fen for balance in ledger.balances(conn)}


def test_an_entry_reads_back_as_it_was_posted(conn: Connection) -> None:
    session_id = uuid4()
    entry = post(conn, "payment:1:received", received(300), session_id=session_id)
    conn.commit()
    assert ledger.entry(conn, entry.entry_id) == entry
    assert ledger.entry_by_key(conn, "payment:1:received") == entry
    assert ledger.of_session(conn, session_id) == (entry,)
    assert balances_fen(conn) == {"rail:wechat_pay:clearing": 300, "rider:prepayment": 300}


def test_unknown_entries_are_said_to_be_unknown(conn: Connection) -> None:
    assert ledger.entry_by_key(conn, "payment:1:received") is None
    with pytest.raises(EntryUnknown):
        ledger.entry(conn, 1)


def test_the_same_key_posts_once_and_returns_the_first(conn: Connection) -> None:
    first = post(conn, "payment:1:received", received(300))
    again = post(conn, "payment:1:received", list(reversed(received(300))))
    assert again == first
    assert balances_fen(conn)["rider:prepayment"] == 300


@pytest.mark.parametrize(
    "other",
    [
        received(301),
        [
            ledger.debit(accounts.rail_clearing("alipay"), 300),
            ledger.credit(accounts.RIDER_PREPAYMENT, 300),
        ],
        [ledger.credit(CLEARING, 300), ledger.debit(accounts.RIDER_PREPAYMENT, 300)],
    ],
)
def test_the_same_key_for_other_money_is_refused(conn: Connection, other: list[Posting]) -> None:
    first = post(conn, "payment:1:received", received(300))
    with pytest.raises(EntryConflict) as refusal:
        post(conn, "payment:1:received", other)
    assert refusal.value.entry_id == first.entry_id


def test_the_same_key_for_another_session_or_kind_is_refused(conn: Connection) -> None:
    post(conn, "payment:1:received", received(300))
    with pytest.raises(EntryConflict):
        post(conn, "payment:1:received", received(300), session_id=uuid4())
    with pytest.raises(EntryConflict):
        ledger.post(
            conn,
            idempotency_key="payment:1:received",
            kind=JournalKind.REFUND_PAID,
            postings=received(300),
            session_id=None,
            occurred_at=NOW,
            now=NOW,
        )


@pytest.mark.parametrize(
    "postings",
    [
        [],
        [ledger.debit(CLEARING, 1)],
        [ledger.debit(CLEARING, 2), ledger.credit(accounts.RIDER_PREPAYMENT, 1)],
        [ledger.debit(CLEARING, 1), ledger.debit(accounts.RIDER_PREPAYMENT, 1)],
    ],
)
def test_an_unbalanced_entry_is_refused(conn: Connection, postings: list[Posting]) -> None:
    with pytest.raises(EntryUnbalanced):
        post(conn, "payment:1:received", postings)


@pytest.mark.parametrize("amount_fen", [0, -1])
def test_a_line_without_an_amount_is_refused(amount_fen: int) -> None:
    with pytest.raises(ValueError, match="not above zero"):
        ledger.debit(CLEARING, amount_fen)


@pytest.mark.parametrize(
    "statement",
    [
        """
        INSERT INTO posting (entry_id, line_no, account_id, side, amount_fen)
        SELECT entry_id, 9, account_id, 'debit', 1 FROM journal_entry, ledger_account LIMIT 1
        """,
        """
        INSERT INTO journal_entry (idempotency_key, kind, occurred_at, booked_at, content_sha256)
        VALUES ('lonely', 'payment_received', now(), now(), sha256(''))
        """,
    ],
)
def test_the_database_itself_refuses_an_unbalanced_entry(conn: Connection, statement: str) -> None:
    post(conn, "payment:1:received", received(300))
    conn.commit()
    conn.execute(statement.encode())
    with pytest.raises(psycopg.errors.CheckViolation, match="debits exceed credits"):
        conn.commit()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE journal_entry SET kind = 'refund_paid'",
        "DELETE FROM journal_entry",
        "TRUNCATE journal_entry CASCADE",
        "UPDATE posting SET amount_fen = amount_fen + 1",
        "DELETE FROM posting",
        "TRUNCATE posting",
    ],
)
def test_the_database_itself_refuses_to_change_the_past(conn: Connection, statement: str) -> None:
    post(conn, "payment:1:received", received(300))
    conn.commit()
    with pytest.raises(psycopg.errors.RestrictViolation, match="immutable"):
        conn.execute(statement.encode())


def test_what_is_rolled_back_was_never_posted(conn: Connection) -> None:
    post(conn, "payment:1:received", received(300))
    conn.rollback()
    post(conn, "payment:1:received", received(200))
    conn.commit()
    assert balances_fen(conn)["rider:prepayment"] == 200


def test_parallel_posts_in_opposite_order_neither_deadlock_nor_lose_a_fen(
    conn: Connection, pool: ConnectionPool[Connection]
) -> None:
    """Eight threads, each entry touching the same accounts forwards or backwards, from an empty chart."""
    threads, rounds = 8, 25
    for party_id in ("lvdian", "pileway"):
        parties.add(conn, party_id=party_id, kind="operator", name=party_id, now=NOW)
    conn.commit()
    barrier = Barrier(threads)

    def work(worker: int) -> None:
        barrier.wait(WAIT_S)
        for number in range(rounds):
            lines = [
                ledger.debit(accounts.RIDER_PREPAYMENT, 10),
                ledger.credit(accounts.party_pending("lvdian", "service"), 3),
                ledger.credit(accounts.party_pending("pileway", "service"), 2),
                ledger.credit(accounts.RIDER_REFUND_PAYABLE, 5),
            ]
            with pool.connection() as own, own.transaction():
                post(own, f"{worker}:{number}", lines if worker % 2 else lines[::-1])

    with ThreadPoolExecutor(threads) as executor:
        list(executor.map(work, range(threads), timeout=WAIT_S))
    entries = threads * rounds
    assert balances_fen(conn) == {
        "rider:prepayment": -10 * entries,
        "rider:refund_payable": 5 * entries,
        "party:lvdian:pending:service": 3 * entries,
        "party:pileway:pending:service": 2 * entries,
    }
    assert {(each.party_id, each.balance_fen) for each in ledger.party_balances(conn)} == {
        ("lvdian", 3 * entries),
        ("pileway", 2 * entries),
    }


def test_the_same_key_from_many_threads_posts_once(
    conn: Connection, pool: ConnectionPool[Connection]
) -> None:
    threads = 8
    barrier = Barrier(threads)

    def work(_: int) -> int:
        with pool.connection() as own, own.transaction():
            barrier.wait(WAIT_S)
            return post(own, "payment:1:received", received(300)).entry_id

    with ThreadPoolExecutor(threads) as executor:
        entry_ids = set(executor.map(work, range(threads), timeout=WAIT_S))
    assert len(entry_ids) == 1
    assert balances_fen(conn)["rider:prepayment"] == 300


def test_the_second_of_two_concurrent_posts_with_other_money_is_refused(
    pool: ConnectionPool[Connection],
) -> None:
    barrier = Barrier(2)

    def work(amount_fen: int) -> str:
        try:
            with pool.connection() as own, own.transaction():
                barrier.wait(WAIT_S)
                post(own, "payment:1:received", received(amount_fen))
        except EntryConflict:
            return "refused"
        return "posted"

    with ThreadPoolExecutor(2) as executor:
        assert sorted(executor.map(work, (300, 301), timeout=WAIT_S)) == ["posted", "refused"]
