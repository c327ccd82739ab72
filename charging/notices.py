"""Notices: who is told what. One row for each recipient, written with what caused it and announced at commit.

A recipient is a party of the site (operator, property) or the rider of a session. No address or number of anybody is
kept: parties read theirs through the API, riders on the page of their session.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from billing import agreements, parties
from billing.errors import AgreementMissing
from billing.parties import PartyKind
from charging.alarm_kinds import Severity
from charging.errors import NoticeUnknown

CHANNEL = "notice_live"
"""NOTIFY at commit, with the party's id; a rider's notice wakes the session's own channel."""
MOST_OF_SESSION = 20
"""So many of a session's notices are shown, newest first."""

_TOLD = frozenset({PartyKind.OPERATOR, PartyKind.PROPERTY})


class NoticeKind(StrEnum):
    """What a notice is about."""

    ALARM = "alarm"
    ALARM_OVER = "alarm_over"
    PORT_DISABLED = "port_disabled"
    LOCK_LIFTED = "lock_lifted"
    LOCK_KEPT = "lock_kept"


@dataclass(frozen=True, kw_only=True)
class Telling:
    """What is to be told; `cause_key` keeps one recipient from being told twice."""

    cause_key: str
    kind: NoticeKind
    severity: Severity
    site_id: str
    pile_id: str
    port_no: int | None
    zh: str
    en: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Notice:
    """What one recipient is told: either a party or the rider of a session."""

    notice_id: int
    party_id: str | None
    session_id: UUID | None
    kind: NoticeKind
    severity: Severity
    site_id: str
    pile_id: str
    port_no: int | None
    words_zh: str
    words_en: str
    facts: Mapping[str, Any]
    created_at: datetime
    acknowledged_at: datetime | None
    acknowledged_by: str | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", NoticeKind(self.kind))
        object.__setattr__(self, "severity", Severity(self.severity))


def tell_parties(conn: Connection[TupleRow], telling: Telling, *, now: datetime) -> None:
    """Tell the operators and properties of the site, each once."""
    for party_id in _parties_of(conn, telling.site_id, now=now):
        told = conn.execute(
            """
            INSERT INTO notice (party_id, cause_key, kind, severity, site_id, pile_id, port_no, words_zh, words_en,
                                facts, created_at)
            VALUES (%(party_id)s, %(cause_key)s, %(kind)s, %(severity)s, %(site_id)s, %(pile_id)s, %(port_no)s,
                    %(zh)s, %(en)s, %(facts)s, %(now)s)
            ON CONFLICT DO NOTHING RETURNING notice_id
            """,
            _row(telling, now) | {"party_id": party_id},
        ).fetchone()
        if told:
            conn.execute("SELECT pg_notify('notice_live', %(party_id)s)", {"party_id": party_id})


def tell_riders(
    conn: Connection[TupleRow], session_ids: Iterable[UUID], telling: Telling, *, now: datetime
) -> None:
    """Tell the riders of these sessions, each once, on the page of the session."""
    for session_id in session_ids:
        told = conn.execute(
            """
            INSERT INTO notice (session_id, cause_key, kind, severity, site_id, pile_id, port_no, words_zh, words_en,
                                facts, created_at)
            VALUES (%(session_id)s, %(cause_key)s, %(kind)s, %(severity)s, %(site_id)s, %(pile_id)s, %(port_no)s,
                    %(zh)s, %(en)s, %(facts)s, %(now)s)
            ON CONFLICT DO NOTHING RETURNING notice_id
            """,
            _row(telling, now) | {"session_id": session_id},
        ).fetchone()
        if told:
            conn.execute("SELECT pg_notify('session_live', %(session_id)s)", {"session_id": str(session_id)})


def page(
    conn: Connection[TupleRow],
    *,
    party_id: str,
    limit: int,
    unread: bool = False,
    before: int | None = None,
) -> list[Notice]:
    """A party's notices, newest first, those older than notice `before` if given."""
    with conn.cursor(row_factory=class_row(Notice)) as cursor:
        return cursor.execute(
            """
            SELECT notice_id, party_id, session_id, kind, severity, site_id, pile_id, port_no, words_zh, words_en,
                   facts, created_at, acknowledged_at, acknowledged_by
              FROM notice
             WHERE party_id = %(party_id)s AND (NOT %(unread)s OR acknowledged_at IS NULL)
               AND (%(before)s::bigint IS NULL OR notice_id < %(before)s)
             ORDER BY notice_id DESC LIMIT %(limit)s
            """,
            {"party_id": party_id, "unread": unread, "before": before, "limit": limit},
        ).fetchall()


def unread_count(conn: Connection[TupleRow], party_id: str) -> int:
    """How many notices a party has not acknowledged."""
    row = conn.execute(
        "SELECT count(*) FROM notice WHERE party_id = %(party_id)s AND acknowledged_at IS NULL",
        {"party_id": party_id},
    ).fetchone()
    return int(row[0]) if row else 0


def acknowledge(
    conn: Connection[TupleRow], *, party_id: str, notice_id: int, by: str, now: datetime
) -> Notice:
    """Note who of a party has read a notice; the first name stays. Raises NoticeUnknown."""
    conn.execute(
        """
        UPDATE notice SET acknowledged_at = %(now)s, acknowledged_by = %(by)s
         WHERE notice_id = %(notice_id)s AND party_id = %(party_id)s AND acknowledged_at IS NULL
        """,
        {"now": now, "by": by, "notice_id": notice_id, "party_id": party_id},
    )
    with conn.cursor(row_factory=class_row(Notice)) as cursor:
        notice = cursor.execute(
            """
            SELECT notice_id, party_id, session_id, kind, severity, site_id, pile_id, port_no, words_zh, words_en,
                   facts, created_at, acknowledged_at, acknowledged_by
              FROM notice WHERE notice_id = %(notice_id)s AND party_id = %(party_id)s
            """,
            {"notice_id": notice_id, "party_id": party_id},
        ).fetchone()
    if notice is None:
        raise NoticeUnknown(notice_id)
    return notice


def of_sessions(conn: Connection[TupleRow], session_ids: Sequence[UUID]) -> dict[UUID, list[Notice]]:
    """What the riders of these sessions were told, newest first."""
    found: dict[UUID, list[Notice]] = defaultdict(list)
    with conn.cursor(row_factory=class_row(Notice)) as cursor:
        cursor.execute(
            """
            SELECT notice_id, party_id, session_id, kind, severity, site_id, pile_id, port_no, words_zh, words_en,
                   facts, created_at, acknowledged_at, acknowledged_by
              FROM notice WHERE session_id = ANY(%(session_ids)s) ORDER BY notice_id DESC
            """,
            {"session_ids": list(session_ids)},
        )
        for notice in cursor:
            if notice.session_id is not None and len(found[notice.session_id]) < MOST_OF_SESSION:
                found[notice.session_id].append(notice)
    return dict(found)


def _parties_of(conn: Connection[TupleRow], site_id: str, *, now: datetime) -> list[str]:
    """Operators and properties that share the site's revenue; every operator where nobody does yet."""
    known = parties.list_all(conn)
    sharing: set[str] = set()
    with suppress(AgreementMissing):
        for share in agreements.current(conn, site_id=site_id, at=now).shares.values():
            sharing.update(share)
    told = [party.party_id for party in known if party.kind in _TOLD and party.party_id in sharing]
    return told or [party.party_id for party in known if party.kind is PartyKind.OPERATOR]


def _row(telling: Telling, now: datetime) -> dict[str, Any]:
    return {
        "cause_key": telling.cause_key,
        "kind": telling.kind,
        "severity": telling.severity,
        "site_id": telling.site_id,
        "pile_id": telling.pile_id,
        "port_no": telling.port_no,
        "zh": telling.zh,
        "en": telling.en,
        "facts": Jsonb(dict(telling.facts)),
        "now": now,
    }
