"""Split agreements of a site: who gets what of each fee kind; published once, frozen into a session."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from billing.errors import (
    AgreementInvalid,
    AgreementMissing,
    AgreementSilent,
    AgreementVersionUnknown,
    EffectiveFromTooEarly,
    PartyUnknown,
)
from billing.split import WHOLE_BPS
from billing.tariff_objects import FeeKind

MAX_PARTIES = 50
"""Most parties that share one fee kind: what WeChat Pay splits an order among at most."""


@dataclass(frozen=True)
class AgreementVersion:
    """Who shares the revenue of a site from an instant on: fee kind to party to basis points."""

    agreement_version_id: int
    site_id: str
    version: int
    effective_from: datetime
    shares: Mapping[FeeKind, Mapping[str, int]]

    def require(self, fee_kinds: Iterable[FeeKind]) -> None:
        """Raise AgreementSilent when one of the fee kinds is not shared."""
        for fee_kind in fee_kinds:
            if fee_kind not in self.shares:
                raise AgreementSilent(self.agreement_version_id, fee_kind)


@dataclass(frozen=True)
class _VersionRow:
    agreement_version_id: int
    site_id: str
    version: int
    effective_from: datetime


def publish(
    conn: Connection[TupleRow],
    *,
    site_id: str,
    shares: Mapping[FeeKind, Mapping[str, int]],
    effective_from: datetime,
    now: datetime,
) -> AgreementVersion:
    """Publish who shares what at a site, in basis points that sum to 10000 for each fee kind, as a new version.

    The shares of the latest version published again change nothing and return that version. Raises
    AgreementInvalid, PartyUnknown, and EffectiveFromTooEarly; only the first version may reach into the past.
    """
    _check(shares)
    _check_parties(conn, shares)
    conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('agreement_version ' || %(site_id)s, 0))",
        {"site_id": site_id},
    )
    latest = _latest(conn, site_id)
    if latest is not None:
        if latest.shares == {fee_kind: dict(parties) for fee_kind, parties in shares.items()}:
            return latest
        if effective_from <= latest.effective_from or effective_from < now:
            raise EffectiveFromTooEarly(site_id, effective_from, max(latest.effective_from, now))
    row = conn.execute(
        """
        INSERT INTO agreement_version (site_id, version, effective_from, created_at)
        VALUES (%(site_id)s, %(version)s, %(effective_from)s, %(now)s)
        RETURNING agreement_version_id
        """,
        {
            "site_id": site_id,
            "version": 1 if latest is None else latest.version + 1,
            "effective_from": effective_from,
            "now": now,
        },
    ).fetchone()
    assert row is not None
    _insert_shares(conn, row[0], shares)
    return get(conn, row[0])


def current(conn: Connection[TupleRow], *, site_id: str, at: datetime) -> AgreementVersion:
    """The agreement that holds at a site at an instant; raises AgreementMissing."""
    with conn.cursor(row_factory=class_row(_VersionRow)) as cursor:
        row = cursor.execute(
            """
            SELECT agreement_version_id, site_id, version, effective_from FROM agreement_version
             WHERE site_id = %(site_id)s AND effective_from <= %(at)s
             ORDER BY effective_from DESC LIMIT 1
            """,
            {"site_id": site_id, "at": at},
        ).fetchone()
    if row is None:
        raise AgreementMissing(site_id, at)
    return _with_shares(conn, row)


def get(conn: Connection[TupleRow], agreement_version_id: int) -> AgreementVersion:
    """An agreement by its id; raises AgreementVersionUnknown."""
    with conn.cursor(row_factory=class_row(_VersionRow)) as cursor:
        row = cursor.execute(
            """
            SELECT agreement_version_id, site_id, version, effective_from FROM agreement_version
             WHERE agreement_version_id = %(agreement_version_id)s
            """,
            {"agreement_version_id": agreement_version_id},
        ).fetchone()
    if row is None:
        raise AgreementVersionUnknown(agreement_version_id)
    return _with_shares(conn, row)


def _check(shares: Mapping[FeeKind, Mapping[str, int]]) -> None:
    if not shares:
        raise AgreementInvalid("shares", "no fee kind is shared")
    for fee_kind, parties in shares.items():
        field = f"shares.{fee_kind}"
        if fee_kind not in set(FeeKind):
            raise AgreementInvalid(field, f"not a fee kind; they are {', '.join(FeeKind)}")
        if len(parties) > MAX_PARTIES:
            raise AgreementInvalid(field, f"{len(parties)} parties, more than {MAX_PARTIES}")
        for party_id, share_bps in parties.items():
            if not 1 <= share_bps <= WHOLE_BPS:
                raise AgreementInvalid(f"{field}.{party_id}", f"{share_bps} bps is not 1 to {WHOLE_BPS}")
        whole_bps = sum(parties.values())
        if whole_bps != WHOLE_BPS:
            raise AgreementInvalid(field, f"the shares sum to {whole_bps} bps, not {WHOLE_BPS}")


def _check_parties(conn: Connection[TupleRow], shares: Mapping[FeeKind, Mapping[str, int]]) -> None:
    named = {party_id for parties in shares.values() for party_id in parties}
    rows = conn.execute(
        "SELECT party_id FROM party WHERE party_id = ANY (%(named)s)", {"named": sorted(named)}
    ).fetchall()
    unknown = named - {row[0] for row in rows}
    if unknown:
        raise PartyUnknown(tuple(sorted(unknown)))


def _latest(conn: Connection[TupleRow], site_id: str) -> AgreementVersion | None:
    with conn.cursor(row_factory=class_row(_VersionRow)) as cursor:
        row = cursor.execute(
            """
            SELECT agreement_version_id, site_id, version, effective_from FROM agreement_version
             WHERE site_id = %(site_id)s ORDER BY version DESC LIMIT 1
            """,
            {"site_id": site_id},
        ).fetchone()
    return None if row is None else _with_shares(conn, row)


def _insert_shares(
    conn: Connection[TupleRow], agreement_version_id: int, shares: Mapping[FeeKind, Mapping[str, int]]
) -> None:
    lines = [
        (fee_kind, party_id, bps) for fee_kind, parties in shares.items() for party_id, bps in parties.items()
    ]
    conn.execute(
        """
        INSERT INTO agreement_share (agreement_version_id, fee_kind, party_id, share_bps)
        SELECT %(agreement_version_id)s, fee_kind, party_id, share_bps
          FROM unnest(%(fee_kinds)s::text[], %(party_ids)s::text[], %(shares_bps)s::int[])
               AS line (fee_kind, party_id, share_bps)
        """,
        {
            "agreement_version_id": agreement_version_id,
            "fee_kinds": [str(line[0]) for line in lines],
            "party_ids": [line[1] for line in lines],
            "shares_bps": [line[2] for line in lines],
        },
    )


def _with_shares(conn: Connection[TupleRow], row: _VersionRow) -> AgreementVersion:
    shares: dict[FeeKind, dict[str, int]] = {}
    cursor = conn.execute(
        """
        SELECT fee_kind, party_id, share_bps FROM agreement_share
         WHERE agreement_version_id = %(agreement_version_id)s ORDER BY fee_kind, party_id
        """,
        {"agreement_version_id": row.agreement_version_id},
    )
    for fee_kind, party_id, share_bps in cursor:
        shares.setdefault(FeeKind(fee_kind), {})[party_id] = share_bps
    return AgreementVersion(row.agreement_version_id, row.site_id, row.version, row.effective_from, shares)
