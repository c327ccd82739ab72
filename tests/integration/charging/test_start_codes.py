"""A port nobody can reach is started by the code its rider typed in, and money is safe whatever becomes of the code."""

from datetime import timedelta

import pytest

from billing import charges, refunds
from charging import events, sessions, start_codes, ways_to_start
from charging.errors import PortUnavailable
from charging.events import EventKind
from charging.session_states import SessionSource, SessionState, StartFailure
from protocol import start_code
from tests.integration.charging import code_stand
from tests.integration.charging.code_stand import DESK, SECRET, balance_fen, beat, books_balance, tell
from tests.integration.charging.stand import PILE, WAITS, Stand

DAY = timedelta(days=1)


def test_a_paid_rider_gets_the_code_that_the_pile_would_take(stand: Stand) -> None:
    session = code_stand.paid(stand)
    code = start_codes.of_session(stand.conn, session.session_id)
    assert (session.state, session.source) == (SessionState.AWAITING_CODE, SessionSource.CODE)
    assert code is not None
    taken = start_code.read(
        SECRET, epoch=1, port=1, digits=code.digits, at_s=int(stand.now.timestamp()) + 600
    )
    assert taken is not None
    assert (taken.session_id, taken.limit_dwh) == (session.session_id, session.limit_dwh)
    assert session.limit_dwh % 100 == 0
    assert stand.due() == []


def test_a_code_is_taken_until_its_end_and_not_after(stand: Stand) -> None:
    session = code_stand.paid(stand)
    code = start_codes.of_session(stand.conn, session.session_id)
    assert code is not None
    end_s = int(code.valid_until.timestamp())
    assert start_code.read(SECRET, epoch=1, port=1, digits=code.digits, at_s=end_s - 1) is not None
    assert start_code.read(SECRET, epoch=1, port=1, digits=code.digits, at_s=end_s) is None


def test_a_pile_that_is_back_before_the_payment_is_started_as_usual(stand: Stand) -> None:
    code_stand.lose_link(stand)
    session = code_stand.order(stand)
    beat(stand, unsent=0)
    stand.pay(session.session_id)
    assert sessions.get(stand.conn, session.session_id).state is SessionState.STARTING
    assert [command.session_id for command in stand.due()] == [session.session_id]


def test_without_codes_an_offline_pile_is_refused(stand: Stand) -> None:
    code_stand.lose_link(stand)
    with pytest.raises(PortUnavailable, match="pile_offline"):
        stand.order()


def test_a_pile_not_heard_of_for_a_day_or_that_takes_no_codes_is_not_sold(stand: Stand) -> None:
    code_stand.lose_link(stand)
    late = stand.now + start_codes.SEEN_WITHIN + timedelta(minutes=1)
    way = ways_to_start.of_port(stand.conn, pile_id=PILE, port_no=1, codes_sold=True, now=late)
    assert way.obstacle is StartFailure.PILE_OFFLINE
    stand.conn.execute(
        """
        INSERT INTO pile_care (pile_id, config_settings) VALUES (%s, '{"code_mode": 0}')
        ON CONFLICT (pile_id) DO UPDATE SET config_settings = EXCLUDED.config_settings
        """,
        (PILE,),
    )
    way = ways_to_start.of_port(stand.conn, pile_id=PILE, port_no=1, codes_sold=True, now=stand.now)
    assert way.obstacle is StartFailure.PILE_OFFLINE


def test_a_port_known_to_be_faulty_is_not_sold_by_code(stand: Stand) -> None:
    code_stand.port_fault(stand, 1)
    code_stand.lose_link(stand)
    way = ways_to_start.of_port(stand.conn, pile_id=PILE, port_no=1, codes_sold=True, now=stand.now)
    assert (way.obstacle, way.by_code) == (StartFailure.PORT_FAULT, False)


def test_one_port_has_one_open_code(stand: Stand) -> None:
    first = code_stand.paid(stand)
    with pytest.raises(PortUnavailable, match="port_busy"):
        code_stand.order(stand)
    start_codes.give_up(stand.conn, first.session_id, now=stand.now)
    second = code_stand.order(stand)
    assert second.session_id != first.session_id


def test_orders_alike_get_codes_of_their_own(stand: Stand) -> None:
    code_stand.lose_link(stand)
    orders = [code_stand.order(stand) for _ in range(3)]
    assert len({order.session_id for order in orders}) == 3
    assert [orders[0].limit_dwh - order.limit_dwh for order in orders] == [0, 100, 200]


def test_a_payment_that_comes_when_the_code_is_nearly_over_goes_back(stand: Stand) -> None:
    code_stand.lose_link(stand)
    session = code_stand.order(stand)
    stand.now += timedelta(minutes=29)
    stand.pay(session.session_id)
    assert sessions.get(stand.conn, session.session_id).state is SessionState.FAILED
    assert balance_fen(stand, "rider:refund_payable") == 300


def test_the_used_code_charges_and_settles_like_any_session(stand: Stand) -> None:
    session = code_stand.paid(stand)
    stand.now += timedelta(minutes=20)
    _, accepted = tell(stand, session.session_id, begun=timedelta(minutes=-15))
    begun = sessions.get(stand.conn, session.session_id)
    assert accepted
    assert (begun.state, begun.started_at) == (SessionState.CHARGING, stand.now - timedelta(minutes=15))
    stand.settle(stand.settlement(begun))
    charge = charges.get(stand.conn, session.session_id)
    assert charge is not None
    assert charge.charged_fen + charge.refund_fen == 300
    assert books_balance(stand)


def test_telling_a_start_again_changes_nothing(stand: Stand) -> None:
    session = code_stand.paid(stand)
    tell(stand, session.session_id)
    before = sessions.transitions(stand.conn, session.session_id)
    assert tell(stand, session.session_id) == (session.session_id, True)
    assert sessions.transitions(stand.conn, session.session_id) == before


def test_a_settlement_before_the_start_is_charged_and_the_start_still_taken(stand: Stand) -> None:
    session = code_stand.paid(stand)
    stand.settle(stand.settlement(session))
    settled = sessions.get(stand.conn, session.session_id)
    assert settled.state in (SessionState.SETTLED, SessionState.CLOSED)
    assert tell(stand, session.session_id) == (session.session_id, True)
    assert sessions.get(stand.conn, session.session_id) == settled
    assert books_balance(stand)


def test_an_order_nobody_paid_is_refused_at_the_pile(stand: Stand) -> None:
    code_stand.lose_link(stand)
    session = code_stand.order(stand)
    assert tell(stand, session.session_id) == (session.session_id, False)
    assert tell(stand, session.session_id) == (session.session_id, False)
    orphans = [
        event
        for event in events.newest(stand.conn, PILE, limit=20)
        if event.kind == EventKind.LOCAL_START_ORPHAN
    ]
    assert [orphan.detail["why"] for orphan in orphans] == ["created"]


def test_a_code_given_up_is_refunded_once_the_pile_has_nothing_to_tell(stand: Stand) -> None:
    session = code_stand.paid(stand)
    code = start_codes.of_session(stand.conn, session.session_id)
    assert code is not None
    start_codes.give_up(stand.conn, session.session_id, now=stand.now)
    stand.sweep()
    assert sessions.get(stand.conn, session.session_id).state is SessionState.CODE_LAPSED
    stand.now = code.valid_until
    beat(stand, unsent=1)
    stand.sweep()
    assert refunds.of_session(stand.conn, session.session_id) == []
    stand.now += timedelta(minutes=1)
    beat(stand, unsent=0)
    stand.sweep()
    [refund] = refunds.of_session(stand.conn, session.session_id)
    failed = sessions.get(stand.conn, session.session_id)
    assert (refund.amount_fen, failed.state, failed.failure) == (300, SessionState.FAILED, "code_unused")
    assert books_balance(stand)


def test_a_code_given_up_is_not_refunded_while_it_can_still_be_typed(stand: Stand) -> None:
    session = code_stand.paid(stand)
    code = start_codes.of_session(stand.conn, session.session_id)
    assert code is not None
    start_codes.give_up(stand.conn, session.session_id, now=stand.now)
    stand.now = code.valid_until - timedelta(seconds=1)
    beat(stand, unsent=0)
    stand.now = code.valid_until + timedelta(minutes=5)
    stand.sweep()
    assert refunds.of_session(stand.conn, session.session_id) == []
    assert tell(stand, session.session_id, begun=timedelta(minutes=-6))[1]


@pytest.mark.parametrize("given_up", [True, False])
def test_a_silent_pile_is_waited_for_and_then_the_money_goes_back(stand: Stand, given_up: bool) -> None:
    session = code_stand.paid(stand)
    code = start_codes.of_session(stand.conn, session.session_id)
    assert code is not None
    if given_up:
        start_codes.give_up(stand.conn, session.session_id, now=stand.now)
    stand.now = code.valid_until + DAY - timedelta(seconds=1)
    stand.sweep()
    assert sessions.get(stand.conn, session.session_id).state is SessionState.CODE_LAPSED
    stand.now += timedelta(seconds=2)
    stand.sweep()
    assert sessions.get(stand.conn, session.session_id).state is SessionState.FAILED
    assert balance_fen(stand, "rider:prepayment") == 0


def test_a_code_used_before_it_was_given_up_is_charged_when_the_pile_says_so(stand: Stand) -> None:
    session = code_stand.paid(stand)
    start_codes.give_up(stand.conn, session.session_id, now=stand.now)
    stand.now += timedelta(minutes=30)
    assert tell(stand, session.session_id, begun=timedelta(minutes=-29))[1]
    begun = sessions.get(stand.conn, session.session_id)
    assert begun.state is SessionState.CHARGING
    stand.settle(stand.settlement(begun))
    assert charges.get(stand.conn, session.session_id) is not None
    assert books_balance(stand)


def test_a_lapsed_code_that_was_used_makes_way_for_whoever_has_the_port_now(stand: Stand) -> None:
    first = code_stand.paid(stand)
    start_codes.give_up(stand.conn, first.session_id, now=stand.now)
    second = code_stand.order(stand)
    stand.pay(second.session_id)
    assert tell(stand, first.session_id)[1]
    states = [sessions.get(stand.conn, each.session_id).state for each in (first, second)]
    assert states == [SessionState.AWAITING_SETTLEMENT, SessionState.AWAITING_CODE]
    stand.settle(stand.settlement(first))
    assert books_balance(stand)


def test_what_the_pile_tells_after_the_refund_is_kept_and_moves_no_money(stand: Stand) -> None:
    session = code_stand.paid(stand)
    start_codes.give_up(stand.conn, session.session_id, now=stand.now)
    stand.now += 2 * DAY
    stand.sweep()
    assert tell(stand, session.session_id)[1] is False
    stand.settle(stand.settlement(session))
    kinds = {event.kind for event in events.newest(stand.conn, PILE, limit=20)}
    assert {EventKind.LOCAL_START_ORPHAN, EventKind.SETTLEMENT_TOO_LATE} <= kinds
    assert stand.count("settlement") == 1
    assert [refund.amount_fen for refund in refunds.of_session(stand.conn, session.session_id)] == [300]
    assert books_balance(stand)


def test_codes_are_made_with_the_newest_secret_the_pile_has_used(stand: Stand) -> None:
    wrapped = DESK.vault.wrap(b"n" * 32, pile_id=PILE, epoch=2)
    stand.conn.execute(
        "INSERT INTO pile_key (pile_id, epoch, wrapped_secret, created_at) VALUES (%s, 2, %s, %s)",
        (PILE, wrapped, stand.now),
    )
    session = code_stand.paid(stand)
    code = start_codes.of_session(stand.conn, session.session_id)
    assert code is not None
    at_s = int(stand.now.timestamp())
    assert start_code.read(SECRET, epoch=1, port=1, digits=code.digits, at_s=at_s) is not None
    stand.conn.execute("UPDATE pile_key SET first_used_at = %s WHERE epoch = 2", (stand.now,))
    other = code_stand.order(stand, port_no=2)
    code = start_codes.of_session(stand.conn, other.session_id)
    assert code is not None
    assert start_code.read(b"n" * 32, epoch=2, port=2, digits=code.digits, at_s=at_s) is not None


def test_stopping_a_session_that_waits_for_its_code_sends_nothing(stand: Stand) -> None:
    session = code_stand.paid(stand)
    sessions.stop(stand.conn, session.session_id, cause="user_stop_app", wait=WAITS.stop, now=stand.now)
    assert stand.due() == []
    assert sessions.get(stand.conn, session.session_id).state is SessionState.AWAITING_CODE
