"""What piles say of their updates: every step, and the version each comes up with."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from charging import commands, events
from charging.commands import CommandKind
from charging.events import EventKind
from charging.firmware_rollouts import RolloutPileState

WAITING = "waiting"
"""The pile's word for an image that is ready and waits for its window or its riders, in silence."""
SILENT = "silent"
"""Our word, in the place of the pile's, for why an update failed."""


@dataclass(frozen=True, kw_only=True)
class UpdateReport:
    """What a pile says of its update; `error` with step `failed`."""

    pile_id: str
    command_id: UUID
    step: str
    percent: int
    running: str
    error: str | None


def reported(conn: Connection[TupleRow], report: UpdateReport, *, now: datetime) -> bool:
    """Take a pile's word on its update; False for a command that is not this pile's. A repeat changes nothing.

    A word that comes late moves nothing back: an update that has ended stays so, but a pile given up for its silence
    is done when it says so after all, and one that came up with the new version may still have gone back to the old.
    """
    commands.answered(
        conn,
        command_id=report.command_id,
        pile_id=report.pile_id,
        done=report.step != "failed",
        result={"step": report.step, "error": report.error},
        now=now,
        kind=CommandKind.FIRMWARE,
    )
    ends = {"done": RolloutPileState.DONE, "failed": RolloutPileState.FAILED}.get(report.step)
    row = conn.execute(
        """
        UPDATE firmware_rollout_pile AS part
           SET state = coalesce(%(ends)s, part.state), step = %(step)s, percent = %(percent)s, error = %(error)s,
               running = %(running)s, heard_at = %(now)s,
               deadline_at = greatest(part.deadline_at, CASE WHEN %(waits)s THEN rollout.window_to ELSE %(now)s END
                                      + rollout.patience_s * interval '1 second'),
               ended_at = CASE WHEN %(ends)s::text IS NULL THEN NULL ELSE %(now)s END
          FROM firmware_rollout AS rollout
         WHERE part.rollout_id = rollout.rollout_id AND part.command_id = %(command_id)s
           AND part.pile_id = %(pile_id)s
           AND (part.state = 'told'
                OR part.state = 'failed' AND part.error = 'silent' AND %(ends)s = 'done'
                OR part.state = 'done' AND part.step = 'booted' AND %(ends)s::text IS NOT NULL)
        RETURNING part.rollout_id
        """,
        {
            "ends": ends,
            "step": report.step,
            "percent": report.percent,
            "error": report.error,
            "running": report.running,
            "waits": report.step == WAITING,
            "now": now,
            "command_id": report.command_id,
            "pile_id": report.pile_id,
        },
    ).fetchone()
    if row is None:
        return _is_of(conn, report)
    if ends is not None:
        events.record(
            conn,
            pile_id=report.pile_id,
            kind=EventKind.FIRMWARE_FAILED if ends is RolloutPileState.FAILED else EventKind.FIRMWARE_DONE,
            now=now,
            detail={"rollout_id": str(row[0]), "running": report.running, "error": report.error},
        )
    return True


def booted(conn: Connection[TupleRow], *, pile_id: str, version: str, now: datetime) -> None:
    """A pile came up with this version: an update to it is done, whatever was lost on the way."""
    done = conn.execute(
        """
        UPDATE firmware_rollout_pile AS part
           SET state = 'done', step = 'booted', percent = 100, error = NULL, running = %(version)s, heard_at = %(now)s,
               ended_at = %(now)s
          FROM firmware_rollout AS rollout JOIN firmware_release AS release USING (release_id)
         WHERE part.rollout_id = rollout.rollout_id AND part.pile_id = %(pile_id)s AND part.command_id IS NOT NULL
           AND part.state IN ('told', 'failed') AND release.version = %(version)s
        RETURNING part.command_id
        """,
        {"pile_id": pile_id, "version": version, "now": now},
    ).fetchall()
    for (command_id,) in done:
        commands.answered(
            conn,
            command_id=command_id,
            pile_id=pile_id,
            done=True,
            result={"step": "booted"},
            now=now,
            kind=CommandKind.FIRMWARE,
        )


def _is_of(conn: Connection[TupleRow], report: UpdateReport) -> bool:
    return (
        conn.execute(
            """
            SELECT pile_id FROM firmware_rollout_pile
             WHERE command_id = %(command_id)s AND pile_id = %(pile_id)s
            """,
            {"command_id": report.command_id, "pile_id": report.pile_id},
        ).fetchone()
        is not None
    )
