"""How the sites are doing at this moment, in one look."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from charging import session_curves
from charging.session_states import ON_PORT

POWER_LIFE = timedelta(hours=3)
"""The longest a pile may wait between samples is an hour: older ones say nothing of the power now."""


@dataclass(frozen=True)
class SiteNow:
    """One site: power of its ports in 0.1 W by their newest samples, energy of its settled sessions in 0.1 Wh."""

    site_id: str
    name: str
    address: str
    created_at: datetime
    piles: int
    piles_online: int
    ports: int
    ports_taken: int
    power_dw: int
    sessions_settled: int
    energy_dwh: int


def sites_now(conn: Connection[TupleRow], *, now: datetime) -> list[SiteNow]:
    """Every site as it is now, by id."""
    with conn.cursor(row_factory=class_row(SiteNow)) as cursor:
        return cursor.execute(
            """
            WITH on_port AS (
                SELECT site_id, count(*) AS ports_taken, coalesce(sum(newest.power_dw), 0) AS power_dw
                  FROM charging_session
                  LEFT JOIN LATERAL (
                       SELECT power_dw
                         FROM (SELECT session_id, power_dw FROM meter_sample
                                WHERE meter_sample.pile_id = charging_session.pile_id AND sampled_at > %(since)s
                                  AND charging_session.started_at IS NOT NULL
                                ORDER BY sampled_at DESC LIMIT %(newest)s) AS told
                        WHERE told.session_id = charging_session.session_id LIMIT 1) AS newest ON true
                 WHERE state = ANY(%(on_port)s) GROUP BY site_id),
            settled AS (
                SELECT site_id, count(*) AS sessions_settled, coalesce(sum(energy_dwh), 0) AS energy_dwh
                  FROM charging_session WHERE settled_at IS NOT NULL GROUP BY site_id),
            standing AS (
                SELECT site_id, count(*) AS piles, count(*) FILTER (WHERE online) AS piles_online,
                       sum(port_count) AS ports
                  FROM pile GROUP BY site_id)
            SELECT site_id, site.name, site.address, site.created_at,
                   coalesce(piles, 0) AS piles, coalesce(piles_online, 0) AS piles_online,
                   coalesce(ports, 0) AS ports, coalesce(ports_taken, 0) AS ports_taken,
                   coalesce(power_dw, 0)::bigint AS power_dw, coalesce(sessions_settled, 0) AS sessions_settled,
                   coalesce(settled.energy_dwh, 0)::bigint AS energy_dwh
              FROM site LEFT JOIN standing USING (site_id) LEFT JOIN on_port USING (site_id)
                   LEFT JOIN settled USING (site_id)
             ORDER BY site_id
            """,
            {"on_port": sorted(ON_PORT), "since": now - POWER_LIFE, "newest": session_curves.NEWEST_SAMPLES},
        ).fetchall()
