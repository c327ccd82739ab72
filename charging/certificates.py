"""Piles' certificates on the books: renewed in time, superseded, revoked.

A renewed certificate leaves the one before good for SUPERSEDED_LASTS, in case our answer was lost. A pile that
renews under a certificate evidently holds it: whatever it held before that one is over at once.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from charging import events
from charging.errors import CertificateRefused, RenewedTooOften
from charging.events import EventKind

SUPERSEDED_LASTS = timedelta(days=7)
"""How long a certificate stays good after its pile got a newer one."""
RENEWALS_A_DAY = 10
"""So many certificates a day are enough for a pile whose answers get lost."""


@dataclass(frozen=True)
class BarredCertificate:
    """A certificate no broker may accept; `serial` in hex."""

    serial: str
    barred_at: datetime


def renew(
    conn: Connection[TupleRow],
    *,
    pile_id: str,
    presented_serial: str,
    serial: str,
    expires_at: datetime,
    now: datetime,
) -> int:
    """Put a pile's next certificate on the books, asked for under the one it presented; returns the pile's shard.

    Serials in hex. Raises CertificateRefused for a presented one that is revoked or not this pile's, or a pile
    that is shut out, and RenewedTooOften.
    """
    row = conn.execute(
        """
        SELECT pile.shard, presented.issued_at,
               (SELECT count(*) FROM pile_certificate AS recent
                 WHERE recent.pile_id = pile.pile_id AND recent.issued_at > %(day_ago)s) AS recent
          FROM pile JOIN pile_certificate AS presented USING (pile_id)
         WHERE pile.pile_id = %(pile_id)s AND presented.serial = %(presented_serial)s
           AND presented.revoked_at IS NULL AND pile.state IN ('provisioned', 'active')
           FOR NO KEY UPDATE OF pile
        """,
        {"pile_id": pile_id, "presented_serial": presented_serial, "day_ago": now - timedelta(days=1)},
    ).fetchone()
    if row is None:
        raise CertificateRefused(pile_id)
    shard, presented_issued_at, recent = row
    if recent > RENEWALS_A_DAY:
        raise RenewedTooOften(pile_id)
    values = {
        "pile_id": pile_id,
        "serial": serial,
        "presented_serial": presented_serial,
        "presented_issued_at": presented_issued_at,
        "expires_at": expires_at,
        "now": now,
    }
    conn.execute(
        """
        UPDATE pile_certificate SET revoked_at = %(now)s
         WHERE pile_id = %(pile_id)s AND issued_at < %(presented_issued_at)s AND revoked_at IS NULL
        """,
        values,
    )
    conn.execute(
        """
        UPDATE pile_certificate SET superseded_at = %(now)s
         WHERE pile_id = %(pile_id)s AND superseded_at IS NULL AND revoked_at IS NULL
        """,
        values,
    )
    conn.execute(
        """
        INSERT INTO pile_certificate (serial, pile_id, issued_at, expires_at)
        VALUES (%(serial)s, %(pile_id)s, %(now)s, %(expires_at)s)
        """,
        values,
    )
    events.record(
        conn, pile_id=pile_id, kind=EventKind.CERTIFICATE_RENEWED, now=now, detail={"serial": serial}
    )
    return int(shard)


def retire_superseded(conn: Connection[TupleRow], *, now: datetime) -> bool:
    """Revoke one certificate whose successor was handed out SUPERSEDED_LASTS ago; False when there is none."""
    return bool(
        conn.execute(
            """
            WITH old AS (
                SELECT serial FROM pile_certificate
                 WHERE revoked_at IS NULL AND superseded_at <= %(before)s LIMIT 1 FOR UPDATE SKIP LOCKED)
            UPDATE pile_certificate SET revoked_at = %(now)s FROM old WHERE pile_certificate.serial = old.serial
            """,
            {"before": now - SUPERSEDED_LASTS, "now": now},
        ).rowcount
    )


def barred(conn: Connection[TupleRow], *, unexpired_at: datetime) -> list[BarredCertificate]:
    """Certificates to be refused though they have not expired: revoked ones, and those of piles shut out.

    `unexpired_at` is the time by the machine's clock, on which certificates live.
    """
    with conn.cursor(row_factory=class_row(BarredCertificate)) as cursor:
        return cursor.execute(
            """
            SELECT serial, coalesce(pile_certificate.revoked_at, pile.state_since) AS barred_at
              FROM pile_certificate JOIN pile USING (pile_id)
             WHERE (pile_certificate.revoked_at IS NOT NULL OR pile.state IN ('quarantined', 'revoked'))
               AND pile_certificate.expires_at > %(unexpired_at)s
             ORDER BY serial
            """,
            {"unexpired_at": unexpired_at},
        ).fetchall()
