"""Read-only queries for the operator's API over billing's own tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from billing.refunds import Refund, RefundState


@dataclass(frozen=True)
class RefundPageKey:
    """Where a page of refunds ended; the next page holds what was asked for later."""

    requested_at: datetime
    refund_id: UUID


def refund_page(
    conn: Connection[TupleRow],
    *,
    limit: int,
    state: RefundState | None = None,
    after: RefundPageKey | None = None,
) -> list[Refund]:
    """Refunds, longest waiting first, at most `limit`, those asked for later than `after` if given."""
    with conn.cursor(row_factory=class_row(Refund)) as cursor:
        return cursor.execute(
            """
            SELECT r.refund_id, r.payment_id, p.session_id, p.rail, p.out_trade_no, p.amount_fen AS paid_fen,
                   r.idempotency_key, r.generation, r.out_refund_no, r.cause, r.amount_fen, r.state,
                   r.attempts, r.last_error, r.rail_refund_id, r.requested_at, r.retry_at, r.succeeded_at
              FROM refund r JOIN payment p USING (payment_id)
             WHERE (%(state)s::text IS NULL OR r.state = %(state)s)
               AND (%(requested_at)s::timestamptz IS NULL
                    OR (r.requested_at, r.refund_id) > (%(requested_at)s, %(refund_id)s::uuid))
             ORDER BY r.requested_at, r.refund_id LIMIT %(limit)s
            """,
            {
                "state": state,
                "requested_at": after.requested_at if after else None,
                "refund_id": after.refund_id if after else None,
                "limit": limit,
            },
        ).fetchall()


@dataclass(frozen=True)
class PendingRefunds:
    """Refunds in one state that the rail has not paid yet, since when the oldest, and their sum in fen."""

    state: RefundState
    refunds: int
    since: datetime
    amount_fen: int


def pending_refunds(conn: Connection[TupleRow]) -> list[PendingRefunds]:
    """What riders are still owed, by state."""
    with conn.cursor(row_factory=class_row(PendingRefunds)) as cursor:
        return cursor.execute(
            """
            SELECT state, count(*) AS refunds, min(requested_at) AS since, sum(amount_fen)::bigint AS amount_fen
              FROM refund WHERE state <> 'succeeded' GROUP BY state
            """
        ).fetchall()


def trial_balance_fen(conn: Connection[TupleRow]) -> int:
    """Debits less credits over all accounts, in fen: anything but 0 is wrong. The audit looks much further."""
    row = conn.execute(
        "SELECT coalesce(sum(debit_fen) - sum(credit_fen), 0)::bigint FROM ledger_balance"
    ).fetchone()
    assert row is not None, "an aggregate gives a row"
    return int(row[0])
