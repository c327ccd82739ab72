"""Sites: the compounds and car parks where piles stand."""

from dataclasses import dataclass
from datetime import datetime

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from charging.errors import SiteUnknown


@dataclass(frozen=True)
class Site:
    site_id: str
    name: str
    address: str
    created_at: datetime


def add(conn: Connection[TupleRow], *, site_id: str, name: str, address: str, now: datetime) -> Site:
    """Register a site, or change the name and address of the one with this id."""
    conn.execute(
        """
        INSERT INTO site (site_id, name, address, created_at)
        VALUES (%(site_id)s, %(name)s, %(address)s, %(now)s)
        ON CONFLICT (site_id) DO UPDATE SET name = EXCLUDED.name, address = EXCLUDED.address
        """,
        {"site_id": site_id, "name": name, "address": address, "now": now},
    )
    return get(conn, site_id)


def get(conn: Connection[TupleRow], site_id: str) -> Site:
    """The site with this id. Raises SiteUnknown."""
    with conn.cursor(row_factory=class_row(Site)) as cursor:
        site = cursor.execute(
            "SELECT site_id, name, address, created_at FROM site WHERE site_id = %(site_id)s",
            {"site_id": site_id},
        ).fetchone()
    if site is None:
        raise SiteUnknown(site_id)
    return site
