"""Sessions begun at the pile itself: by a code that somebody paid for, or by a card.

The pile tells of one when it has a link again, in any order with its samples and its settlement, and repeats it until
it is answered. What we will not have (a code nobody paid, a card nobody registered) is refused and written down once,
and of many from one pile only the first; its settlement is kept like any other that has no session.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from billing import agreements, tariffs
from billing.agreements import AgreementVersion
from billing.errors import AgreementMissing, TariffMissing
from billing.tariff_objects import TariffVersion
from charging import cards, events, locks, piles, ports, sessions, settlements, starts
from charging.cards import Card
from charging.errors import PortUnknown
from charging.events import EventKind
from charging.session_states import ON_PORT, SessionSource, SessionState
from charging.sessions import CLOCK_TOLERANCE, ChargingSession

OLDEST_CLAIM = timedelta(days=90)
"""A start that claims to be older is dated by its arrival."""

MOST_REFUSED = 10
"""So many refused starts of a pile within REFUSED_WITHIN, by card and otherwise each, and the next are refused unread:
looking up a card's number is slow on purpose, and the gateway's other piles wait for it."""
REFUSED_WITHIN = timedelta(minutes=10)
MOST_REMEMBERED = 100
"""So many refused starts of a pile are known again, by card and otherwise each."""

_NOT_OURS = frozenset({SessionState.CREATED, SessionState.FAILED, SessionState.CANCELLED})
"""Not paid for, or paid back: a pile that began it all the same is to stop."""


@dataclass(frozen=True, kw_only=True)
class LocalStart:
    """What a pile tells; `begun_at` is its claim, None where it had no clock. `credential` is the card's number."""

    pile_id: str
    session_id: UUID
    source: str
    port_no: int
    begun_at: datetime | None
    limit_s: int
    limit_dwh: int
    credential: str | None

    @property
    def by_card(self) -> bool:
        """It names a card's number."""
        return self.source == SessionSource.CARD and bool(self.credential)


def told(conn: Connection[TupleRow], start: LocalStart, *, now: datetime) -> bool:
    """Take a session that began at its pile; False where it is refused. Telling it again changes nothing."""
    session = sessions.lock_with_port(conn, start.session_id)
    if session is None and start.source == SessionSource.CARD and start.credential:
        return _by_card(conn, start, start.credential, now=now)
    if session is None:
        return _refuse(conn, start, "session_unknown", now=now)
    return _known(conn, session, start, now=now)


def _known(conn: Connection[TupleRow], session: ChargingSession, start: LocalStart, *, now: datetime) -> bool:
    if (session.pile_id, session.port_no) != (start.pile_id, start.port_no):
        return _refuse(conn, start, "session_of_another_port", now=now)
    if session.state in _NOT_OURS:
        return _refuse(conn, start, session.state, now=now)
    if start.source == SessionSource.CODE:
        sessions.came_by_code(conn, session.session_id)
    starts.started(
        conn,
        pile_id=start.pile_id,
        session_id=session.session_id,
        command_id=None,
        claimed_at=start.begun_at or now,
        now=now,
    )
    return True


def _by_card(conn: Connection[TupleRow], start: LocalStart, number: str, *, now: datetime) -> bool:
    past = _past(conn, start, now=now)
    if past.known or past.is_full:
        return _refuse(conn, start, "too_many_refused", now=now)
    try:
        ports.get(conn, pile_id=start.pile_id, port_no=start.port_no)
    except PortUnknown:
        return _refuse(conn, start, "port_unknown", now=now)
    site_id = piles.get(conn, start.pile_id).site_id
    card = cards.find(conn, site_id=site_id, number=number)
    if card is None:
        return _refuse(conn, start, "card_unknown", now=now)
    if not card.active:
        return _refuse(conn, start, "card_blocked", now=now)
    begun_at = _begun_at(start, now=now)
    try:
        tariff = tariffs.current(conn, site_id=site_id, at=begun_at)
        agreement = agreements.current(conn, site_id=site_id, at=begun_at)
    except (TariffMissing, AgreementMissing):
        return _refuse(conn, start, "price_missing", now=now)
    ports.lock(conn, pile_id=start.pile_id, port_no=start.port_no)
    meanwhile = sessions.lock(conn, start.session_id)
    if meanwhile is not None:
        return _known(conn, meanwhile, start, now=now)
    obstacle = locks.obstacles(conn, start.pile_id, [start.port_no]).get(start.port_no)
    locked_at = locks.locked_since(conn, pile_id=start.pile_id, port_no=start.port_no)
    # What began before the lock was put on is charged for; the lock itself ends it.
    if obstacle is not None and (locked_at is None or begun_at >= locked_at):
        return _refuse(conn, start, obstacle, now=now)
    state = _make_room(conn, start, begun_at=begun_at, now=now)
    _insert(conn, start, card, tariff, agreement, state=state, begun_at=begun_at)
    sessions.note(conn, start.session_id, state, cause="card", now=now)
    session = sessions.lock(conn, start.session_id)
    assert session is not None, "inserted a moment ago"
    settlements.settle_kept(conn, session, now=now)
    return True


def _make_room(
    conn: Connection[TupleRow], start: LocalStart, *, begun_at: datetime, now: datetime
) -> SessionState:
    """The state a session by card begins in here, on a port that another may hold on our books.

    If the other charged before, it has ended, and only its settlement is missing; else this one is the older, and
    its own settlement is all that is to come.
    """
    row = conn.execute(
        """
        SELECT session_id FROM charging_session
         WHERE pile_id = %(pile_id)s AND port_no = %(port_no)s AND state = ANY(%(on_port)s)
        """,
        {"pile_id": start.pile_id, "port_no": start.port_no, "on_port": sorted(ON_PORT)},
    ).fetchone()
    other = sessions.lock(conn, row[0]) if row is not None else None
    if other is None:
        return SessionState.CHARGING
    charged = other.state in (SessionState.CHARGING, SessionState.STOPPING)
    if charged and (other.started_at or other.created_at) < begun_at:
        sessions.move(conn, other, SessionState.AWAITING_SETTLEMENT, cause="another_began", now=now)
        return SessionState.CHARGING
    return SessionState.AWAITING_SETTLEMENT


def _begun_at(start: LocalStart, *, now: datetime) -> datetime:
    claim = start.begun_at
    if claim is None or not now - OLDEST_CLAIM <= claim <= now + CLOCK_TOLERANCE:
        return now
    return claim


def _insert(
    conn: Connection[TupleRow],
    start: LocalStart,
    card: Card,
    tariff: TariffVersion,
    agreement: AgreementVersion,
    *,
    state: SessionState,
    begun_at: datetime,
) -> None:
    conn.execute(
        """
        INSERT INTO charging_session (session_id, pile_id, port_no, site_id, state, prepaid_fen, tariff_version_id,
                                      agreement_version_id, limit_s, limit_dwh, created_at, started_at, source,
                                      card_id)
        VALUES (%(session_id)s, %(pile_id)s, %(port_no)s, %(site_id)s, %(state)s, 0, %(tariff_version_id)s,
                %(agreement_version_id)s, %(limit_s)s, %(limit_dwh)s, %(begun_at)s, %(begun_at)s, 'card',
                %(card_id)s)
        """,
        {
            "session_id": start.session_id,
            "pile_id": start.pile_id,
            "port_no": start.port_no,
            "site_id": card.site_id,
            "state": state,
            "tariff_version_id": tariff.tariff_version_id,
            "agreement_version_id": agreement.agreement_version_id,
            "limit_s": start.limit_s,
            "limit_dwh": start.limit_dwh,
            "begun_at": begun_at,
            "card_id": card.card_id,
        },
    )


@dataclass(frozen=True)
class _Past:
    """What was refused before: this very start, so many of its sort lately, and whether one beyond the limit."""

    known: bool
    lately: int
    over_limit: bool

    @property
    def is_full(self) -> bool:
        return self.lately >= MOST_REFUSED


def _past(conn: Connection[TupleRow], start: LocalStart, *, now: datetime) -> _Past:
    with conn.cursor(row_factory=class_row(_Past)) as cursor:
        past = cursor.execute(
            """
            SELECT coalesce(bool_or(session_id = %(session_id)s), false) AS known,
                   count(*) FILTER (WHERE refused_at > %(since)s AND NOT over_limit) AS lately,
                   coalesce(bool_or(refused_at > %(since)s AND over_limit), false) AS over_limit
              FROM refused_local_start WHERE pile_id = %(pile_id)s AND by_card = %(by_card)s
            """,
            {
                "pile_id": start.pile_id,
                "by_card": start.by_card,
                "session_id": start.session_id,
                "since": now - REFUSED_WITHIN,
            },
        ).fetchone()
    assert past is not None, "an aggregate has a row"
    return past


def _refuse(conn: Connection[TupleRow], start: LocalStart, why: str, *, now: datetime) -> bool:
    """Write a refusal down unless it was before, or is one more beyond the limit. Always False."""
    past = _past(conn, start, now=now)
    if past.known or (past.is_full and past.over_limit):
        return False
    _remember(conn, start, over_limit=past.is_full, now=now)
    events.record(
        conn,
        pile_id=start.pile_id,
        kind=EventKind.LOCAL_START_ORPHAN,
        now=now,
        detail={
            "session_id": str(start.session_id),
            "port_no": start.port_no,
            "source": start.source,
            "why": "too_many_refused" if past.is_full else why,
        },
    )
    return False


def _remember(conn: Connection[TupleRow], start: LocalStart, *, over_limit: bool, now: datetime) -> None:
    sort = {"pile_id": start.pile_id, "by_card": start.by_card}
    conn.execute(
        """
        INSERT INTO refused_local_start (pile_id, session_id, by_card, refused_at, over_limit)
        VALUES (%(pile_id)s, %(session_id)s, %(by_card)s, %(now)s, %(over_limit)s)
        """,
        {**sort, "session_id": start.session_id, "now": now, "over_limit": over_limit},
    )
    conn.execute(
        """
        DELETE FROM refused_local_start
         WHERE pile_id = %(pile_id)s AND by_card = %(by_card)s
           AND refused_at < (SELECT refused_at FROM refused_local_start
                              WHERE pile_id = %(pile_id)s AND by_card = %(by_card)s
                              ORDER BY refused_at DESC OFFSET %(most)s LIMIT 1)
        """,
        {**sort, "most": MOST_REMEMBERED - 1},
    )
