"""How cautious the platform is at a site: what an operator may set, within bounds, and what holds otherwise."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from charging import sites

LEAST_FAULT_S, MOST_FAULT_S = 60, 120
LEAST_FAILED_STARTS, MOST_FAILED_STARTS = 2, 20
LEAST_WITHIN_S, MOST_WITHIN_S = 3600, 2_592_000


@dataclass(frozen=True, kw_only=True)
class SafetyRules:
    """The rules of a site.

    `fire_locks_site`: smoke or fire at one pile refuses starts at all of them. `fault_lasts_s`: how long a port must
    report a fault before anybody is told. `failed_starts` in a row within `failed_within_s` disable a port.
    """

    fire_locks_site: bool = False
    fault_lasts_s: int = 90
    failed_starts: int = 3
    failed_within_s: int = 86_400

    @property
    def failed_within(self) -> timedelta:
        """How long a failed start is remembered."""
        return timedelta(seconds=self.failed_within_s)


USUAL_RULES = SafetyRules()


def of_site(conn: Connection[TupleRow], site_id: str) -> SafetyRules:
    """The rules of a site, the usual ones where nobody set others."""
    with conn.cursor(row_factory=class_row(SafetyRules)) as cursor:
        rules = cursor.execute(
            """
            SELECT fire_locks_site, fault_lasts_s, failed_starts, failed_within_s
              FROM site_safety WHERE site_id = %(site_id)s
            """,
            {"site_id": site_id},
        ).fetchone()
    return rules or USUAL_RULES


def put(conn: Connection[TupleRow], *, site_id: str, rules: SafetyRules, now: datetime) -> None:
    """Set the rules of a site. Raises SiteUnknown."""
    sites.get(conn, site_id)
    conn.execute(
        """
        INSERT INTO site_safety (site_id, fire_locks_site, fault_lasts_s, failed_starts, failed_within_s, changed_at)
        VALUES (%(site_id)s, %(fire_locks_site)s, %(fault_lasts_s)s, %(failed_starts)s, %(failed_within_s)s, %(now)s)
        ON CONFLICT (site_id) DO UPDATE
           SET fire_locks_site = excluded.fire_locks_site, fault_lasts_s = excluded.fault_lasts_s,
               failed_starts = excluded.failed_starts, failed_within_s = excluded.failed_within_s,
               changed_at = excluded.changed_at
        """,
        {
            "site_id": site_id,
            "fire_locks_site": rules.fire_locks_site,
            "fault_lasts_s": rules.fault_lasts_s,
            "failed_starts": rules.failed_starts,
            "failed_within_s": rules.failed_within_s,
            "now": now,
        },
    )
