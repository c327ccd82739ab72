"""What moves rollouts on: choosing and telling piles, giving up silent ones, stopping for failures, the next stage.

Each step handles one case and says whether it did, as those of timers.py do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection
from psycopg.rows import TupleRow

from charging import commands, events, firmware_releases, firmware_rollouts
from charging.commands import CommandKind
from charging.events import EventKind
from charging.firmware_reports import SILENT
from charging.firmware_rollouts import Rollout, RolloutState
from charging.session_states import ON_PORT
from charging.waits import Waits

TOLD_AT_ONCE = 50
"""Piles told in one transaction."""
ROLLOUTS_LOOKED_AT = 20


@dataclass(frozen=True)
class _Standing:
    """How many piles of a rollout are where; `chosen` are all that any stage took."""

    all_piles: int
    chosen: int
    to_tell: int
    told: int
    failed: int


def advance_rollout(conn: Connection[TupleRow], waits: Waits, now: datetime) -> bool:
    """Move one running rollout on, if there is one that can be moved."""
    del waits
    rows = conn.execute(
        """
        SELECT rollout_id FROM firmware_rollout WHERE state = 'running'
         ORDER BY created_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
        """,
        {"limit": ROLLOUTS_LOOKED_AT},
    ).fetchall()
    return any(_advance(conn, firmware_rollouts.get(conn, rollout_id), now=now) for (rollout_id,) in rows)


def fail_silent_pile(conn: Connection[TupleRow], waits: Waits, now: datetime) -> bool:
    """Give up one pile that has said nothing of its update for too long, whatever became of its rollout.

    Its command is withdrawn if it never answered it.
    """
    del waits
    row = conn.execute(
        """
        WITH silent AS (
            SELECT rollout_id, pile_id FROM firmware_rollout_pile
             WHERE state = 'told' AND deadline_at < %(now)s
             ORDER BY deadline_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED),
        failed AS (
            UPDATE firmware_rollout_pile AS part SET state = 'failed', error = %(silent)s, ended_at = %(now)s
              FROM silent WHERE part.rollout_id = silent.rollout_id AND part.pile_id = silent.pile_id
            RETURNING part.pile_id, part.rollout_id, part.command_id),
        withdrawn AS (
            UPDATE command SET state = 'expired'
              FROM failed WHERE command.command_id = failed.command_id AND command.state IN ('pending', 'sent'))
        SELECT pile_id, rollout_id FROM failed
        """,
        {"now": now, "silent": SILENT},
    ).fetchone()
    if row is None:
        return False
    events.record(
        conn,
        pile_id=row[0],
        kind=EventKind.FIRMWARE_FAILED,
        now=now,
        detail={"rollout_id": str(row[1]), "error": SILENT},
    )
    return True


def _advance(conn: Connection[TupleRow], rollout: Rollout, *, now: datetime) -> bool:
    """One move: stop it, tell some piles, or begin the next stage. False while piles are at it."""
    standing = _standing(conn, rollout)
    reason = _reason_to_stop(rollout, standing, now=now)
    if reason is not None:
        firmware_rollouts.end(conn, rollout, RolloutState.STOPPED, reason=reason, now=now)
        return True
    if standing.to_tell:
        _tell_some(conn, rollout, now=now)
        return True
    if standing.told:
        return False
    if rollout.stage == len(rollout.stages_percent):
        firmware_rollouts.end(conn, rollout, RolloutState.DONE, reason=None, now=now)
    else:
        _begin_stage(conn, rollout, standing)
    return True


def _standing(conn: Connection[TupleRow], rollout: Rollout) -> _Standing:
    row = conn.execute(
        """
        SELECT count(*) FILTER (WHERE state <> 'left_out'),
               count(*) FILTER (WHERE stage IS NOT NULL AND state <> 'left_out'),
               count(*) FILTER (WHERE state = 'chosen'), count(*) FILTER (WHERE state = 'told'),
               count(*) FILTER (WHERE state = 'failed')
          FROM firmware_rollout_pile WHERE rollout_id = %(rollout_id)s
        """,
        {"rollout_id": rollout.rollout_id},
    ).fetchone()
    assert row is not None, "an aggregate has a row"
    return _Standing(*row)


def _reason_to_stop(rollout: Rollout, standing: _Standing, *, now: datetime) -> str | None:
    failed, chosen = standing.failed, standing.chosen
    if failed >= rollout.stop_at_failures:
        return f"{failed} piles failed"
    if failed and failed * 10_000 >= rollout.stop_at_share_bps * chosen:
        return f"{failed} of {chosen} piles failed"
    if now >= rollout.window_to and (standing.to_tell or chosen < standing.all_piles):
        return "the window is over"
    return None


def _begin_stage(conn: Connection[TupleRow], rollout: Rollout, standing: _Standing) -> None:
    """Choose piles up to the stage's share, in their order: those where nobody charges first, then those online.

    A pile that is barred is passed over, and left out in the end.
    """
    share = rollout.stages_percent[rollout.stage]
    wanted = -(-standing.all_piles * share // 100) - standing.chosen
    conn.execute(
        """
        WITH fit AS (
            SELECT part.pile_id FROM firmware_rollout_pile AS part JOIN pile USING (pile_id)
             WHERE part.rollout_id = %(rollout_id)s AND part.state = 'waiting' AND pile.state = 'active'
             ORDER BY EXISTS (SELECT FROM charging_session
                               WHERE charging_session.pile_id = pile.pile_id
                                 AND charging_session.state = ANY(%(on_port)s)),
                      NOT pile.online, part.place
             LIMIT %(wanted)s)
        UPDATE firmware_rollout_pile SET state = 'chosen', stage = %(stage)s
          FROM fit WHERE firmware_rollout_pile.rollout_id = %(rollout_id)s
                     AND firmware_rollout_pile.pile_id = fit.pile_id
        """,
        {
            "rollout_id": rollout.rollout_id,
            "on_port": sorted(ON_PORT),
            "wanted": max(0, wanted),
            "stage": rollout.stage + 1,
        },
    )
    conn.execute(
        "UPDATE firmware_rollout SET stage = %(stage)s WHERE rollout_id = %(rollout_id)s",
        {"stage": rollout.stage + 1, "rollout_id": rollout.rollout_id},
    )


def _tell_some(conn: Connection[TupleRow], rollout: Rollout, *, now: datetime) -> None:
    body = _body(conn, rollout)
    for pile_id, barred, firmware in _to_tell(conn, rollout):
        if barred or firmware == rollout.version:
            _settle_untold(conn, rollout, pile_id, barred=barred, now=now)
            continue
        command_id = commands.enqueue(
            conn,
            pile_id=pile_id,
            kind=CommandKind.FIRMWARE,
            body=body,
            session_id=None,
            expires_at=rollout.window_to,
            now=now,
        )
        conn.execute(
            """
            UPDATE firmware_rollout_pile
               SET state = 'told', command_id = %(command_id)s, told_at = %(now)s, deadline_at = %(deadline_at)s
             WHERE rollout_id = %(rollout_id)s AND pile_id = %(pile_id)s
            """,
            {
                "command_id": command_id,
                "now": now,
                "deadline_at": now + timedelta(seconds=rollout.patience_s),
                "rollout_id": rollout.rollout_id,
                "pile_id": pile_id,
            },
        )


def _to_tell(conn: Connection[TupleRow], rollout: Rollout) -> Sequence[tuple[str, bool, str | None]]:
    return conn.execute(
        """
        SELECT part.pile_id, pile.state <> 'active', pile.firmware
          FROM firmware_rollout_pile AS part JOIN pile USING (pile_id)
         WHERE part.rollout_id = %(rollout_id)s AND part.state = 'chosen'
         ORDER BY part.place LIMIT %(limit)s FOR NO KEY UPDATE OF part
        """,
        {"rollout_id": rollout.rollout_id, "limit": TOLD_AT_ONCE},
    ).fetchall()


def _settle_untold(
    conn: Connection[TupleRow], rollout: Rollout, pile_id: str, *, barred: bool, now: datetime
) -> None:
    """A pile barred since it was chosen is left out; one that has come to the version by itself is done."""
    conn.execute(
        """
        UPDATE firmware_rollout_pile
           SET state = %(state)s, ended_at = %(now)s, running = CASE WHEN %(barred)s THEN running ELSE %(version)s END
         WHERE rollout_id = %(rollout_id)s AND pile_id = %(pile_id)s
        """,
        {
            "state": "left_out" if barred else "done",
            "barred": barred,
            "version": rollout.version,
            "now": now,
            "rollout_id": rollout.rollout_id,
            "pile_id": pile_id,
        },
    )


def _body(conn: Connection[TupleRow], rollout: Rollout) -> Mapping[str, Any]:
    release = firmware_releases.get(conn, rollout.release_id)
    return {
        "version": release.version,
        "model": release.model,
        "url": rollout.image_url,
        "size_bytes": release.size_bytes,
        "sha256": release.sha256.hex(),
        "signature": release.signature.hex(),
        "minimum_version": release.minimum_version,
        "window_from_ms": round(rollout.window_from.timestamp() * 1000),
        "window_to_ms": round(rollout.window_to.timestamp() * 1000),
        "force": rollout.force,
    }
