"""What follows from a trip, and who is told: locks, charges ended, starts called off, notices.

The pile switches off by itself within milliseconds; this is the platform's own hand on it, for what the pile did not
stop, for what was already paid, and for the people.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from charging import alarm_episodes, commands, locks, notices, safety_rules, safety_words, sessions, starts
from charging.alarm_episodes import Episode
from charging.alarm_kinds import RULES, AlarmAction, AlarmLevel, Reach, Severity, reach_of
from charging.commands import CommandKind
from charging.locks import LockCause
from charging.notices import NoticeKind, Telling
from charging.safety_words import Measured, Words
from charging.session_states import BEFORE_CHARGE, SessionState, StartFailure

STOP_LASTS = timedelta(minutes=10)
"""A safety stop is worth sending for so long; while the danger lasts, another follows it."""
OWN_STOP = timedelta(minutes=1)
"""What a pile that has tripped a port is given to tell how the charge there ended."""
SETTLED_JUST_NOW = timedelta(minutes=10)
"""A charge the pile ended so shortly before its alarm arrived may be the one the alarm is about."""


class Outcome(StrEnum):
    """What an alarm means to one charge."""

    STOPPED = "stopped"
    CALLED_OFF = "called_off"
    GOES_ON = "goes_on"


@dataclass(frozen=True)
class Affected:
    """A charge the alarm is about, and what becomes of it."""

    session_id: UUID
    outcome: Outcome


def act(
    conn: Connection[TupleRow], episode: Episode, *, action: AlarmAction, now: datetime
) -> list[Affected]:
    """Lock what a trip reaches and end what runs there; the caller holds the pile's ports."""
    reach = reach_of(episode.kind, AlarmLevel.TRIP, episode.port_no)
    rule = RULES[episode.kind]
    whole_pile = reach is Reach.PILE
    stopped = action is AlarmAction.PILE_STOPPED or (
        action is AlarmAction.PORT_STOPPED and episode.port_no is not None
    )
    if reach is Reach.NOTHING:
        running = _on_ports(conn, episode, whole_pile=episode.port_no is None) if stopped else []
        ended = [Affected(session_id, Outcome.STOPPED) for session_id, _ in running]
        return ended + _ended_by_pile(conn, episode, now=now)
    locks.put_on(
        conn,
        pile_id=episode.pile_id,
        port_no=None if whole_pile else episode.port_no,
        cause=LockCause.ALARM,
        kind=episode.kind,
        episode_id=episode.episode_id,
        stop_reason=rule.stops_pile or episode.kind,
        now=now,
    )
    if (
        rule.life
        and rule.stops_pile is not None
        and safety_rules.of_site(conn, episode.site_id).fire_locks_site
    ):
        _lock_site(conn, episode, now=now)
    must_stop = rule.stops_pile is not None or not stopped
    affected = [
        _end(conn, episode, session_id, state, must_stop=must_stop, now=now)
        for session_id, state in _on_ports(conn, episode, whole_pile=whole_pile)
    ]
    return affected + _ended_by_pile(conn, episode, now=now)


def repeat_stop(conn: Connection[TupleRow], *, now: datetime) -> bool:
    """Tell one pile again to end a charge that still runs under a lock that ends charges; False without one."""
    row = conn.execute(
        """
        SELECT session_id, charging_session.pile_id, charging_session.port_no, start_lock.stop_reason
          FROM start_lock JOIN charging_session USING (pile_id)
         WHERE start_lock.lifted_at IS NULL AND start_lock.stop_reason IS NOT NULL
           AND charging_session.state IN ('charging', 'stopping')
           AND (start_lock.port_no IS NULL
                OR start_lock.port_no = charging_session.port_no AND start_lock.locked_at < %(before)s)
           AND NOT EXISTS (SELECT FROM command WHERE command.session_id = charging_session.session_id
                              AND command.kind = 'stop' AND command.state IN ('pending', 'sent', 'done'))
         ORDER BY charging_session.created_at LIMIT 1 FOR NO KEY UPDATE OF charging_session SKIP LOCKED
        """,
        {"before": now - OWN_STOP},
    ).fetchone()
    if row is None:
        return False
    session_id, pile_id, port_no, reason = row
    session = sessions.get(conn, session_id)
    if session.state is SessionState.CHARGING:
        sessions.move(conn, session, SessionState.STOPPING, cause=reason, now=now)
    commands.enqueue(
        conn,
        pile_id=pile_id,
        kind=CommandKind.STOP,
        body={"port_no": port_no, "reason": reason},
        session_id=session_id,
        expires_at=now + STOP_LASTS,
        now=now,
    )
    return True


def tell(
    conn: Connection[TupleRow], episode: Episode, affected: Sequence[Affected], *, now: datetime
) -> None:
    """Tell the site's parties of an episode at its level, and the riders it is about."""
    kind, level = episode.kind, episode.level
    severity = RULES[kind].severity(level)
    measured = _measured(conn, episode)
    words = safety_words.of_alarm(
        kind,
        level,
        pile_id=episode.pile_id,
        port_no=episode.port_no,
        measured=measured,
        flaps=episode.flaps,
    )
    notices.tell_parties(
        conn, _telling(episode, NoticeKind.ALARM, severity, words, measured=measured), now=now
    )
    about = affected
    # What merely needs service somewhere in the pile is nothing to a rider whose charge goes on.
    if not affected and (episode.port_no is not None or severity is not Severity.INFO):
        running = _on_ports(conn, episode, whole_pile=episode.port_no is None)
        about = [Affected(session_id, Outcome.GOES_ON) for session_id, _ in running]
    for outcome in Outcome:
        riders = [one.session_id for one in about if one.outcome is outcome]
        said = _RIDER_WORDS[outcome](kind)
        notices.tell_riders(
            conn, riders, _telling(episode, NoticeKind.ALARM, severity, said, measured=measured), now=now
        )
    alarm_episodes.told(conn, episode)


def tell_over(conn: Connection[TupleRow], episode: Episode, *, now: datetime) -> None:
    """Tell the parties that an episode is over, where they were told that it began."""
    if episode.told_level is None:
        return
    still_locked = any(lock.lifted_at is None for lock in locks.of_episode(conn, episode.episode_id))
    words = safety_words.of_alarm_over(
        episode.kind, pile_id=episode.pile_id, port_no=episode.port_no, still_locked=still_locked
    )
    notices.tell_parties(
        conn, _telling(episode, NoticeKind.ALARM_OVER, Severity.INFO, words, measured=None), now=now
    )


def _end(
    conn: Connection[TupleRow],
    episode: Episode,
    session_id: UUID,
    state: SessionState,
    *,
    must_stop: bool,
    now: datetime,
) -> Affected:
    rule = RULES[episode.kind]
    whole_pile = reach_of(episode.kind, AlarmLevel.TRIP, episode.port_no) is Reach.PILE
    if state in BEFORE_CHARGE:
        failure = StartFailure.PILE_LOCKED if whole_pile else StartFailure.PORT_LOCKED
        starts.called_off(conn, session_id, failure, wait=STOP_LASTS, now=now)
        return Affected(session_id, Outcome.CALLED_OFF)
    if must_stop:
        reason = rule.stops_pile or episode.kind
        sessions.stop(conn, session_id, cause=reason, wait=STOP_LASTS, now=now)
    return Affected(session_id, Outcome.STOPPED)


def _lock_site(conn: Connection[TupleRow], episode: Episode, *, now: datetime) -> None:
    """Refuse starts at the other piles of the site; what charges there goes on."""
    rows = conn.execute(
        "SELECT pile_id FROM pile WHERE site_id = %(site_id)s AND pile_id <> %(pile_id)s ORDER BY pile_id",
        {"site_id": episode.site_id, "pile_id": episode.pile_id},
    ).fetchall()
    for (pile_id,) in rows:
        locks.put_on(
            conn,
            pile_id=pile_id,
            port_no=None,
            cause=LockCause.SITE_ALARM,
            kind=episode.kind,
            episode_id=episode.episode_id,
            now=now,
        )


def _on_ports(
    conn: Connection[TupleRow], episode: Episode, *, whole_pile: bool
) -> list[tuple[UUID, SessionState]]:
    rows = conn.execute(
        """
        SELECT session_id, state FROM charging_session
         WHERE pile_id = %(pile_id)s AND (%(whole_pile)s OR port_no = %(port_no)s)
           AND state IN ('paid', 'starting', 'pending_plug', 'charging', 'stopping')
         ORDER BY port_no
        """,
        {"pile_id": episode.pile_id, "whole_pile": whole_pile, "port_no": episode.port_no},
    ).fetchall()
    return [(session_id, SessionState(state)) for session_id, state in rows]


def _ended_by_pile(conn: Connection[TupleRow], episode: Episode, *, now: datetime) -> list[Affected]:
    """Charges the pile ended for this very reason and settled before its alarm arrived."""
    reasons = [episode.kind.value, RULES[episode.kind].stops_pile or "", "fire_suppression_own_port"]
    rows = conn.execute(
        """
        SELECT session_id FROM charging_session
         WHERE pile_id = %(pile_id)s AND (%(port_no)s::int IS NULL OR port_no = %(port_no)s)
           AND settled_at >= %(since)s AND stop_reason = ANY(%(reasons)s)
        """,
        {
            "pile_id": episode.pile_id,
            "port_no": episode.port_no,
            "since": now - SETTLED_JUST_NOW,
            "reasons": reasons,
        },
    ).fetchall()
    return [Affected(session_id, Outcome.STOPPED) for (session_id,) in rows]


def _measured(conn: Connection[TupleRow], episode: Episode) -> Measured:
    """The worst value of the episode with its limit."""
    row = conn.execute(
        """
        SELECT value, value_limit FROM alarm WHERE episode_id = %(episode_id)s
         ORDER BY level = 'trip' DESC, value DESC LIMIT 1
        """,
        {"episode_id": episode.episode_id},
    ).fetchone()
    return Measured(int(row[0]), int(row[1])) if row else Measured(1, 0)


def _telling(
    episode: Episode, kind: NoticeKind, severity: Severity, words: Words, *, measured: Measured | None
) -> Telling:
    facts: dict[str, object] = {
        "episode_id": episode.episode_id,
        "alarm_kind": episode.kind,
        "level": episode.level,
        "began_at": episode.began_at.isoformat(),
        "quiet_at": episode.quiet_at.isoformat() if episode.quiet_at else None,
        "flaps": episode.flaps,
    }
    if measured is not None:
        facts |= {"value": measured.value, "limit": measured.limit, "unit": RULES[episode.kind].unit}
    return Telling(
        cause_key=f"episode:{episode.episode_id}:{kind}:{episode.level}",
        kind=kind,
        severity=severity,
        site_id=episode.site_id,
        pile_id=episode.pile_id,
        port_no=episode.port_no,
        zh=words.zh,
        en=words.en,
        facts=facts,
    )


_RIDER_WORDS = {
    Outcome.STOPPED: safety_words.for_rider_stopped,
    Outcome.CALLED_OFF: safety_words.for_rider_called_off,
    Outcome.GOES_ON: safety_words.for_rider_warned,
}
