"""Episodes: alarms of one kind at one place that follow each other closely. People are told of the episode.

An episode begins with an alarm and takes in every further one raised within FLAP_GAP of the last one's end; it is over
when it has been quiet for that long. An alarm that flickers is thereby one thing that is counted, not a hundred.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from charging.alarm_kinds import RULES, AlarmKind, AlarmLevel

FLAP_GAP = timedelta(minutes=2)
"""An alarm raised sooner after the last was over belongs to the same episode."""
TOLD_AFTER = timedelta(minutes=2)
"""What has not lasted so long and has not tripped is nothing to bother people with."""
OLDEST_CLAIM = timedelta(days=30)
"""A pile's instant further in the past than this comes from a clock that is wrong."""


@dataclass(frozen=True)
class Episode:
    """One episode; instants on our clock. `quiet_at` is when its last alarm was over, None while one lasts."""

    episode_id: int
    pile_id: str
    site_id: str
    port_no: int | None
    kind: AlarmKind
    level: AlarmLevel
    began_at: datetime
    quiet_at: datetime | None
    flaps: int
    told_level: AlarmLevel | None
    over_at: datetime | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", AlarmKind(self.kind))
        object.__setattr__(self, "level", AlarmLevel(self.level))
        if self.told_level is not None:
            object.__setattr__(self, "told_level", AlarmLevel(self.told_level))

    def is_to_be_told(self, now: datetime) -> bool:
        """Whether people should hear of it now: it tripped, life is at stake, or it has lasted."""
        if self.told_level is not None:
            return self.level.rank > self.told_level.rank
        if self.level is AlarmLevel.TRIP or RULES[self.kind].life:
            return True
        return (self.quiet_at or now) - self.began_at >= TOLD_AFTER


def on_our_clock(claim: datetime, *, now: datetime) -> datetime:
    """When it was, by a pile's word where that can be true; else now."""
    return claim if now - OLDEST_CLAIM <= claim <= now else now


def get(conn: Connection[TupleRow], episode_id: int) -> Episode:
    """The episode with this id, held until the transaction ends."""
    with conn.cursor(row_factory=class_row(Episode)) as cursor:
        episode = cursor.execute(
            """
            SELECT episode_id, pile_id, site_id, port_no, kind, level, began_at, quiet_at, flaps, told_level, over_at
              FROM alarm_episode WHERE episode_id = %(episode_id)s FOR UPDATE
            """,
            {"episode_id": episode_id},
        ).fetchone()
    assert episode is not None, "an alarm names its episode"
    return episode


def join(
    conn: Connection[TupleRow],
    *,
    pile_id: str,
    site_id: str,
    port_no: int | None,
    kind: AlarmKind,
    level: AlarmLevel,
    raised_at: datetime,
    quiet_at: datetime | None,
) -> Episode:
    """The episode a new alarm belongs to, a new one where none runs; instants on our clock."""
    running = _running(conn, pile_id=pile_id, port_no=port_no, kind=kind)
    if running is not None and running.quiet_at is not None and raised_at - running.quiet_at > FLAP_GAP:
        end(conn, running.episode_id, now=running.quiet_at + FLAP_GAP)
        running = None
    if running is None:
        return _begin(
            conn,
            pile_id=pile_id,
            site_id=site_id,
            port_no=port_no,
            kind=kind,
            level=level,
            began_at=raised_at,
            quiet_at=quiet_at,
        )
    conn.execute(
        """
        UPDATE alarm_episode SET flaps = flaps + 1, began_at = least(began_at, %(raised_at)s),
               quiet_at = CASE WHEN %(lasts)s OR quiet_at IS NULL THEN NULL ELSE greatest(quiet_at, %(quiet_at)s) END
         WHERE episode_id = %(episode_id)s
        """,
        {
            "raised_at": raised_at,
            "lasts": quiet_at is None,
            "quiet_at": quiet_at,
            "episode_id": running.episode_id,
        },
    )
    return rise(conn, running.episode_id, level)


def rise(conn: Connection[TupleRow], episode_id: int, level: AlarmLevel) -> Episode:
    """Raise an episode to a level; one that is there stays."""
    conn.execute(
        "UPDATE alarm_episode SET level = %(level)s WHERE episode_id = %(episode_id)s AND level = 'warn'",
        {"level": level, "episode_id": episode_id},
    )
    return get(conn, episode_id)


def cleared(conn: Connection[TupleRow], episode_id: int, *, at: datetime) -> Episode:
    """One of its alarms is over at this instant of our clock; the episode is quiet where none lasts."""
    conn.execute(
        """
        UPDATE alarm_episode SET quiet_at = greatest(coalesce(quiet_at, began_at), %(at)s)
         WHERE episode_id = %(episode_id)s
           AND NOT EXISTS (SELECT FROM alarm WHERE alarm.episode_id = alarm_episode.episode_id
                              AND cleared_at IS NULL AND closed_at IS NULL)
        """,
        {"at": at, "episode_id": episode_id},
    )
    return get(conn, episode_id)


def told(conn: Connection[TupleRow], episode: Episode) -> None:
    """People have been told of it at its level."""
    conn.execute(
        "UPDATE alarm_episode SET told_level = %(level)s WHERE episode_id = %(episode_id)s",
        {"level": episode.level, "episode_id": episode.episode_id},
    )


def end(conn: Connection[TupleRow], episode_id: int, *, now: datetime) -> None:
    """An alarm raised after this begins a new episode."""
    conn.execute(
        """
        UPDATE alarm_episode SET over_at = %(now)s, quiet_at = coalesce(quiet_at, %(now)s)
         WHERE episode_id = %(episode_id)s AND over_at IS NULL
        """,
        {"now": now, "episode_id": episode_id},
    )


def next_lasting(conn: Connection[TupleRow], *, now: datetime) -> Episode | None:
    """One episode nobody was told of that has lasted long enough, None without one."""
    with conn.cursor(row_factory=class_row(Episode)) as cursor:
        return cursor.execute(
            """
            SELECT episode_id, pile_id, site_id, port_no, kind, level, began_at, quiet_at, flaps, told_level, over_at
              FROM alarm_episode
             WHERE over_at IS NULL AND told_level IS NULL
               AND coalesce(quiet_at, %(now)s) - began_at >= %(told_after)s
             ORDER BY episode_id LIMIT 1 FOR UPDATE SKIP LOCKED
            """,
            {"now": now, "told_after": TOLD_AFTER},
        ).fetchone()


def next_quiet(conn: Connection[TupleRow], *, now: datetime) -> Episode | None:
    """One episode that has been quiet long enough to be over, None without one."""
    with conn.cursor(row_factory=class_row(Episode)) as cursor:
        return cursor.execute(
            """
            SELECT episode_id, pile_id, site_id, port_no, kind, level, began_at, quiet_at, flaps, told_level, over_at
              FROM alarm_episode WHERE over_at IS NULL AND quiet_at < %(before)s
             ORDER BY episode_id LIMIT 1 FOR UPDATE SKIP LOCKED
            """,
            {"before": now - FLAP_GAP},
        ).fetchone()


def alarms_of(conn: Connection[TupleRow], episode_id: int) -> list[UUID]:
    """The alarms of an episode that are neither over nor closed."""
    rows = conn.execute(
        """
        SELECT alarm_id FROM alarm
         WHERE episode_id = %(episode_id)s AND cleared_at IS NULL AND closed_at IS NULL ORDER BY alarm_id
        """,
        {"episode_id": episode_id},
    ).fetchall()
    return [alarm_id for (alarm_id,) in rows]


def _running(
    conn: Connection[TupleRow], *, pile_id: str, port_no: int | None, kind: AlarmKind
) -> Episode | None:
    with conn.cursor(row_factory=class_row(Episode)) as cursor:
        return cursor.execute(
            """
            SELECT episode_id, pile_id, site_id, port_no, kind, level, began_at, quiet_at, flaps, told_level, over_at
              FROM alarm_episode
             WHERE pile_id = %(pile_id)s AND kind = %(kind)s AND coalesce(port_no, 0) = coalesce(%(port_no)s, 0)
               AND over_at IS NULL
               FOR UPDATE
            """,
            {"pile_id": pile_id, "kind": kind, "port_no": port_no},
        ).fetchone()


def _begin(
    conn: Connection[TupleRow],
    *,
    pile_id: str,
    site_id: str,
    port_no: int | None,
    kind: AlarmKind,
    level: AlarmLevel,
    began_at: datetime,
    quiet_at: datetime | None,
) -> Episode:
    row = conn.execute(
        """
        INSERT INTO alarm_episode (pile_id, site_id, port_no, kind, level, began_at, quiet_at)
        VALUES (%(pile_id)s, %(site_id)s, %(port_no)s, %(kind)s, %(level)s, %(began_at)s, %(quiet_at)s)
        RETURNING episode_id
        """,
        {
            "pile_id": pile_id,
            "site_id": site_id,
            "port_no": port_no,
            "kind": kind,
            "level": level,
            "began_at": began_at,
            "quiet_at": quiet_at,
        },
    ).fetchone()
    assert row is not None
    return get(conn, row[0])
