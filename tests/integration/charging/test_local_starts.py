"""A card begins a session at its pile: known cards get a statement and no bill, unknown ones are refused."""

from datetime import timedelta

import pytest

from charging import cards, events, locks, sessions
from charging.cards import CardUse
from charging.errors import CardExists, SiteUnknown
from charging.events import EventKind
from charging.local_starts import MOST_REFUSED, MOST_REMEMBERED, REFUSED_WITHIN
from charging.locks import LockCause
from charging.session_states import SessionSource, SessionState
from charging.settlements import Outcome
from tests.integration.charging.code_stand import books_balance, settlement_as_sent, tell
from tests.integration.charging.stand import PILE, Stand

NUMBER = "04A1 B2C3"
SITE = "yuquan"


@pytest.fixture
def card(stand: Stand) -> cards.Card:
    return cards.register(stand.conn, site_id=SITE, number=NUMBER, label="物业 17", now=stand.now)


def test_a_number_is_kept_as_a_hash_and_registered_once(stand: Stand, card: cards.Card) -> None:
    with pytest.raises(CardExists) as refused:
        cards.register(stand.conn, site_id=SITE, number="04a1b2c3", label="twice", now=stand.now)
    assert refused.value.card_id == card.card_id
    assert NUMBER.replace(" ", "") not in str(refused.value)
    rows = stand.conn.execute("SELECT card::text FROM card").fetchall()
    assert all("04A1" not in row[0].upper() for row in rows)
    with pytest.raises(SiteUnknown):
        cards.register(stand.conn, site_id="nowhere", number="1", label="x", now=stand.now)


def test_a_known_card_makes_a_session_that_is_charged_nothing(stand: Stand, card: cards.Card) -> None:
    session_id, accepted = tell(stand, source="card", number="04-a1-b2-c3")
    session = sessions.get(stand.conn, session_id)
    assert accepted
    assert (session.state, session.source, session.card_id) == (
        SessionState.CHARGING,
        SessionSource.CARD,
        card.card_id,
    )
    assert session.prepaid_fen == 0
    stand.settle(stand.settlement(session))
    assert sessions.get(stand.conn, session_id).state is SessionState.CLOSED
    [rated] = cards.statement(
        stand.conn, card.card_id, since=stand.now, until=stand.now + timedelta(days=1), limit=10
    )
    assert rated.session_id == session_id
    assert rated.energy_dwh == 1800
    assert rated.rated_fen == sum(rated.fees_fen.values()) > 0
    assert cards.uses(stand.conn, [card.card_id]) == {
        card.card_id: CardUse(card.card_id, 1, 1800, rated.rated_fen)
    }
    assert stand.count("journal_entry") == 0
    assert books_balance(stand)


def test_telling_a_card_start_again_makes_no_second_session(stand: Stand, card: cards.Card) -> None:
    del card
    session_id, _ = tell(stand, source="card", number=NUMBER)
    assert tell(stand, session_id, source="card", number=NUMBER) == (session_id, True)
    assert stand.count("charging_session") == 1


@pytest.mark.parametrize(("number", "why"), [("FFFF", "card_unknown"), (NUMBER, "card_blocked")])
def test_an_unknown_or_blocked_card_is_refused_and_its_settlement_kept(
    stand: Stand, card: cards.Card, number: str, why: str
) -> None:
    cards.change(stand.conn, card.card_id, active=False, label=None, now=stand.now)
    session_id, accepted = tell(stand, source="card", number=number)
    assert not accepted
    [orphan] = [
        event
        for event in events.newest(stand.conn, PILE, limit=20)
        if event.kind == EventKind.LOCAL_START_ORPHAN
    ]
    assert orphan.detail["why"] == why
    assert number not in str(orphan.detail)
    outcome = stand.settle(settlement_as_sent(session_id))
    assert outcome is Outcome.UNKNOWN_SESSION_KEPT
    assert stand.count("charging_session") == 0


@pytest.mark.parametrize(("begun_min", "accepted"), [(-30, True), (30, False)])
def test_a_card_starts_nothing_on_a_port_that_was_locked_before(
    stand: Stand, card: cards.Card, begun_min: int, accepted: bool
) -> None:
    del card
    locks.put_on(stand.conn, pile_id=PILE, port_no=1, cause=LockCause.ALARM, kind="leakage", now=stand.now)
    stand.now += timedelta(hours=1)
    session_id, taken = tell(
        stand, source="card", number=NUMBER, begun=timedelta(hours=-1, minutes=begun_min)
    )
    assert taken is accepted
    known = sessions.lock(stand.conn, session_id)
    assert (known is not None) is accepted


def test_a_settlement_before_the_card_start_is_found_again(stand: Stand, card: cards.Card) -> None:
    session_id, _ = tell(stand, source="coin")
    stand.now += timedelta(hours=3)
    assert stand.settle(settlement_as_sent(session_id)) is Outcome.UNKNOWN_SESSION_KEPT
    begun = timedelta(hours=-2, minutes=-40)
    assert tell(stand, session_id, source="card", number=NUMBER, begun=begun)[1]
    session = sessions.get(stand.conn, session_id)
    assert (session.state, session.energy_dwh, session.duration_s) == (SessionState.CLOSED, 10_000, 3_600)
    use = cards.uses(stand.conn, [card.card_id])[card.card_id]
    assert (use.sessions, use.energy_dwh) == (1, 10_000)
    assert use.rated_fen > 0
    assert stand.settle(settlement_as_sent(session_id)) is Outcome.DUPLICATE


def test_a_card_that_began_later_shows_that_the_charge_before_it_has_ended(
    stand: Stand, card: cards.Card
) -> None:
    del card
    before = stand.charging()
    stand.now += timedelta(hours=1)
    session_id, accepted = tell(stand, source="card", number=NUMBER)
    assert accepted
    assert sessions.get(stand.conn, before.session_id).state is SessionState.AWAITING_SETTLEMENT
    assert sessions.get(stand.conn, session_id).state is SessionState.CHARGING
    stand.settle(stand.settlement(before))
    assert books_balance(stand)


def test_a_card_start_heard_late_waits_for_its_settlement_beside_the_newer_charge(
    stand: Stand, card: cards.Card
) -> None:
    del card
    newer = stand.charging()
    session_id, accepted = tell(stand, source="card", number=NUMBER, begun=timedelta(hours=-3))
    assert accepted
    assert sessions.get(stand.conn, newer.session_id).state is SessionState.CHARGING
    assert sessions.get(stand.conn, session_id).state is SessionState.AWAITING_SETTLEMENT


def test_coins_and_buttons_are_refused(stand: Stand) -> None:
    assert [tell(stand, source=source)[1] for source in ("coin", "button", "free", "code", "card")] == [
        False
    ] * 5


def test_a_card_of_another_site_is_unknown_here(stand: Stand) -> None:
    cards.register(stand.conn, site_id="wutong", number=NUMBER, label="elsewhere", now=stand.now)
    assert tell(stand, source="card", number=NUMBER)[1] is False


def _reasons(stand: Stand) -> list[str]:
    return [
        event.detail["why"]
        for event in reversed(events.newest(stand.conn, PILE, limit=100))
        if event.kind == EventKind.LOCAL_START_ORPHAN
    ]


def test_a_pile_that_tries_many_cards_is_refused_unread_for_a_while(stand: Stand, card: cards.Card) -> None:
    del card
    for n in range(MOST_REFUSED):
        assert not tell(stand, source="card", number=f"FFFF {n}")[1]
    for number in ("EEEE", NUMBER, "DDDD"):
        assert not tell(stand, source="card", number=number)[1]
    assert _reasons(stand) == ["card_unknown"] * MOST_REFUSED + ["too_many_refused"]
    assert stand.count("refused_local_start") == MOST_REFUSED + 1
    stand.now += REFUSED_WITHIN
    assert tell(stand, source="card", number=NUMBER)[1]
    assert not tell(stand, source="card", number="CCCC")[1]
    assert _reasons(stand)[MOST_REFUSED + 1 :] == ["card_unknown"]


def test_a_refused_card_start_told_again_stays_refused_and_is_written_down_once(stand: Stand) -> None:
    session_id, _ = tell(stand, source="card", number=NUMBER)
    cards.register(stand.conn, site_id=SITE, number=NUMBER, label="too late", now=stand.now)
    assert tell(stand, session_id, source="card", number=NUMBER) == (session_id, False)
    assert _reasons(stand) == ["card_unknown"]


def test_only_the_newest_refused_starts_of_a_pile_are_remembered(stand: Stand) -> None:
    for _ in range(MOST_REMEMBERED + 5):
        tell(stand, source="coin")
        stand.now += REFUSED_WITHIN / 5
    assert stand.count("refused_local_start") == MOST_REMEMBERED
