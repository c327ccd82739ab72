"""What was charged: a session's fees, lines and shares as they are kept, written once and read for good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from billing.rating import RatedLine
from billing.tariff_objects import FeeKind


@dataclass(frozen=True)
class ChargedFee:
    """One fee of a charge: its lines sum to `rated_fen`, its shares (party to fen) to `charged_fen`."""

    fee_kind: FeeKind
    rated_fen: int
    charged_fen: int
    lines: tuple[RatedLine, ...]
    shares_fen: Mapping[str, int]

    @property
    def waived_fen(self) -> int:
        return self.rated_fen - self.charged_fen


@dataclass(frozen=True)
class SessionCharge:
    """What a session cost; prepaid = charged + refund. Energy in 0.1 Wh."""

    session_id: UUID
    payment_id: UUID
    tariff_version_id: int
    agreement_version_id: int
    entry_id: int
    energy_dwh: int
    duration_s: int
    prepaid_fen: int
    charged_fen: int
    refund_fen: int
    charged_at: datetime
    fees: tuple[ChargedFee, ...]

    @property
    def waived_fen(self) -> int:
        return sum(fee.waived_fen for fee in self.fees)

    @property
    def shares_fen(self) -> dict[str, int]:
        """What each party gets of the whole session, in fen."""
        totals_fen: dict[str, int] = {}
        for fee in self.fees:
            for party_id, share_fen in fee.shares_fen.items():
                totals_fen[party_id] = totals_fen.get(party_id, 0) + share_fen
        return totals_fen


def get(conn: Connection[TupleRow], session_id: UUID) -> SessionCharge | None:
    """The charge of a session with its fees, lines and shares, if it was charged."""
    row = conn.execute(
        """
        SELECT payment_id, tariff_version_id, agreement_version_id, entry_id, energy_dwh, duration_s,
               prepaid_fen, charged_fen, refund_fen, charged_at
          FROM session_charge WHERE session_id = %(session_id)s
        """,
        {"session_id": session_id},
    ).fetchone()
    return None if row is None else SessionCharge(session_id, *row, fees=_fees(conn, session_id))


def insert(conn: Connection[TupleRow], charge: SessionCharge) -> None:
    """Write a charge, once; its journal entry is there already."""
    conn.execute(
        """
        INSERT INTO session_charge (session_id, payment_id, tariff_version_id, agreement_version_id, entry_id,
                                    energy_dwh, duration_s, prepaid_fen, charged_fen, refund_fen, charged_at)
        VALUES (%(session_id)s, %(payment_id)s, %(tariff_version_id)s, %(agreement_version_id)s, %(entry_id)s,
                %(energy_dwh)s, %(duration_s)s, %(prepaid_fen)s, %(charged_fen)s, %(refund_fen)s, %(charged_at)s)
        """,
        {
            "session_id": charge.session_id,
            "payment_id": charge.payment_id,
            "tariff_version_id": charge.tariff_version_id,
            "agreement_version_id": charge.agreement_version_id,
            "entry_id": charge.entry_id,
            "energy_dwh": charge.energy_dwh,
            "duration_s": charge.duration_s,
            "prepaid_fen": charge.prepaid_fen,
            "charged_fen": charge.charged_fen,
            "refund_fen": charge.refund_fen,
            "charged_at": charge.charged_at,
        },
    )
    with conn.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO session_fee (session_id, fee_kind, rated_fen, charged_fen, lines)
            VALUES (%(session_id)s, %(fee_kind)s, %(rated_fen)s, %(charged_fen)s, %(lines)s)
            """,
            [
                {
                    "session_id": charge.session_id,
                    "fee_kind": fee.fee_kind,
                    "rated_fen": fee.rated_fen,
                    "charged_fen": fee.charged_fen,
                    "lines": Jsonb([line.as_json() for line in fee.lines]),
                }
                for fee in charge.fees
            ],
        )
        cursor.executemany(
            """
            INSERT INTO session_share (session_id, fee_kind, party_id, share_fen)
            VALUES (%(session_id)s, %(fee_kind)s, %(party_id)s, %(share_fen)s)
            """,
            [
                {
                    "session_id": charge.session_id,
                    "fee_kind": fee.fee_kind,
                    "party_id": party_id,
                    "share_fen": share_fen,
                }
                for fee in charge.fees
                for party_id, share_fen in fee.shares_fen.items()
            ],
        )


def _fees(conn: Connection[TupleRow], session_id: UUID) -> tuple[ChargedFee, ...]:
    shares_fen: dict[str, dict[str, int]] = {}
    cursor = conn.execute(
        """
        SELECT fee_kind, party_id, share_fen FROM session_share
         WHERE session_id = %(session_id)s ORDER BY fee_kind, party_id
        """,
        {"session_id": session_id},
    )
    for fee_kind, party_id, share_fen in cursor:
        shares_fen.setdefault(fee_kind, {})[party_id] = share_fen
    rows = conn.execute(
        """
        SELECT fee_kind, rated_fen, charged_fen, lines FROM session_fee WHERE session_id = %(session_id)s
        """,
        {"session_id": session_id},
    ).fetchall()
    fees = [
        ChargedFee(
            fee_kind=FeeKind(fee_kind),
            rated_fen=rated_fen,
            charged_fen=charged_fen,
            lines=tuple(RatedLine.from_json(line) for line in lines),
            shares_fen=shares_fen.get(fee_kind, {}),
        )
        for fee_kind, rated_fen, charged_fen, lines in rows
    ]
    return tuple(sorted(fees, key=lambda fee: list(FeeKind).index(fee.fee_kind)))
