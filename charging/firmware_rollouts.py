"""Rollouts: a release reaches the piles of its model in stages, and stops by itself when too many of them fail.

This module keeps rollouts; firmware_steps.py moves them on, firmware_reports.py takes what piles say. Which pile
comes when is decided by a hash of release and pile, so that whoever computes it finds the same.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import LiteralString
from uuid import UUID, uuid4

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from charging import firmware_releases, sites
from charging.errors import RolloutOver, RolloutRefused, RolloutUnknown

MOST_STAGES = 20


class RolloutState(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    ABORTED = "aborted"
    DONE = "done"


class RolloutPileState(StrEnum):
    """`left_out` is a pile that was never told: barred, up to date by itself, or of a rollout that ended first."""

    WAITING = "waiting"
    CHOSEN = "chosen"
    TOLD = "told"
    DONE = "done"
    FAILED = "failed"
    LEFT_OUT = "left_out"


@dataclass(frozen=True, kw_only=True)
class RolloutPlan:
    """What an operator asks for; `pile_ids` None means every pile of the model (at the site, if one is named).

    Stages are the percentages of all piles that are to have been told by then. A pile that says nothing for
    `patience` has failed; `stop_at_failures` failed piles, or `stop_at_share_bps` of those chosen, stop everything.
    """

    release_id: int
    site_id: str | None = None
    pile_ids: Sequence[str] | None = None
    stages_percent: Sequence[int] = (5, 25, 100)
    window_from: datetime
    window_to: datetime
    force: bool = False
    patience: timedelta = timedelta(hours=1)
    stop_at_failures: int = 3
    stop_at_share_bps: int = 2000


@dataclass(frozen=True)
class Rollout:
    rollout_id: UUID
    release_id: int
    model: str
    version: str
    site_id: str | None
    stages_percent: Sequence[int]
    window_from: datetime
    window_to: datetime
    force: bool
    patience_s: int
    stop_at_failures: int
    stop_at_share_bps: int
    image_url: str
    state: RolloutState
    stage: int
    reason: str | None
    created_at: datetime
    ended_at: datetime | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", RolloutState(self.state))


@dataclass(frozen=True)
class RolloutPile:
    """One pile's part in a rollout; `stage` is None until it is chosen."""

    rollout_id: UUID
    pile_id: str
    state: RolloutPileState
    stage: int | None
    command_id: UUID | None
    step: str | None
    percent: int | None
    error: str | None
    running: str | None
    told_at: datetime | None
    heard_at: datetime | None
    deadline_at: datetime | None
    ended_at: datetime | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", RolloutPileState(self.state))


def begin(conn: Connection[TupleRow], plan: RolloutPlan, *, image_url: str, now: datetime) -> Rollout:
    """Begin a rollout; the worker chooses and tells piles. Raises ReleaseUnknown, SiteUnknown, RolloutRefused."""
    release = firmware_releases.get(conn, plan.release_id)
    if plan.site_id is not None:
        sites.get(conn, plan.site_id)
    _check(plan, now=now)
    rollout_id = uuid4()
    conn.execute(
        """
        INSERT INTO firmware_rollout (rollout_id, release_id, site_id, stages_percent, window_from, window_to, force,
                                      patience_s, stop_at_failures, stop_at_share_bps, image_url, state, created_at)
        VALUES (%(rollout_id)s, %(release_id)s, %(site_id)s, %(stages_percent)s, %(window_from)s, %(window_to)s,
                %(force)s, %(patience_s)s, %(stop_at_failures)s, %(stop_at_share_bps)s, %(image_url)s, 'running',
                %(now)s)
        """,
        {
            "rollout_id": rollout_id,
            "release_id": release.release_id,
            "site_id": plan.site_id,
            "stages_percent": list(plan.stages_percent),
            "window_from": plan.window_from,
            "window_to": plan.window_to,
            "force": plan.force,
            "patience_s": round(plan.patience.total_seconds()),
            "stop_at_failures": plan.stop_at_failures,
            "stop_at_share_bps": plan.stop_at_share_bps,
            "image_url": image_url,
            "now": now,
        },
    )
    pile_ids = _fitting(conn, plan, model=release.model, version=release.version)
    if not pile_ids:
        raise RolloutRefused("pile_ids", "no pile of this model here needs this version")
    with conn.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO firmware_rollout_pile (rollout_id, pile_id, place, state)
            VALUES (%(rollout_id)s, %(pile_id)s, %(place)s, 'waiting')
            """,
            [
                {"rollout_id": rollout_id, "pile_id": pile_id, "place": place_of(release.sha256, pile_id)}
                for pile_id in pile_ids
            ],
        )
    return get(conn, rollout_id)


def place_of(sha256: bytes, pile_id: str) -> bytes:
    """Where a pile stands in the order of a release: by this hash, smallest first."""
    return hashlib.sha256(b"pileway rollout:" + sha256 + pile_id.encode()).digest()


def get(conn: Connection[TupleRow], rollout_id: UUID) -> Rollout:
    """One rollout. Raises RolloutUnknown."""
    return _select(conn, rollout_id, _SELECT)


def lock(conn: Connection[TupleRow], rollout_id: UUID) -> Rollout:
    """Hold a rollout until the transaction ends. Raises RolloutUnknown."""
    return _select(conn, rollout_id, _SELECT_FOR_UPDATE)


def pause(conn: Connection[TupleRow], rollout_id: UUID, *, now: datetime) -> Rollout:
    """Tell no further pile until resumed; those told go on. Raises RolloutUnknown, RolloutOver."""
    rollout = lock(conn, rollout_id)
    if rollout.state is not RolloutState.PAUSED:
        _require(rollout, RolloutState.RUNNING)
        move(conn, rollout, RolloutState.PAUSED, reason="paused", now=now)
    return get(conn, rollout_id)


def resume(conn: Connection[TupleRow], rollout_id: UUID, *, now: datetime) -> Rollout:
    """Go on where it was paused. Raises RolloutUnknown, RolloutOver."""
    rollout = lock(conn, rollout_id)
    if rollout.state is not RolloutState.RUNNING:
        _require(rollout, RolloutState.PAUSED)
        move(conn, rollout, RolloutState.RUNNING, reason=None, now=now)
    return get(conn, rollout_id)


def abort(conn: Connection[TupleRow], rollout_id: UUID, *, now: datetime) -> Rollout:
    """End it for good: commands no pile has answered are withdrawn. Raises RolloutUnknown, RolloutOver."""
    rollout = lock(conn, rollout_id)
    if rollout.state is not RolloutState.ABORTED:
        _require(rollout, RolloutState.RUNNING, RolloutState.PAUSED)
        end(conn, rollout, RolloutState.ABORTED, reason="aborted", now=now)
    return get(conn, rollout_id)


def end(
    conn: Connection[TupleRow], rollout: Rollout, state: RolloutState, *, reason: str | None, now: datetime
) -> None:
    """End a locked rollout. A pile that has taken its command goes on, and what it says is still written down.

    A command no pile has answered is withdrawn, also that of a pile given up: back again, it is not to install this.
    """
    move(conn, rollout, state, reason=reason, now=now)
    conn.execute(
        """
        WITH withdrawn AS (
            UPDATE command SET state = 'expired'
              FROM firmware_rollout_pile AS part
             WHERE part.rollout_id = %(rollout_id)s AND part.state IN ('told', 'failed')
               AND command.command_id = part.command_id AND command.state IN ('pending', 'sent')
            RETURNING command.command_id, command.send_count)
        UPDATE firmware_rollout_pile SET state = 'left_out', ended_at = %(now)s
         WHERE rollout_id = %(rollout_id)s
           AND (state IN ('waiting', 'chosen')
                OR state = 'told' AND command_id IN (SELECT command_id FROM withdrawn WHERE send_count = 0))
        """,
        {"rollout_id": rollout.rollout_id, "now": now},
    )


def move(
    conn: Connection[TupleRow], rollout: Rollout, state: RolloutState, *, reason: str | None, now: datetime
) -> None:
    """Give a locked rollout a state."""
    over = state in (RolloutState.STOPPED, RolloutState.ABORTED, RolloutState.DONE)
    conn.execute(
        """
        UPDATE firmware_rollout
           SET state = %(state)s, reason = %(reason)s, ended_at = CASE WHEN %(over)s THEN %(now)s ELSE ended_at END
         WHERE rollout_id = %(rollout_id)s
        """,
        {"state": state, "reason": reason, "over": over, "now": now, "rollout_id": rollout.rollout_id},
    )


def page(
    conn: Connection[TupleRow],
    *,
    limit: int,
    state: RolloutState | None = None,
    after: tuple[datetime, UUID] | None = None,
) -> list[Rollout]:
    """Rollouts newest first, at most `limit`, those older than `after` if given."""
    with conn.cursor(row_factory=class_row(Rollout)) as cursor:
        return cursor.execute(
            """
            SELECT rollout_id, release_id, model, version, site_id, stages_percent, window_from, window_to, force,
                   patience_s, stop_at_failures, stop_at_share_bps, image_url, state, stage, reason, created_at,
                   ended_at
              FROM firmware_rollout JOIN firmware_release USING (release_id)
             WHERE (%(state)s::text IS NULL OR state = %(state)s)
               AND (%(at)s::timestamptz IS NULL OR (created_at, rollout_id) < (%(at)s, %(id)s::uuid))
             ORDER BY created_at DESC, rollout_id DESC LIMIT %(limit)s
            """,
            {
                "state": state,
                "at": after[0] if after else None,
                "id": after[1] if after else None,
                "limit": limit,
            },
        ).fetchall()


def piles_of(
    conn: Connection[TupleRow],
    rollout_id: UUID,
    *,
    limit: int,
    state: RolloutPileState | None = None,
    after: str | None = None,
) -> list[RolloutPile]:
    """The piles of a rollout by id, at most `limit`, those after `after` if given."""
    with conn.cursor(row_factory=class_row(RolloutPile)) as cursor:
        return cursor.execute(
            """
            SELECT rollout_id, pile_id, state, stage, command_id, step, percent, error, running, told_at, heard_at,
                   deadline_at, ended_at
              FROM firmware_rollout_pile
             WHERE rollout_id = %(rollout_id)s AND (%(state)s::text IS NULL OR state = %(state)s)
               AND (%(after)s::text IS NULL OR pile_id > %(after)s)
             ORDER BY pile_id LIMIT %(limit)s
            """,
            {"rollout_id": rollout_id, "state": state, "after": after, "limit": limit},
        ).fetchall()


def counts(
    conn: Connection[TupleRow], rollout_ids: Sequence[UUID]
) -> Mapping[UUID, Mapping[tuple[int | None, RolloutPileState], int]]:
    """How many piles of each rollout are in each state, by stage."""
    found: dict[UUID, dict[tuple[int | None, RolloutPileState], int]] = {each: {} for each in rollout_ids}
    for rollout_id, stage, state, piles in conn.execute(
        """
        SELECT rollout_id, stage, state, count(*) FROM firmware_rollout_pile
         WHERE rollout_id = ANY(%(rollout_ids)s) GROUP BY 1, 2, 3
        """,
        {"rollout_ids": list(rollout_ids)},
    ):
        found[rollout_id][stage, RolloutPileState(state)] = piles
    return found


def _check(plan: RolloutPlan, *, now: datetime) -> None:
    stages = plan.stages_percent
    growing = all(earlier < later for earlier, later in pairwise(stages))
    if not (1 <= len(stages) <= MOST_STAGES and growing and stages[0] >= 1 and stages[-1] == 100):
        raise RolloutRefused("stages_percent", "stages must grow from at least 1 to 100 percent")
    if not (plan.window_from < plan.window_to and now < plan.window_to):
        raise RolloutRefused("window_to", "the window must end after it begins, and in the future")


def _fitting(conn: Connection[TupleRow], plan: RolloutPlan, *, model: str, version: str) -> list[str]:
    """The piles a rollout is for: in service, of the model, not on that version, and in no other rollout's hands."""
    rows = conn.execute(
        """
        SELECT pile_id FROM pile
         WHERE model = %(model)s AND state = 'active' AND firmware IS DISTINCT FROM %(version)s
           AND (%(site_id)s::text IS NULL OR site_id = %(site_id)s)
           AND (%(pile_ids)s::text[] IS NULL OR pile_id = ANY(%(pile_ids)s))
           AND NOT EXISTS (SELECT FROM firmware_rollout_pile AS part JOIN firmware_rollout AS other USING (rollout_id)
                            WHERE part.pile_id = pile.pile_id AND other.state IN ('running', 'paused')
                              AND part.state IN ('waiting', 'chosen', 'told'))
         ORDER BY pile_id
        """,
        {
            "model": model,
            "version": version,
            "site_id": plan.site_id,
            "pile_ids": None if plan.pile_ids is None else list(plan.pile_ids),
        },
    ).fetchall()
    return [pile_id for (pile_id,) in rows]


def _require(rollout: Rollout, *states: RolloutState) -> None:
    if rollout.state not in states:
        raise RolloutOver(rollout.rollout_id, rollout.state)


_SELECT: LiteralString = """
    SELECT rollout_id, release_id, model, version, site_id, stages_percent, window_from, window_to, force, patience_s,
           stop_at_failures, stop_at_share_bps, image_url, state, stage, reason, created_at, ended_at
      FROM firmware_rollout JOIN firmware_release USING (release_id) WHERE rollout_id = %(rollout_id)s
    """
_SELECT_FOR_UPDATE: LiteralString = _SELECT + " FOR NO KEY UPDATE OF firmware_rollout"


def _select(conn: Connection[TupleRow], rollout_id: UUID, query: LiteralString) -> Rollout:
    with conn.cursor(row_factory=class_row(Rollout)) as cursor:
        rollout = cursor.execute(query, {"rollout_id": rollout_id}).fetchone()
    if rollout is None:
        raise RolloutUnknown(rollout_id)
    return rollout
