"""The tariff a pile shows: that of its site as it holds now, sent after a boot and when a new one begins to hold.

A pile computes no money with it. A tariff that no pile could show, or that this one refused, is told to the operator
once and not sent again.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from billing import tariffs
from billing.errors import TariffMissing
from billing.tariff_objects import TariffVersion
from charging import commands, events, pile_care, piles, tariff_bands
from charging.commands import CommandKind
from charging.errors import TariffUnshowable
from charging.events import EventKind
from charging.pile_care import Report
from charging.piles import Pile, PileState
from charging.tariff_bands import ShownTariff
from charging.waits import Waits

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Outcome(StrEnum):
    """How telling a pile a tariff ended."""

    SHOWN = "shown"
    REFUSED = "refused"
    UNSHOWABLE = "unshowable"


@dataclass(frozen=True)
class Telling:
    """What became of telling a pile a tariff; `cause` is the pile's word or ours in a few."""

    pile_id: str
    tariff_version_id: int
    outcome: Outcome
    cause: str | None
    outcome_at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "outcome", Outcome(self.outcome))


class Result(StrEnum):
    """A pile's word in a report of the tariff it shows."""

    STORED = "stored"
    REFUSED = "refused"
    REPORTED = "reported"
    EXPIRED = "expired"


@dataclass(frozen=True, kw_only=True)
class TariffReport(Report):
    """The version shown, and where it answers a command what became of that."""

    version: int
    result: Result
    command_id: UUID | None = None
    cause: str | None = None


def wanted(conn: Connection[TupleRow], *, site_id: str, now: datetime) -> TariffVersion | None:
    """The tariff the piles of a site should show; None where the site has none yet."""
    try:
        return tariffs.current(conn, site_id=site_id, at=now)
    except TariffMissing:
        return None


def telling(conn: Connection[TupleRow], *, pile_id: str, tariff_version_id: int) -> Telling | None:
    """How telling a pile this tariff ended; None while it has not."""
    with conn.cursor(row_factory=class_row(Telling)) as cursor:
        return cursor.execute(
            """
            SELECT pile_id, tariff_version_id, outcome, cause, outcome_at
              FROM shown_tariff WHERE pile_id = %(pile_id)s AND tariff_version_id = %(tariff_version_id)s
            """,
            {"pile_id": pile_id, "tariff_version_id": tariff_version_id},
        ).fetchone()


def booted(conn: Connection[TupleRow], report: Report, *, site_id: str, version: int, now: datetime) -> int:
    """A pile came up showing this version; returns the one it should show, 0 for none."""
    pile_care.lock(conn, report.pile_id)
    newer = pile_care.tariff_reported(conn, report, version=version, now=now)
    wish = wanted(conn, site_id=site_id, now=now)
    if wish is None:
        return 0
    if newer:
        due = None if version == wish.tariff_version_id else now
        pile_care.look_at_tariff(conn, report.pile_id, at=due)
    told = telling(conn, pile_id=report.pile_id, tariff_version_id=wish.tariff_version_id)
    return 0 if told is not None and told.outcome is Outcome.UNSHOWABLE else wish.tariff_version_id


def reported(conn: Connection[TupleRow], report: TariffReport, *, now: datetime) -> None:
    """A pile says which tariff it shows, by itself or as its answer to a command."""
    pile_care.lock(conn, report.pile_id)
    if report.result is not Result.REPORTED and report.command_id is not None:
        _take_answer(conn, report, report.command_id, now=now)
    newer = pile_care.tariff_reported(conn, report, version=report.version, now=now)
    wish = wanted(conn, site_id=piles.get(conn, report.pile_id).site_id, now=now)
    if not newer or wish is None:
        return
    if report.version == wish.tariff_version_id:
        pile_care.look_at_tariff(conn, report.pile_id, at=None)
    elif report.result is Result.REPORTED:
        pile_care.look_at_tariff(conn, report.pile_id, at=now)


def notice_new(conn: Connection[TupleRow], waits: Waits, now: datetime) -> bool:
    """Have the piles of one site looked at because another tariff holds there; False when none changed."""
    del waits
    known = conn.execute(
        "SELECT site_id, tariff_version_id FROM site LEFT JOIN site_shown_tariff USING (site_id) ORDER BY site_id"
    ).fetchall()
    holding = tariffs.in_force(conn, at=now)
    changed = next((site_id for site_id, noticed in known if holding.get(site_id, noticed) != noticed), None)
    if changed is None:
        return False
    conn.execute(
        """
        INSERT INTO site_shown_tariff (site_id, tariff_version_id, noticed_at)
        VALUES (%(site_id)s, %(tariff_version_id)s, %(now)s)
        ON CONFLICT (site_id) DO UPDATE
           SET tariff_version_id = excluded.tariff_version_id, noticed_at = excluded.noticed_at
        """,
        {"site_id": changed, "tariff_version_id": holding[changed], "now": now},
    )
    conn.execute(
        """
        UPDATE pile_care SET tariff_due_at = %(now)s
          FROM pile WHERE pile.pile_id = pile_care.pile_id AND pile.site_id = %(site_id)s
        """,
        {"site_id": changed, "now": now},
    )
    return True


def send_due(conn: Connection[TupleRow], waits: Waits, now: datetime) -> bool:
    """Tell one pile the tariff it should show and does not; False when nothing is due."""
    care = pile_care.tariff_due(conn, now=now)
    if care is None:
        return False
    pile = piles.get(conn, care.pile_id)
    wish = wanted(conn, site_id=pile.site_id, now=now)
    if wish is None or wish.tariff_version_id == care.tariff_version or _is_decided(conn, pile, wish):
        pile_care.look_at_tariff(conn, pile.pile_id, at=None)
    elif pile.state is not PileState.ACTIVE:
        pile_care.look_at_tariff(conn, pile.pile_id, at=now + waits.care)
    else:
        _tell(conn, pile, wish, waits=waits, now=now)
    return True


def _is_decided(conn: Connection[TupleRow], pile: Pile, wish: TariffVersion) -> bool:
    """Whether telling it again would end as before."""
    told = telling(conn, pile_id=pile.pile_id, tariff_version_id=wish.tariff_version_id)
    return told is not None and told.outcome is not Outcome.SHOWN


def _tell(
    conn: Connection[TupleRow], pile: Pile, wish: TariffVersion, *, waits: Waits, now: datetime
) -> None:
    try:
        shown = tariff_bands.shown(wish)
    except TariffUnshowable as error:
        pile_care.look_at_tariff(conn, pile.pile_id, at=None)
        _decide(conn, pile.pile_id, wish.tariff_version_id, Outcome.UNSHOWABLE, cause=error.why, now=now)
        return
    commands.supersede(conn, pile_id=pile.pile_id, kind=CommandKind.TARIFF_SET)
    expires_at = now + waits.care
    commands.enqueue(
        conn,
        pile_id=pile.pile_id,
        kind=CommandKind.TARIFF_SET,
        body=_body(wish, shown),
        session_id=None,
        expires_at=expires_at,
        now=now,
    )
    pile_care.look_at_tariff(conn, pile.pile_id, at=expires_at)


def _body(wish: TariffVersion, shown: ShownTariff) -> dict[str, object]:
    return {
        "version": wish.tariff_version_id,
        "valid_from_ms": max(0, (wish.effective_from - _EPOCH) // timedelta(milliseconds=1)),
        "utc_offset_s": tariff_bands.UTC_OFFSET_S,
        "bands": [list(band) for band in shown.bands],
        "text": shown.text,
    }


def _take_answer(
    conn: Connection[TupleRow], report: TariffReport, command_id: UUID, *, now: datetime
) -> None:
    facts = {"result": report.result, "version": report.version, "cause": report.cause}
    command = commands.answered(
        conn,
        command_id=command_id,
        pile_id=report.pile_id,
        done=report.result is Result.STORED,
        result={name: fact for name, fact in facts.items() if fact is not None},
        now=now,
        kind=CommandKind.TARIFF_SET,
    )
    if command is None:
        return
    version = command.body["version"]
    if report.result is Result.STORED and report.version == version:
        _decide(conn, report.pile_id, version, Outcome.SHOWN, cause=None, now=now)
    elif report.result is Result.REFUSED:
        _decide(conn, report.pile_id, version, Outcome.REFUSED, cause=report.cause, now=now)


def _decide(
    conn: Connection[TupleRow],
    pile_id: str,
    version: int,
    outcome: Outcome,
    *,
    cause: str | None,
    now: datetime,
) -> None:
    conn.execute(
        """
        INSERT INTO shown_tariff (pile_id, tariff_version_id, outcome, cause, outcome_at)
        VALUES (%(pile_id)s, %(version)s, %(outcome)s, %(cause)s, %(now)s)
        ON CONFLICT (pile_id, tariff_version_id) DO UPDATE
           SET outcome = excluded.outcome, cause = excluded.cause, outcome_at = excluded.outcome_at
        """,
        {"pile_id": pile_id, "version": version, "outcome": outcome, "cause": cause, "now": now},
    )
    kinds = {Outcome.REFUSED: EventKind.TARIFF_REFUSED, Outcome.UNSHOWABLE: EventKind.TARIFF_UNSHOWABLE}
    if outcome in kinds:
        events.record(
            conn,
            pile_id=pile_id,
            kind=kinds[outcome],
            now=now,
            detail={"tariff_version_id": version, "cause": cause},
        )
