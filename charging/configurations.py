"""Configurations of piles: what somebody wants in force, what the pile says is in force, and the way between.

A wish is a whole set of settings under a version that only grows. It is sent when it is made and whenever a pile
boots or reports another version, one command at a time. A pile that refuses it names the setting; the wish stands as
refused and is not sent again until somebody changes it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from charging import commands, events, pile_care, piles
from charging.commands import CommandKind
from charging.errors import SettingRefused
from charging.events import EventKind
from charging.pile_care import PileCare, Report
from charging.piles import PileState
from charging.waits import Waits


@dataclass(frozen=True)
class Setting:
    """A setting piles may know: an integer between two bounds, its unit and its default."""

    unit: str
    low: int
    high: int
    default: int
    meaning: str


@dataclass(frozen=True)
class SettingOffence:
    """What is wrong with a wish: the setting at fault and why, in the protocol's word."""

    key: str
    cause: str


OffenceOf = Callable[[Mapping[str, int], Sequence[tuple[str, int]]], SettingOffence | None]
"""What keeps settings (second) from being put in force on top of others (first); None if nothing does."""


@dataclass(frozen=True)
class SettingsTable:
    """The settings the protocol knows, and its rule for them; made where processes are composed."""

    settings: Mapping[str, Setting]
    offence_of: OffenceOf


class Outcome(StrEnum):
    """What the pile did with a wish."""

    APPLIED = "applied"
    REFUSED = "refused"


@dataclass(frozen=True)
class Configuration:
    """A wish, and what became of it; `outcome` is None until the pile has answered."""

    pile_id: str
    version: int
    settings: Mapping[str, int]
    set_by: str
    set_at: datetime
    outcome: Outcome | None
    outcome_at: datetime | None
    refused_key: str | None
    cause: str | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "outcome", None if self.outcome is None else Outcome(self.outcome))


class Result(StrEnum):
    """A pile's word in a report of its configuration."""

    APPLIED = "applied"
    REFUSED = "refused"
    REPORTED = "reported"
    EXPIRED = "expired"


@dataclass(frozen=True, kw_only=True)
class ConfigReport(Report):
    """The settings in force, and where it answers a wish what became of that."""

    version: int
    settings: Mapping[str, int]
    result: Result
    command_id: UUID | None = None
    key: str | None = None
    cause: str | None = None


def want(
    conn: Connection[TupleRow],
    *,
    pile_id: str,
    settings: Mapping[str, int],
    set_by: str,
    table: SettingsTable,
    waits: Waits,
    now: datetime,
) -> Configuration:
    """Make these settings a pile's wish in place of the one before, and send it.

    What is not named keeps its value in the pile. The same wish again, unless it was refused, changes nothing.
    Raises PileUnknown, and SettingRefused before anything is stored or sent.
    """
    pile = piles.get(conn, pile_id)
    care = pile_care.lock(conn, pile_id)
    newest = wanted(conn, pile_id)
    if newest is not None and newest.settings == settings and newest.outcome is not Outcome.REFUSED:
        return newest
    offence = table.offence_of(care.config_settings, sorted(settings.items()))
    if offence is not None:
        raise SettingRefused(pile_id, offence.key, offence.cause)
    version = max(newest.version if newest is not None else 0, care.config_version) + 1
    conn.execute(
        """
        INSERT INTO pile_configuration (pile_id, version, settings, set_by, set_at)
        VALUES (%(pile_id)s, %(version)s, %(settings)s, %(set_by)s, %(now)s)
        """,
        {
            "pile_id": pile_id,
            "version": version,
            "settings": Jsonb(dict(settings)),
            "set_by": set_by,
            "now": now,
        },
    )
    wish = wanted(conn, pile_id)
    assert wish is not None, "the wish was stored just now"
    events.record(
        conn,
        pile_id=pile_id,
        kind=EventKind.CONFIG_SET,
        now=now,
        detail={"version": version, "set_by": set_by},
    )
    if pile.state is PileState.ACTIVE:
        _send(conn, wish, waits=waits, now=now)
    return wish


def wanted(conn: Connection[TupleRow], pile_id: str) -> Configuration | None:
    """The configuration a pile should have in force; None if nobody ever wanted one."""
    with conn.cursor(row_factory=class_row(Configuration)) as cursor:
        return cursor.execute(
            """
            SELECT pile_id, version, settings, set_by, set_at, outcome, outcome_at, refused_key, cause
              FROM pile_configuration WHERE pile_id = %(pile_id)s ORDER BY version DESC LIMIT 1
            """,
            {"pile_id": pile_id},
        ).fetchone()


def history(conn: Connection[TupleRow], pile_id: str, *, limit: int) -> list[Configuration]:
    """The newest wishes for a pile, newest first."""
    with conn.cursor(row_factory=class_row(Configuration)) as cursor:
        return cursor.execute(
            """
            SELECT pile_id, version, settings, set_by, set_at, outcome, outcome_at, refused_key, cause
              FROM pile_configuration WHERE pile_id = %(pile_id)s ORDER BY version DESC LIMIT %(limit)s
            """,
            {"pile_id": pile_id, "limit": limit},
        ).fetchall()


def booted(conn: Connection[TupleRow], report: Report, *, version: int, now: datetime) -> int:
    """A pile came up with this version in force; returns the version it should have, 0 for no wish."""
    pile_care.lock(conn, report.pile_id)
    newer = pile_care.config_reported(conn, report, version=version, settings=None, now=now)
    wish = wanted(conn, report.pile_id)
    if wish is None:
        return 0
    if newer:
        _compare(conn, wish, version=version, now=now)
    return wish.version


def reported(conn: Connection[TupleRow], report: ConfigReport, *, now: datetime) -> None:
    """A pile says what is in force, by itself or as its answer to a wish."""
    care = pile_care.lock(conn, report.pile_id)
    if report.result is not Result.REPORTED and report.command_id is not None:
        _take_answer(conn, report, report.command_id, now=now)
    newer = pile_care.config_reported(conn, report, version=report.version, settings=report.settings, now=now)
    wish = wanted(conn, report.pile_id)
    if wish is None or not newer:
        return
    if report.version == wish.version or report.result is Result.REPORTED:
        _compare(conn, wish, version=report.version, now=now)
    elif care.config_due_at is None and wish.outcome is not Outcome.REFUSED:
        # An odd answer: asking again at once could go round for ever.
        pile_care.look_at_config(conn, report.pile_id, at=now)


def send_due(conn: Connection[TupleRow], waits: Waits, now: datetime) -> bool:
    """Send one pile the configuration it should have and has not; False when nothing is due."""
    care = pile_care.config_due(conn, now=now)
    if care is None:
        return False
    wish = wanted(conn, care.pile_id)
    if wish is None or not _is_missing(wish, care):
        pile_care.look_at_config(conn, care.pile_id, at=None)
        return True
    under_way = commands.live_until(conn, pile_id=care.pile_id, kind=CommandKind.CONFIG_SET)
    if under_way is not None and under_way > now:
        pile_care.look_at_config(conn, care.pile_id, at=under_way)
    elif piles.get(conn, care.pile_id).state is PileState.ACTIVE:
        _send(conn, wish, waits=waits, now=now)
    else:
        pile_care.look_at_config(conn, care.pile_id, at=now + waits.care)
    return True


def _is_missing(wish: Configuration, care: PileCare) -> bool:
    return wish.outcome is not Outcome.REFUSED and wish.version != care.config_version


def _send(conn: Connection[TupleRow], wish: Configuration, *, waits: Waits, now: datetime) -> None:
    commands.supersede(conn, pile_id=wish.pile_id, kind=CommandKind.CONFIG_SET)
    expires_at = now + waits.care
    commands.enqueue(
        conn,
        pile_id=wish.pile_id,
        kind=CommandKind.CONFIG_SET,
        body={"version": wish.version, "values": [list(item) for item in sorted(wish.settings.items())]},
        session_id=None,
        expires_at=expires_at,
        now=now,
    )
    pile_care.look_at_config(conn, wish.pile_id, at=expires_at)


def _compare(conn: Connection[TupleRow], wish: Configuration, *, version: int, now: datetime) -> None:
    """After a newer report: the wish is in force, or is looked at now."""
    if version != wish.version:
        pile_care.look_at_config(conn, wish.pile_id, at=None if wish.outcome is Outcome.REFUSED else now)
        return
    pile_care.look_at_config(conn, wish.pile_id, at=None)
    _close(conn, wish.pile_id, wish.version, Outcome.APPLIED, now=now)
    piles.set_rhythm(
        conn,
        pile_id=wish.pile_id,
        heartbeat_s=wish.settings.get("heartbeat_s"),
        sample_s=wish.settings.get("sample_s"),
    )


def _take_answer(
    conn: Connection[TupleRow], report: ConfigReport, command_id: UUID, *, now: datetime
) -> None:
    facts = {"result": report.result, "version": report.version, "key": report.key, "cause": report.cause}
    command = commands.answered(
        conn,
        command_id=command_id,
        pile_id=report.pile_id,
        done=report.result is Result.APPLIED,
        result={name: fact for name, fact in facts.items() if fact is not None},
        now=now,
        kind=CommandKind.CONFIG_SET,
    )
    if command is None or report.result is not Result.REFUSED:
        return
    version = command.body["version"]
    _close(conn, report.pile_id, version, Outcome.REFUSED, key=report.key, cause=report.cause, now=now)
    wish = wanted(conn, report.pile_id)
    if wish is not None and wish.version == version:
        pile_care.look_at_config(conn, report.pile_id, at=None)
    events.record(
        conn,
        pile_id=report.pile_id,
        kind=EventKind.CONFIG_REFUSED,
        now=now,
        detail={"version": version, "key": report.key, "cause": report.cause},
    )


def _close(
    conn: Connection[TupleRow],
    pile_id: str,
    version: int,
    outcome: Outcome,
    *,
    key: str | None = None,
    cause: str | None = None,
    now: datetime,
) -> None:
    conn.execute(
        """
        UPDATE pile_configuration
           SET outcome = %(outcome)s, outcome_at = %(now)s, refused_key = %(key)s, cause = %(cause)s
         WHERE pile_id = %(pile_id)s AND version = %(version)s AND outcome IS DISTINCT FROM %(outcome)s
        """,
        {
            "pile_id": pile_id,
            "version": version,
            "outcome": outcome,
            "key": key,
            "cause": cause,
            "now": now,
        },
    )
