"""Cards that start sessions at the piles of their site, and what those sessions would have cost.

A card is not money: whoever hands cards out settles with the operator by statement. So a session by card has no
prepayment, is charged nothing and moves no ledger account; what its tariff asks is written down beside it.

A number is never kept, shown or logged: only a slow hash of it, salted with its site, that finds it again.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from psycopg import Connection
from psycopg.errors import ForeignKeyViolation
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from billing import rating, tariffs
from billing.rating import ChargingPeriod
from charging.errors import CardExists, CardUnknown, SiteUnknown
from charging.sessions import ChargingSession

MOST_DIGITS = 64
_HASH_COST = 2**12
"""About 10 ms and 4 MiB a number: card numbers are short, and a stolen table must not be read out in an afternoon."""


@dataclass(frozen=True)
class Card:
    card_id: UUID
    site_id: str
    label: str
    active: bool
    registered_at: datetime
    changed_at: datetime


@dataclass(frozen=True)
class CardUse:
    """What a card took so far: settled sessions, energy in 0.1 Wh, and what the tariffs ask for it in fen."""

    card_id: UUID
    sessions: int
    energy_dwh: int
    rated_fen: int


@dataclass(frozen=True)
class CardRating:
    """What one session by card would have cost, in fen by fee kind."""

    session_id: UUID
    card_id: UUID
    energy_dwh: int
    duration_s: int
    rated_fen: int
    fees_fen: dict[str, int]
    rated_at: datetime


def register(conn: Connection[TupleRow], *, site_id: str, number: str, label: str, now: datetime) -> Card:
    """Let a card start sessions at a site. Raises SiteUnknown, CardExists."""
    card_id = uuid4()
    try:
        with conn.transaction():
            inserted = conn.execute(
                """
                INSERT INTO card (card_id, site_id, number_hash, label, active, registered_at, changed_at)
                VALUES (%(card_id)s, %(site_id)s, %(number_hash)s, %(label)s, true, %(now)s, %(now)s)
                ON CONFLICT (site_id, number_hash) DO NOTHING
                """,
                {
                    "card_id": card_id,
                    "site_id": site_id,
                    "number_hash": _hash(site_id, number),
                    "label": label,
                    "now": now,
                },
            ).rowcount
    except ForeignKeyViolation as error:
        raise SiteUnknown(site_id) from error
    if not inserted:
        known = find(conn, site_id=site_id, number=number)
        assert known is not None, "the number was there a moment ago, and cards are never deleted"
        raise CardExists(known.card_id)
    return get(conn, card_id)


def get(conn: Connection[TupleRow], card_id: UUID) -> Card:
    """One card. Raises CardUnknown."""
    with conn.cursor(row_factory=class_row(Card)) as cursor:
        card = cursor.execute(
            """
            SELECT card_id, site_id, label, active, registered_at, changed_at
              FROM card WHERE card_id = %(card_id)s
            """,
            {"card_id": card_id},
        ).fetchone()
    if card is None:
        raise CardUnknown(card_id)
    return card


def find(conn: Connection[TupleRow], *, site_id: str, number: str) -> Card | None:
    """The card with this number at a site, blocked or not; case, spaces and hyphens do not matter."""
    with conn.cursor(row_factory=class_row(Card)) as cursor:
        return cursor.execute(
            """
            SELECT card_id, site_id, label, active, registered_at, changed_at
              FROM card WHERE site_id = %(site_id)s AND number_hash = %(number_hash)s
            """,
            {"site_id": site_id, "number_hash": _hash(site_id, number)},
        ).fetchone()


def page(
    conn: Connection[TupleRow],
    *,
    limit: int,
    site_id: str | None = None,
    after: tuple[datetime, UUID] | None = None,
) -> list[Card]:
    """Cards newest first, at most `limit`, those older than `after` if given."""
    with conn.cursor(row_factory=class_row(Card)) as cursor:
        return cursor.execute(
            """
            SELECT card_id, site_id, label, active, registered_at, changed_at FROM card
             WHERE (%(site_id)s::text IS NULL OR site_id = %(site_id)s)
               AND (%(at)s::timestamptz IS NULL OR (registered_at, card_id) < (%(at)s, %(id)s::uuid))
             ORDER BY registered_at DESC, card_id DESC LIMIT %(limit)s
            """,
            {
                "site_id": site_id,
                "at": after[0] if after else None,
                "id": after[1] if after else None,
                "limit": limit,
            },
        ).fetchall()


def change(
    conn: Connection[TupleRow], card_id: UUID, *, active: bool | None, label: str | None, now: datetime
) -> Card:
    """Block a card or let it start again, or name it anew; None leaves a thing as it is. Raises CardUnknown."""
    conn.execute(
        """
        UPDATE card SET active = coalesce(%(active)s, active), label = coalesce(%(label)s, label), changed_at = %(now)s
         WHERE card_id = %(card_id)s
        """,
        {"card_id": card_id, "active": active, "label": label, "now": now},
    )
    return get(conn, card_id)


def uses(conn: Connection[TupleRow], card_ids: Sequence[UUID]) -> dict[UUID, CardUse]:
    """What these cards took so far."""
    found = {card_id: CardUse(card_id, 0, 0, 0) for card_id in card_ids}
    with conn.cursor(row_factory=class_row(CardUse)) as cursor:
        cursor.execute(
            """
            SELECT card_id, count(*) AS sessions, sum(energy_dwh)::bigint AS energy_dwh,
                   sum(rated_fen)::bigint AS rated_fen
              FROM card_rating WHERE card_id = ANY(%(card_ids)s) GROUP BY card_id
            """,
            {"card_ids": list(card_ids)},
        )
        for use in cursor:
            found[use.card_id] = use
    return found


def statement(
    conn: Connection[TupleRow], card_id: UUID, *, since: datetime, until: datetime, limit: int
) -> list[CardRating]:
    """What a card took from `since` to `until`, newest first, at most `limit` sessions."""
    with conn.cursor(row_factory=class_row(CardRating)) as cursor:
        return cursor.execute(
            """
            SELECT session_id, card_id, energy_dwh, duration_s, rated_fen, fees_fen, rated_at FROM card_rating
             WHERE card_id = %(card_id)s AND rated_at >= %(since)s AND rated_at < %(until)s
             ORDER BY rated_at DESC, session_id LIMIT %(limit)s
            """,
            {"card_id": card_id, "since": since, "until": until, "limit": limit},
        ).fetchall()


def rate(
    conn: Connection[TupleRow],
    session: ChargingSession,
    periods: Sequence[ChargingPeriod],
    *,
    started_at: datetime,
    now: datetime,
) -> None:
    """Write down what a session by card would have cost; the first rating of a session counts. Raises RatingRefused."""
    fees = rating.rate_all(
        tariffs.get(conn, session.tariff_version_id), periods, session_started_at=started_at
    )
    conn.execute(
        """
        INSERT INTO card_rating (session_id, card_id, tariff_version_id, energy_dwh, duration_s, rated_fen, fees_fen,
                                 rated_at)
        VALUES (%(session_id)s, %(card_id)s, %(tariff_version_id)s, %(energy_dwh)s, %(duration_s)s, %(rated_fen)s,
                %(fees_fen)s, %(now)s)
        ON CONFLICT DO NOTHING
        """,
        {
            "session_id": session.session_id,
            "card_id": session.card_id,
            "tariff_version_id": session.tariff_version_id,
            "energy_dwh": sum(period.energy_dwh for period in periods),
            "duration_s": sum(period.duration_s for period in periods),
            "rated_fen": sum(fee.total_fen for fee in fees),
            "fees_fen": Jsonb({fee.fee_kind.value: fee.total_fen for fee in fees}),
            "now": now,
        },
    )


def _hash(site_id: str, number: str) -> bytes:
    plain = number.upper().replace("-", "").replace(" ", "")
    salt = f"pileway card:{site_id}".encode()
    return hashlib.scrypt(plain.encode(), salt=salt, n=_HASH_COST, r=8, p=1, dklen=32)
