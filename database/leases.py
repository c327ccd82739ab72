"""Leases on gateway lanes: one owner at a time, by the database's clock, so that machines' clocks do not matter."""

from collections.abc import Sequence

from database.pool import Connection


def take(conn: Connection, lane: int, owner: str, ttl_s: float) -> bool:
    """Take the lane for `ttl_s` seconds if it is free, lapsed or already ours; say whether we hold it."""
    row = conn.execute(
        """
        INSERT INTO lane_lease (lane, owner, expires_at)
        VALUES (%(lane)s, %(owner)s, clock_timestamp() + make_interval(secs => %(ttl_s)s))
        ON CONFLICT (lane) DO UPDATE SET owner = EXCLUDED.owner, expires_at = EXCLUDED.expires_at
         WHERE lane_lease.owner = EXCLUDED.owner OR lane_lease.expires_at <= clock_timestamp()
        RETURNING lane
        """,
        {"lane": lane, "owner": owner, "ttl_s": ttl_s},
    ).fetchone()
    return row is not None


def renew(conn: Connection, lane: int, owner: str, ttl_s: float) -> bool:
    """Hold on for `ttl_s` seconds more; False when the lease lapsed or another took it: stop working at once."""
    row = conn.execute(
        """
        UPDATE lane_lease SET expires_at = clock_timestamp() + make_interval(secs => %(ttl_s)s)
         WHERE lane = %(lane)s AND owner = %(owner)s AND expires_at > clock_timestamp()
        RETURNING lane
        """,
        {"lane": lane, "owner": owner, "ttl_s": ttl_s},
    ).fetchone()
    return row is not None


def release(conn: Connection, lane: int, owner: str) -> bool:
    """Give the lane back at once; False when it was not ours any more."""
    row = conn.execute(
        "DELETE FROM lane_lease WHERE lane = %(lane)s AND owner = %(owner)s RETURNING lane",
        {"lane": lane, "owner": owner},
    ).fetchone()
    return row is not None


def held(conn: Connection, lanes: Sequence[int]) -> list[int]:
    """Those of the lanes whose lease somebody holds now, in order."""
    rows = conn.execute(
        """
        SELECT lane FROM lane_lease
         WHERE lane = ANY(%(lanes)s) AND expires_at > clock_timestamp() ORDER BY lane
        """,
        {"lanes": list(lanes)},
    ).fetchall()
    return [lane for (lane,) in rows]
