"""Leases on gateway lanes: one owner at a time, by the database's clock, so that machines' clocks do not matter.

A lease is held until it lapses, or until the backend of its holder's connection is gone: a process that is killed
leaves at once, whatever time it had asked for. A holder whose connection broke has `PATIENCE_S` to renew over another
before the lease counts as orphaned, so that a restarted database does not shuffle the lanes. Behind a pooler of
connections the backend outlives the holder, or changes under it, and only the lapse counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from database.pool import Connection

PATIENCE_S = 1.5
"""A holder's backend must have been gone for so long; more than a round of the holder's own renewals."""


@dataclass(frozen=True)
class Lease:
    """A lane taken; `unserved_s` is for how many seconds nobody had renewed it, 0 for a lane that is new."""

    unserved_s: float


def take(conn: Connection, lane: int, owner: str, ttl_s: float) -> Lease | None:
    """Take the lane for `ttl_s` seconds if it is free, lapsed, orphaned or already ours; None while another holds it.

    `conn` stays open as long as the lane is held: its end gives the lane away.
    """
    row = conn.execute(
        """
        SELECT owner = %(owner)s OR expires_at <= clock_timestamp()
               OR coalesce(orphaned_at <= clock_timestamp() - make_interval(secs => %(patience_s)s), false),
               holder_pid IS NOT NULL AND orphaned_at IS NULL AND NOT EXISTS (
                   SELECT 1 FROM pg_stat_activity AS holder
                    WHERE holder.pid = holder_pid
                      AND (holder.backend_start IS NULL OR holder.backend_start = holder_started_at))
          FROM lane_lease WHERE lane = %(lane)s
        """,
        {"lane": lane, "owner": owner, "patience_s": PATIENCE_S},
    ).fetchone()
    is_free, is_newly_orphaned = row if row is not None else (True, False)
    if is_free:
        return _take_free(conn, lane=lane, owner=owner, ttl_s=ttl_s)
    if is_newly_orphaned:
        conn.execute(
            """
            UPDATE lane_lease SET orphaned_at = clock_timestamp()
             WHERE lane = %(lane)s AND orphaned_at IS NULL
               AND NOT EXISTS (SELECT 1 FROM pg_stat_activity AS holder
                                WHERE holder.pid = holder_pid AND holder.backend_start = holder_started_at)
            """,
            {"lane": lane},
        )
    return None


def renew(conn: Connection, lane: int, owner: str, ttl_s: float) -> bool:
    """Hold on for `ttl_s` seconds more; False when the lease lapsed or another took it: stop working at once."""
    row = conn.execute(
        """
        UPDATE lane_lease
           SET expires_at = clock_timestamp() + make_interval(secs => %(ttl_s)s), renewed_at = clock_timestamp(),
               holder_pid = me.pid, holder_started_at = me.backend_start, orphaned_at = NULL
          FROM pg_stat_activity AS me
         WHERE me.pid = pg_backend_pid() AND lane = %(lane)s AND owner = %(owner)s AND expires_at > clock_timestamp()
        RETURNING lane
        """,
        {"lane": lane, "owner": owner, "ttl_s": ttl_s},
    ).fetchone()
    return row is not None


def release(conn: Connection, lane: int, owner: str) -> bool:
    """Give the lane back at once; False when it was not ours any more."""
    row = conn.execute(
        """
        UPDATE lane_lease
           SET expires_at = clock_timestamp(), renewed_at = clock_timestamp(), holder_pid = NULL, orphaned_at = NULL
         WHERE lane = %(lane)s AND owner = %(owner)s AND expires_at > clock_timestamp()
        RETURNING lane
        """,
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


def owner_of(conn: Connection, lane: int) -> str | None:
    """Who holds a lane now; None while nobody does."""
    row = conn.execute(
        "SELECT owner FROM lane_lease WHERE lane = %(lane)s AND expires_at > clock_timestamp()",
        {"lane": lane},
    ).fetchone()
    return None if row is None else str(row[0])


def _take_free(conn: Connection, *, lane: int, owner: str, ttl_s: float) -> Lease | None:
    row = conn.execute(
        """
        WITH before AS (SELECT coalesce(renewed_at, expires_at) AS renewed_at FROM lane_lease WHERE lane = %(lane)s)
        INSERT INTO lane_lease (lane, owner, expires_at, renewed_at, holder_pid, holder_started_at)
        SELECT %(lane)s::smallint, %(owner)s::text, clock_timestamp() + make_interval(secs => %(ttl_s)s),
               clock_timestamp(), me.pid, me.backend_start
          FROM pg_stat_activity AS me WHERE me.pid = pg_backend_pid()
        ON CONFLICT (lane) DO UPDATE
           SET owner = EXCLUDED.owner, expires_at = EXCLUDED.expires_at, renewed_at = EXCLUDED.renewed_at,
               holder_pid = EXCLUDED.holder_pid, holder_started_at = EXCLUDED.holder_started_at, orphaned_at = NULL
         WHERE lane_lease.owner = EXCLUDED.owner OR lane_lease.expires_at <= clock_timestamp()
               OR lane_lease.orphaned_at <= clock_timestamp() - make_interval(secs => %(patience_s)s)
        RETURNING coalesce((SELECT extract(epoch FROM clock_timestamp() - before.renewed_at) FROM before), 0)
        """,
        {"lane": lane, "owner": owner, "ttl_s": ttl_s, "patience_s": PATIENCE_S},
    ).fetchone()
    return None if row is None else Lease(unserved_s=float(row[0]))
