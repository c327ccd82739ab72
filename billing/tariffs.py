"""Tariff versions of a site: published once, never changed, frozen into a session when it is ordered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg import Connection
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from billing import tariff_objects
from billing.errors import EffectiveFromTooEarly, TariffInvalid, TariffMissing, TariffVersionUnknown
from billing.tariff_objects import FeeKind, Tariff, TariffVersion

__all__ = [
    "FeeKind",
    "Tariff",
    "TariffVersion",
    "canonical_json",
    "current",
    "get",
    "in_force",
    "publish",
]


@dataclass(frozen=True)
class _VersionRow:
    tariff_version_id: int
    site_id: str
    version: int
    effective_from: datetime
    tariffs: dict[str, object]
    tariffs_sha256: bytes


def publish(
    conn: Connection[TupleRow],
    *,
    site_id: str,
    tariffs: Mapping[FeeKind, Tariff] | Mapping[str, object],
    effective_from: datetime,
    now: datetime,
) -> TariffVersion:
    """Publish the tariffs of a site, one for each fee kind it charges, as a new version.

    Tariffs may come as objects or as OCPI JSON. The tariffs of the latest version published again change
    nothing and return that version. Raises TariffInvalid (its field begins with the fee kind) and
    EffectiveFromTooEarly; only the first version of a site may reach into the past.
    """
    parsed = _parsed(tariffs)
    conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('tariff_version ' || %(site_id)s, 0))",
        {"site_id": site_id},
    )
    latest = _latest(conn, site_id)
    text = canonical_json(parsed)
    sha256 = hashlib.sha256(text.encode()).digest()
    if latest is not None:
        if latest.tariffs_sha256 == sha256:
            return _version(latest)
        if effective_from <= latest.effective_from or effective_from < now:
            raise EffectiveFromTooEarly(site_id, effective_from, max(latest.effective_from, now))
    row = conn.execute(
        """
        INSERT INTO tariff_version (site_id, version, effective_from, tariffs, tariffs_sha256, created_at)
        VALUES (%(site_id)s, %(version)s, %(effective_from)s, %(tariffs)s, %(sha256)s, %(now)s)
        RETURNING tariff_version_id
        """,
        {
            "site_id": site_id,
            "version": 1 if latest is None else latest.version + 1,
            "effective_from": effective_from,
            "tariffs": Jsonb(json.loads(text)),
            "sha256": sha256,
            "now": now,
        },
    ).fetchone()
    assert row is not None
    return get(conn, row[0])


def current(conn: Connection[TupleRow], *, site_id: str, at: datetime) -> TariffVersion:
    """The version that holds at a site at an instant; raises TariffMissing, never free of charge."""
    with conn.cursor(row_factory=class_row(_VersionRow)) as cursor:
        row = cursor.execute(
            """
            SELECT tariff_version_id, site_id, version, effective_from, tariffs, tariffs_sha256
              FROM tariff_version WHERE site_id = %(site_id)s AND effective_from <= %(at)s
             ORDER BY effective_from DESC LIMIT 1
            """,
            {"site_id": site_id, "at": at},
        ).fetchone()
    if row is None:
        raise TariffMissing(site_id, at)
    return _version(row)


def in_force(conn: Connection[TupleRow], *, at: datetime) -> dict[str, int]:
    """The id of the version that holds at an instant at each site that has one."""
    rows = conn.execute(
        """
        SELECT DISTINCT ON (site_id) site_id, tariff_version_id
          FROM tariff_version WHERE effective_from <= %(at)s ORDER BY site_id, effective_from DESC
        """,
        {"at": at},
    ).fetchall()
    return dict(rows)


def get(conn: Connection[TupleRow], tariff_version_id: int) -> TariffVersion:
    """A version by its id; raises TariffVersionUnknown."""
    with conn.cursor(row_factory=class_row(_VersionRow)) as cursor:
        row = cursor.execute(
            """
            SELECT tariff_version_id, site_id, version, effective_from, tariffs, tariffs_sha256
              FROM tariff_version WHERE tariff_version_id = %(tariff_version_id)s
            """,
            {"tariff_version_id": tariff_version_id},
        ).fetchone()
    if row is None:
        raise TariffVersionUnknown(tariff_version_id)
    return _version(row)


def canonical_json(tariffs: Mapping[FeeKind, Tariff]) -> str:
    """The one text of some tariffs: sorted keys, no spaces, prices as plain decimal strings, nothing null."""
    document = {
        fee_kind.value: tariff.model_dump(mode="json", exclude_none=True)
        for fee_kind, tariff in tariffs.items()
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _parsed(tariffs: Mapping[FeeKind, Tariff] | Mapping[str, object]) -> dict[FeeKind, Tariff]:
    if not tariffs:
        raise TariffInvalid("tariffs", "no fee kind is priced")
    parsed: dict[FeeKind, Tariff] = {}
    for name, tariff in tariffs.items():
        if name not in set(FeeKind):
            raise TariffInvalid(str(name), f"not a fee kind; they are {', '.join(FeeKind)}")
        parsed[FeeKind(name)] = (
            tariff if isinstance(tariff, Tariff) else tariff_objects.parse(tariff, field=str(name))
        )
    return parsed


def _latest(conn: Connection[TupleRow], site_id: str) -> _VersionRow | None:
    with conn.cursor(row_factory=class_row(_VersionRow)) as cursor:
        return cursor.execute(
            """
            SELECT tariff_version_id, site_id, version, effective_from, tariffs, tariffs_sha256
              FROM tariff_version WHERE site_id = %(site_id)s ORDER BY version DESC LIMIT 1
            """,
            {"site_id": site_id},
        ).fetchone()


def _version(row: _VersionRow) -> TariffVersion:
    return TariffVersion(
        tariff_version_id=row.tariff_version_id,
        site_id=row.site_id,
        version=row.version,
        effective_from=row.effective_from,
        tariffs={
            FeeKind(name): tariff_objects.parse(tariff, field=name) for name, tariff in row.tariffs.items()
        },
    )
