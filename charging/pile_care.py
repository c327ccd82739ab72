"""What a pile says of its configuration and of the tariff it shows, and when it has to be told again.

One row a pile. Whoever changes it holds it first, before any command of the pile, so that a wish and a report of the
same instant come one after the other. Messages may come in any order: only a newer (boot, seq) counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg import Connection
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb


@dataclass(frozen=True)
class PileCare:
    """Versions are those the pile reported, 0 for none of ours; `config_settings` as it told them last."""

    pile_id: str
    config_version: int
    config_settings: Mapping[str, int]
    config_reported_at: datetime | None
    config_due_at: datetime | None
    tariff_version: int
    tariff_reported_at: datetime | None
    tariff_due_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """Who says so, and its (boot, seq) that orders what a pile says."""

    pile_id: str
    boot: int
    seq: int


def find(conn: Connection[TupleRow], pile_id: str) -> PileCare | None:
    """What a pile said; None for one that never said anything and of which nothing was wanted."""
    with conn.cursor(row_factory=class_row(PileCare)) as cursor:
        return cursor.execute(
            """
            SELECT pile_id, config_version, config_settings, config_reported_at, config_due_at, tariff_version,
                   tariff_reported_at, tariff_due_at
              FROM pile_care WHERE pile_id = %(pile_id)s
            """,
            {"pile_id": pile_id},
        ).fetchone()


def lock(conn: Connection[TupleRow], pile_id: str) -> PileCare:
    """Hold a pile's row until the transaction ends; the pile is known to exist."""
    conn.execute(
        "INSERT INTO pile_care (pile_id) VALUES (%(pile_id)s) ON CONFLICT DO NOTHING", {"pile_id": pile_id}
    )
    with conn.cursor(row_factory=class_row(PileCare)) as cursor:
        care = cursor.execute(
            """
            SELECT pile_id, config_version, config_settings, config_reported_at, config_due_at, tariff_version,
                   tariff_reported_at, tariff_due_at
              FROM pile_care WHERE pile_id = %(pile_id)s FOR NO KEY UPDATE
            """,
            {"pile_id": pile_id},
        ).fetchone()
    assert care is not None, "the row was made just now"
    return care


def config_due(conn: Connection[TupleRow], *, now: datetime) -> PileCare | None:
    """Hold one pile whose configuration is to be looked at now; None without one."""
    with conn.cursor(row_factory=class_row(PileCare)) as cursor:
        return cursor.execute(
            """
            SELECT pile_id, config_version, config_settings, config_reported_at, config_due_at, tariff_version,
                   tariff_reported_at, tariff_due_at
              FROM pile_care WHERE config_due_at <= %(now)s
             ORDER BY config_due_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
            """,
            {"now": now},
        ).fetchone()


def tariff_due(conn: Connection[TupleRow], *, now: datetime) -> PileCare | None:
    """Hold one pile whose shown tariff is to be looked at now; None without one."""
    with conn.cursor(row_factory=class_row(PileCare)) as cursor:
        return cursor.execute(
            """
            SELECT pile_id, config_version, config_settings, config_reported_at, config_due_at, tariff_version,
                   tariff_reported_at, tariff_due_at
              FROM pile_care WHERE tariff_due_at <= %(now)s
             ORDER BY tariff_due_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
            """,
            {"now": now},
        ).fetchone()


def look_at_config(conn: Connection[TupleRow], pile_id: str, *, at: datetime | None) -> None:
    """Look at `at` whether a held pile's configuration has to be sent; None for not again."""
    conn.execute(
        "UPDATE pile_care SET config_due_at = %(at)s WHERE pile_id = %(pile_id)s",
        {"pile_id": pile_id, "at": at},
    )


def look_at_tariff(conn: Connection[TupleRow], pile_id: str, *, at: datetime | None) -> None:
    """Look at `at` whether a held pile's tariff has to be sent; None for not again."""
    conn.execute(
        "UPDATE pile_care SET tariff_due_at = %(at)s WHERE pile_id = %(pile_id)s",
        {"pile_id": pile_id, "at": at},
    )


def config_reported(
    conn: Connection[TupleRow],
    report: Report,
    *,
    version: int,
    settings: Mapping[str, int] | None,
    now: datetime,
) -> bool:
    """Note the configuration a held pile has in force; False if it has said something newer before."""
    changed = conn.execute(
        """
        UPDATE pile_care SET config_version = %(version)s, config_boot = %(boot)s, config_seq = %(seq)s,
               config_settings = coalesce(%(settings)s, config_settings), config_reported_at = %(now)s
         WHERE pile_id = %(pile_id)s AND (config_boot, config_seq) < (%(boot)s, %(seq)s)
        """,
        {
            "pile_id": report.pile_id,
            "version": version,
            "boot": report.boot,
            "seq": report.seq,
            "settings": None if settings is None else Jsonb(dict(settings)),
            "now": now,
        },
    ).rowcount
    return bool(changed)


def tariff_reported(conn: Connection[TupleRow], report: Report, *, version: int, now: datetime) -> bool:
    """Note the tariff a held pile shows; False if it has said something newer before."""
    changed = conn.execute(
        """
        UPDATE pile_care SET tariff_version = %(version)s, tariff_boot = %(boot)s, tariff_seq = %(seq)s,
               tariff_reported_at = %(now)s
         WHERE pile_id = %(pile_id)s AND (tariff_boot, tariff_seq) < (%(boot)s, %(seq)s)
        """,
        {
            "pile_id": report.pile_id,
            "version": version,
            "boot": report.boot,
            "seq": report.seq,
            "now": now,
        },
    ).rowcount
    return bool(changed)
