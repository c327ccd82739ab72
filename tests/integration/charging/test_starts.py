"""From the order to the first watt, and everything that can go wrong on the way."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from billing import ledger, refunds
from charging import commands, ports, sessions, starts
from charging.commands import Command, CommandKind
from charging.errors import AmountBuysNothing, AmountRefused, PileUnknown, PortUnavailable, PortUnknown
from charging.ports import PortReport, PortState
from charging.session_states import SessionState
from charging.waits import Waits
from tests.integration.charging.stand import PILE, Stand

WAITS = Waits()


def test_a_payment_starts_the_port_with_limits_it_can_afford(stand: Stand) -> None:
    session = stand.paid(amount_fen=300)
    [command] = stand.due()
    assert session.state is SessionState.STARTING
    assert (command.kind, command.session_id) == (CommandKind.START, session.session_id)
    assert command.body["limit_dwh"] == session.limit_dwh > 10_000
    assert command.expires_at == stand.now + WAITS.start


def test_the_same_payment_told_twice_starts_once(stand: Stand) -> None:
    session = stand.order()
    first, second = stand.pay(session.session_id), stand.pay(session.session_id)
    assert (first.first, second.first) == (True, False)
    assert len(stand.due()) == 1


def test_a_command_comes_due_again_until_it_is_answered(stand: Stand) -> None:
    stand.paid()
    [first] = stand.due()
    assert stand.due() == []
    stand.now += WAITS.resend
    [again] = stand.due()
    assert (again.command_id, again.send_count) == (first.command_id, 1)
    assert answer(stand, first) is not None
    assert answer(stand, first) is None
    stand.now += WAITS.resend
    assert stand.due() == []


def answer(stand: Stand, command: Command) -> Command | None:
    return commands.answered(
        stand.conn,
        command_id=command.command_id,
        pile_id=PILE,
        done=True,
        result={"cause": "ok"},
        now=stand.now,
    )


def test_another_pile_cannot_answer_a_command(stand: Stand) -> None:
    stand.paid()
    [command] = stand.due()
    answered = commands.answered(
        stand.conn, command_id=command.command_id, pile_id="YQ-02", done=False, result={}, now=stand.now
    )
    assert answered is None


@pytest.mark.parametrize(
    ("amount_fen", "error"),
    [(9, AmountRefused), (10_001, AmountRefused), (0, AmountRefused), (-5, AmountRefused)],
)
def test_an_amount_out_of_bounds_is_refused(stand: Stand, amount_fen: int, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"prepayment of {amount_fen} fen is outside 10 to 10000 fen"):
        stand.order(amount_fen=amount_fen)


def test_an_amount_that_buys_nothing_is_refused_before_it_is_paid(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts, "LEAST_PREPAID_FEN", 1)
    with pytest.raises(AmountBuysNothing, match="1 fen buys no energy"):
        stand.order(amount_fen=1)


def test_an_unknown_pile_or_port_is_named(stand: Stand) -> None:
    with pytest.raises(PortUnknown, match="has no port 11"):
        stand.order(port_no=11)
    with pytest.raises(PileUnknown, match="'ZZ-99'"):
        starts.order(
            stand.conn,
            pile_id="ZZ-99",
            port_no=1,
            amount_fen=100,
            rail="wechat_pay",
            waits=WAITS,
            now=stand.now,
        )


def report(stand: Stand, state: PortState, *, power_dw: int = 0, port_no: int = 1) -> None:
    ports.reported(
        stand.conn,
        [
            PortReport(
                pile_id=PILE,
                port_no=port_no,
                state=state,
                fault=None,
                plugged=True,
                power_dw=power_dw,
                boot=1,
                seq=5,
            )
        ],
        now=stand.now,
    )


def go_offline(stand: Stand) -> None:
    stand.conn.execute("UPDATE pile SET online = false")


def be_revoked(stand: Stand) -> None:
    stand.conn.execute("UPDATE pile SET state = 'revoked'")


def break_port(stand: Stand) -> None:
    report(stand, PortState.FAULT)


def occupy_port(stand: Stand) -> None:
    report(stand, PortState.CHARGING)


def draw_everything(stand: Stand) -> None:
    report(stand, PortState.CHARGING, power_dw=58_000, port_no=2)


OBSTACLES = [
    (go_offline, "pile_offline"),
    (be_revoked, "pile_out_of_service"),
    (break_port, "port_fault"),
    (occupy_port, "port_busy"),
    (draw_everything, "pile_over_power"),
]


@pytest.mark.parametrize(("hinder", "cause"), OBSTACLES)
def test_nobody_pays_for_a_port_that_cannot_start(
    stand: Stand, hinder: Callable[[Stand], None], cause: str
) -> None:
    hinder(stand)
    with pytest.raises(PortUnavailable, match=cause):
        stand.order()


@pytest.mark.parametrize(("hinder", "cause"), OBSTACLES)
def test_what_happens_between_order_and_payment_gives_everything_back(
    stand: Stand, hinder: Callable[[Stand], None], cause: str
) -> None:
    session = stand.order(amount_fen=300)
    hinder(stand)
    stand.pay(session.session_id)
    assert_all_back(stand, session.session_id, cause)


def assert_all_back(stand: Stand, session_id: UUID, failure: str) -> None:
    session = sessions.get(stand.conn, session_id)
    assert (session.state, session.failure) == (SessionState.FAILED, failure)
    [refund] = refunds.of_session(stand.conn, session.session_id)
    assert (refund.amount_fen, refund.cause) == (session.prepaid_fen, "start_failed")
    assert ledger.audit(stand.conn).clean


def test_of_two_riders_who_pay_for_one_port_the_second_gets_everything_back(stand: Stand) -> None:
    first, second = stand.order(), stand.order()
    stand.pay(first.session_id)
    stand.pay(second.session_id)
    assert sessions.get(stand.conn, first.session_id).state is SessionState.STARTING
    assert_all_back(stand, second.session_id, "port_busy")


def test_a_refusal_by_the_pile_gives_everything_back_with_its_cause(stand: Stand) -> None:
    session = stand.paid()
    [command] = stand.due()
    for _ in range(2):
        starts.refused(
            stand.conn,
            pile_id=PILE,
            session_id=session.session_id,
            command_id=command.command_id,
            cause="relay_welded",
            now=stand.now,
        )
    assert_all_back(stand, session.session_id, "relay_welded")


def test_a_start_refused_under_another_session_s_name_gives_its_own_rider_everything_back(
    stand: Stand,
) -> None:
    other = stand.charging(port_no=2)
    session = stand.paid()
    [command] = stand.due()
    starts.refused(
        stand.conn,
        pile_id=PILE,
        session_id=other.session_id,
        command_id=command.command_id,
        cause="relay_welded",
        now=stand.now,
    )
    assert_all_back(stand, session.session_id, "relay_welded")
    assert sessions.get(stand.conn, other.session_id).state is SessionState.CHARGING


def test_a_start_accepted_under_another_session_s_name_waits_for_its_own_plug(stand: Stand) -> None:
    session = stand.paid()
    [command] = stand.due()
    starts.accepted(
        stand.conn,
        pile_id=PILE,
        session_id=uuid4(),
        command_id=command.command_id,
        plugged=False,
        now=stand.now,
    )
    assert sessions.get(stand.conn, session.session_id).state is SessionState.PENDING_PLUG


def test_a_start_s_answer_answers_no_stop(stand: Stand) -> None:
    session = stand.charging()
    sessions.stop(stand.conn, session.session_id, cause="user_stop_app", wait=WAITS.stop, now=stand.now)
    [command] = stand.due()
    starts.accepted(
        stand.conn,
        pile_id=PILE,
        session_id=session.session_id,
        command_id=command.command_id,
        plugged=True,
        now=stand.now,
    )
    stand.now += WAITS.resend
    assert [again.command_id for again in stand.due()] == [command.command_id]


def test_a_silent_pile_gives_everything_back_and_is_told_to_stop(stand: Stand) -> None:
    session = stand.paid()
    stand.due()
    stand.now += WAITS.start
    stand.sweep()
    assert_all_back(stand, session.session_id, "no_answer")
    [command] = stand.due()
    assert (command.kind, command.session_id) == (CommandKind.STOP, session.session_id)


def test_started_counts_as_the_answer_when_the_answer_was_lost(stand: Stand) -> None:
    session = stand.paid()
    [command] = stand.due()
    starts.started(
        stand.conn,
        pile_id=PILE,
        session_id=session.session_id,
        command_id=command.command_id,
        claimed_at=stand.now,
        now=stand.now,
    )
    stand.now += WAITS.start
    stand.sweep()
    assert sessions.get(stand.conn, session.session_id).state is SessionState.CHARGING


def test_stopping_twice_sends_one_stop(stand: Stand) -> None:
    session = stand.charging()
    for _ in range(2):
        stopped = sessions.stop(
            stand.conn, session.session_id, cause="user_stop_app", wait=WAITS.stop, now=stand.now
        )
        assert stopped.state is SessionState.STOPPING
    assert [command.kind for command in stand.due()] == [CommandKind.STOP]


def test_a_stop_the_pile_refused_or_never_heard_can_be_asked_again(stand: Stand) -> None:
    session = stand.charging()

    def stop() -> list[Command]:
        sessions.stop(stand.conn, session.session_id, cause="user_stop_app", wait=WAITS.stop, now=stand.now)
        return stand.due()

    [first] = stop()
    refused = commands.answered(
        stand.conn, command_id=first.command_id, pile_id=PILE, done=False, result={}, now=stand.now
    )
    assert refused is not None
    [second] = stop()
    assert stop() == []
    stand.now = second.expires_at
    commands.expire(stand.conn, limit=5, now=stand.now)
    [third] = stop()
    assert len({first.command_id, second.command_id, third.command_id}) == 3
    assert sessions.get(stand.conn, session.session_id).state is SessionState.STOPPING


def test_a_session_that_must_have_ended_waits_for_its_settlement_and_frees_the_port(stand: Stand) -> None:
    session = stand.charging()
    stand.now += timedelta(seconds=session.limit_s) + WAITS.settlement + timedelta(seconds=1)
    stand.sweep()
    assert sessions.get(stand.conn, session.session_id).state is SessionState.AWAITING_SETTLEMENT


@pytest.mark.parametrize("pile_answers", [True, False])
def test_a_stop_before_power_flows_never_keeps_the_money(stand: Stand, pile_answers: bool) -> None:
    session = stand.paid()
    [command] = stand.due()
    sessions.stop(stand.conn, session.session_id, cause="user_stop_app", wait=WAITS.stop, now=stand.now)
    if pile_answers:
        starts.refused(
            stand.conn,
            pile_id=PILE,
            session_id=session.session_id,
            command_id=command.command_id,
            cause="port_busy",
            now=stand.now,
        )
    else:
        stand.now += WAITS.start
        stand.sweep()
    assert_all_back(stand, session.session_id, "port_busy" if pile_answers else "no_answer")


def test_starts_under_way_count_against_the_pile_s_power(stand: Stand) -> None:
    report(stand, PortState.CHARGING, power_dw=52_000, port_no=2)
    stand.paid(port_no=3)
    stand.paid(port_no=4)
    with pytest.raises(PortUnavailable, match="pile_over_power"):
        stand.order(port_no=5)
