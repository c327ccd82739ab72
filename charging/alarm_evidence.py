"""Evidence: what surrounded an alarm when it was heard, kept as it was and never changed.

The meter's samples stay where they are for as long as samples are kept; the snapshot names the sessions and holds the
newest readings besides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row, dict_row
from psycopg.types.json import Jsonb

from charging import session_curves
from charging.alarm_kinds import AlarmLevel

SAMPLES_KEPT = 10
"""Newest samples of each session."""
HEARTBEATS_KEPT = 5
JUST_ENDED = timedelta(minutes=10)
"""A session that ended so shortly before the alarm may have to do with it."""


@dataclass(frozen=True)
class Evidence:
    """One snapshot: what the pile said at this level, with ports, sessions, samples and heartbeats as they were."""

    level: AlarmLevel
    cleared: bool
    kept_at: datetime
    snapshot: Mapping[str, Any]


def keep(
    conn: Connection[TupleRow],
    *,
    pile_id: str,
    alarm_id: UUID,
    level: AlarmLevel,
    cleared: bool,
    raised_at: datetime,
    said: Mapping[str, Any],
    now: datetime,
) -> None:
    """Keep what the pile said and how things stand; the first telling of each level, and of the clearing, counts."""
    sessions = _sessions(conn, pile_id, raised_at=raised_at)
    snapshot = {
        "said": said,
        "ports": _ports(conn, pile_id),
        "sessions": sessions,
        "samples": _samples(conn, pile_id, sessions, raised_at=raised_at),
        "heartbeats": _heartbeats(conn, pile_id),
    }
    conn.execute(
        """
        INSERT INTO alarm_evidence (pile_id, alarm_id, level, cleared, kept_at, snapshot)
        VALUES (%(pile_id)s, %(alarm_id)s, %(level)s, %(cleared)s, %(now)s, %(snapshot)s)
        ON CONFLICT DO NOTHING
        """,
        {
            "pile_id": pile_id,
            "alarm_id": alarm_id,
            "level": level,
            "cleared": cleared,
            "now": now,
            "snapshot": Jsonb(_plain(snapshot)),
        },
    )


def of_alarm(conn: Connection[TupleRow], *, pile_id: str, alarm_id: UUID) -> list[Evidence]:
    """Everything kept of an alarm, oldest first."""
    with conn.cursor(row_factory=class_row(Evidence)) as cursor:
        return cursor.execute(
            """
            SELECT level, cleared, kept_at, snapshot FROM alarm_evidence
             WHERE pile_id = %(pile_id)s AND alarm_id = %(alarm_id)s ORDER BY kept_at, cleared
            """,
            {"pile_id": pile_id, "alarm_id": alarm_id},
        ).fetchall()


def _ports(conn: Connection[TupleRow], pile_id: str) -> list[dict[str, Any]]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """
            SELECT port_no, state, fault, plugged, power_dw, reported_at
              FROM pile_port WHERE pile_id = %(pile_id)s ORDER BY port_no
            """,
            {"pile_id": pile_id},
        ).fetchall()


def _sessions(conn: Connection[TupleRow], pile_id: str, *, raised_at: datetime) -> list[dict[str, Any]]:
    """The sessions on the pile's ports now, and those that were when the alarm was raised or had just ended."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """
            SELECT session_id, port_no, state, paid_at, started_at, ended_at, stop_reason
              FROM charging_session
             WHERE pile_id = %(pile_id)s
               AND (state IN ('paid', 'starting', 'pending_plug', 'charging', 'stopping')
                    OR started_at <= %(raised_at)s AND coalesce(ended_at, %(raised_at)s) >= %(since)s)
             ORDER BY created_at DESC LIMIT 40
            """,
            {"pile_id": pile_id, "raised_at": raised_at, "since": raised_at - JUST_ENDED},
        ).fetchall()


def _samples(
    conn: Connection[TupleRow], pile_id: str, sessions: list[dict[str, Any]], *, raised_at: datetime
) -> list[dict[str, Any]]:
    begins = [session["started_at"] or session["paid_at"] or raised_at for session in sessions]
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """
            SELECT session_id, sampled_at, voltage_dv, current_ma, power_dw, energy_dwh, temperature_dc
              FROM (SELECT session_id, sampled_at, voltage_dv, current_ma, power_dw, energy_dwh, temperature_dc,
                           row_number() OVER (PARTITION BY session_id ORDER BY sampled_at DESC) AS from_end
                      FROM meter_sample
                     WHERE session_id = ANY(%(session_ids)s) AND pile_id = %(pile_id)s
                       AND sampled_at >= %(since)s) AS numbered
             WHERE from_end <= %(kept)s
             ORDER BY session_id, sampled_at DESC
            """,
            {
                "session_ids": [session["session_id"] for session in sessions],
                "pile_id": pile_id,
                "since": min(begins, default=raised_at) - session_curves.SLACK,
                "kept": SAMPLES_KEPT,
            },
        ).fetchall()


def _heartbeats(conn: Connection[TupleRow], pile_id: str) -> list[dict[str, Any]]:
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            """
            SELECT sampled_at, received_at, signal_dbm, board_temperature_dc, mains_dv, power_dw, energy_wh, leakage_ma
              FROM pile_telemetry WHERE pile_id = %(pile_id)s ORDER BY sampled_at DESC LIMIT %(kept)s
            """,
            {"pile_id": pile_id, "kept": HEARTBEATS_KEPT},
        ).fetchall()


def _plain(value: Any) -> Any:
    """Instants as RFC 3339 and ids as text, so that the snapshot is JSON."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list):
        return [_plain(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value
