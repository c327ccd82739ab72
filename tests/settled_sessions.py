"""What must hold of the money of a session that is over."""

from uuid import UUID

from psycopg_pool import ConnectionPool

from billing import charges, ledger, refunds
from billing.charges import SessionCharge
from billing.refunds import RefundState
from database.pool import Connection


def settled_once(pool: ConnectionPool[Connection], session_id: UUID, *, prepaid_fen: int) -> SessionCharge:
    """The charge of a session charged once, refunded once and split once, to the fen; the ledger balances."""
    with pool.connection() as conn:
        charge = charges.get(conn, session_id)
        assert charge is not None
        kinds = sorted(entry.kind for entry in ledger.of_session(conn, session_id))
        assert kinds == ["payment_received", "refund_paid", "session_settled"]
        [refund] = refunds.of_session(conn, session_id)
        assert refund.state is RefundState.SUCCEEDED
        split_fen = sum(fen for fee in charge.fees for fen in fee.shares_fen.values())
        assert charge.prepaid_fen == refund.amount_fen + split_fen == prepaid_fen
        report = ledger.audit(conn)
    assert report.clean, report.findings
    return charge
