"""A site's load as its samples tell it, by hour and by local day: for charts and planning.

These reports add up readings; what anybody pays stands on settlements. No other module reads them, and nothing that
handles money imports this one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

LOCAL = ZoneInfo("Asia/Shanghai")
"""Days of reports begin at this zone's midnight."""
DAY = timedelta(days=1)


@dataclass(frozen=True)
class SiteLoad:
    """Load of a site from `begins_at` on: energy in 0.1 W s, seconds in which its ports charged, added up, and the most
    power of one port in 0.1 W."""

    begins_at: datetime
    energy_dws: int
    busy_s: int
    peak_dw: int

    @property
    def energy_dwh(self) -> int:
        """Energy in 0.1 Wh, rounded down."""
        return self.energy_dws // 3600


@dataclass(frozen=True)
class SiteDay:
    """A site's local day by the hours in which something charged, in order."""

    day: date
    hours: Sequence[SiteLoad]

    @property
    def whole(self) -> SiteLoad:
        """The hours together."""
        return SiteLoad(
            _midnight(self.day),
            energy_dws=sum(hour.energy_dws for hour in self.hours),
            busy_s=sum(hour.busy_s for hour in self.hours),
            peak_dw=max((hour.peak_dw for hour in self.hours), default=0),
        )

    @property
    def peak_hour_dw(self) -> int:
        """The highest mean power of an hour, all ports together, in 0.1 W; 0 where nothing charged."""
        return max((hour.energy_dws // 3600 for hour in self.hours), default=0)


def of_day(conn: Connection[TupleRow], *, site_id: str, day: date) -> SiteDay:
    """The load of one local day, its newest samples included."""
    # Told the piles, the server finds the samples no refresh has seen by the index that has their names in front.
    pile_ids = conn.execute(
        "SELECT pile_id FROM pile WHERE site_id = %(site_id)s", {"site_id": site_id}
    ).fetchall()
    with conn.cursor(row_factory=class_row(SiteLoad)) as cursor:
        hours = cursor.execute(
            """
            SELECT hour AS begins_at, sum(energy_dws)::bigint AS energy_dws, sum(busy_s)::bigint AS busy_s,
                   max(peak_dw) AS peak_dw
              FROM port_load_hour
             WHERE site_id = %(site_id)s AND pile_id = ANY(%(pile_ids)s)
               AND hour >= %(begins_at)s AND hour < %(ends_at)s
             GROUP BY hour ORDER BY hour
            """,
            {
                "site_id": site_id,
                "pile_ids": [pile_id for (pile_id,) in pile_ids],
                "begins_at": _midnight(day),
                "ends_at": _midnight(day) + DAY,
            },
        ).fetchall()
    return SiteDay(day, hours)


def of_days(
    conn: Connection[TupleRow], *, site_id: str, first_day: date, last_day: date, now: datetime
) -> list[SiteLoad]:
    """The load of each local day from the first to the last on which something charged, in order."""
    today = now.astimezone(LOCAL).date()
    with conn.cursor(row_factory=class_row(SiteLoad)) as cursor:
        days = cursor.execute(
            """
            SELECT day AS begins_at, energy_dws, busy_s, peak_dw FROM site_load_day
             WHERE site_id = %(site_id)s AND day >= %(begins_at)s AND day <= %(ends_at)s AND day <> %(today)s
             ORDER BY day
            """,
            {
                "site_id": site_id,
                "begins_at": _midnight(first_day),
                "ends_at": _midnight(last_day),
                "today": _midnight(today),
            },
        ).fetchall()
    if first_day <= today <= last_day:
        whole = of_day(conn, site_id=site_id, day=today).whole
        if whole.busy_s:
            days = sorted([*days, whole], key=lambda load: load.begins_at)
    return days


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), LOCAL)
