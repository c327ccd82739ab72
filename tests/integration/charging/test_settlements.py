"""A settlement becomes money once, whatever comes twice, late, early or wrong."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from psycopg_pool import ConnectionPool

from billing import charges, ledger, refunds
from charging import events, sessions, settlements, starts, timers
from charging.errors import SettlementInconsistent
from charging.events import EventKind
from charging.session_states import SessionState
from charging.sessions import ChargingSession
from charging.settlements import Outcome
from database.pool import Connection
from tests.integration.charging.stand import PILE, WAITS, Stand, meter_for


def kinds(stand: Stand) -> set[EventKind]:
    return {event.kind for event in events.newest(stand.conn, PILE, limit=20)}


def test_a_settlement_is_rated_split_and_refunded_to_the_fen(stand: Stand) -> None:
    session = stand.charging(amount_fen=300)
    assert stand.settle(stand.settlement(session)) is Outcome.STORED
    charge = charges.get(stand.conn, session.session_id)
    assert charge is not None
    # 180 Wh from 12:10 to 13:10 at 0.8203 + 0.45 yuan a kWh: 14.7654 and 8.1 fen.
    assert {fee.fee_kind: fee.charged_fen for fee in charge.fees} == {"electricity": 15, "service": 8}
    assert charge.prepaid_fen == charge.charged_fen + charge.refund_fen == 300
    shares = {party: fen for fee in charge.fees for party, fen in fee.shares_fen.items()}
    assert sum(fen for fee in charge.fees for fen in fee.shares_fen.values()) == 23
    assert set(shares) == {"yuquan-wuye", "lvdian", "laowang", "pileway"}
    settled = sessions.get(stand.conn, session.session_id)
    assert (settled.state, settled.energy_dwh, settled.stop_reason) == (SessionState.SETTLED, 1800, "full")
    assert ledger.audit(stand.conn).clean


def test_a_repeated_settlement_charges_once(stand: Stand) -> None:
    session = stand.charging()
    settlement = stand.settlement(session)
    assert [stand.settle(settlement) for _ in range(3)] == [
        Outcome.STORED,
        Outcome.DUPLICATE,
        Outcome.DUPLICATE,
    ]
    assert (stand.count("session_charge"), stand.count("refund")) == (1, 1)
    assert EventKind.SETTLEMENT_CONFLICT not in kinds(stand)


def test_settlements_arriving_at_once_charge_once(stand: Stand, pool: ConnectionPool[Connection]) -> None:
    settlement = stand.settlement(stand.charging())
    stand.conn.commit()

    def settle(_: int) -> Outcome:
        with pool.connection() as own:
            return settlements.settle(own, settlement, now=stand.now + timedelta(hours=1))

    with ThreadPoolExecutor(6) as threads:
        outcomes = sorted(threads.map(settle, range(6)))
    assert outcomes == sorted([Outcome.STORED] + [Outcome.DUPLICATE] * 5)
    assert (stand.count("session_charge"), stand.count("refund")) == (1, 1)


def test_another_settlement_of_the_same_session_is_told_and_changes_nothing(stand: Stand) -> None:
    session = stand.charging()
    stand.settle(stand.settlement(session))
    assert stand.settle(stand.settlement(session, slots=((1200, 9999),))) is Outcome.DUPLICATE
    assert sessions.get(stand.conn, session.session_id).energy_dwh == 1800
    assert EventKind.SETTLEMENT_CONFLICT in kinds(stand)


def test_a_settlement_that_overtakes_every_other_message_still_charges(stand: Stand) -> None:
    session = stand.paid()
    stand.settle(stand.settlement(session))
    starts.started(
        stand.conn,
        pile_id=PILE,
        session_id=session.session_id,
        command_id=uuid4(),
        claimed_at=stand.now,
        now=stand.now,
    )
    assert sessions.get(stand.conn, session.session_id).state is SessionState.SETTLED


def test_an_unknown_session_is_kept_and_told(stand: Stand) -> None:
    session = replace(stand.charging(), session_id=uuid4())
    assert stand.settle(stand.settlement(session)) is Outcome.UNKNOWN_SESSION_KEPT
    assert stand.settle(stand.settlement(session)) is Outcome.DUPLICATE
    assert stand.count("settlement") == 1
    assert EventKind.SETTLEMENT_ORPHAN in kinds(stand)


def test_a_pile_cannot_settle_the_session_of_another(stand: Stand) -> None:
    session = stand.charging()
    assert stand.settle(stand.settlement(session, pile_id="YQ-02")) is Outcome.UNKNOWN_SESSION_KEPT
    assert sessions.get(stand.conn, session.session_id).state is SessionState.CHARGING
    assert stand.settle(stand.settlement(session)) is Outcome.STORED


def test_a_session_without_energy_costs_nothing_and_everything_goes_back(stand: Stand) -> None:
    session = stand.charging(amount_fen=300)
    stand.settle(stand.settlement(session, slots=()))
    [refund] = refunds.of_session(stand.conn, session.session_id)
    assert refund.amount_fen == 300
    assert ledger.audit(stand.conn).clean


def test_a_session_never_costs_more_than_was_prepaid(stand: Stand) -> None:
    session = stand.charging(amount_fen=100)
    stand.settle(stand.settlement(session, slots=((1200, 9000), (1800, 9000), (1800, 9000))))
    charge = charges.get(stand.conn, session.session_id)
    assert charge is not None
    assert (charge.charged_fen, charge.refund_fen) == (100, 0)
    assert sessions.get(stand.conn, session.session_id).state is SessionState.CLOSED
    assert ledger.audit(stand.conn).clean


def test_a_settlement_after_everything_went_back_is_kept_and_told(stand: Stand) -> None:
    session = stand.paid()
    stand.due()
    stand.now += WAITS.start
    stand.sweep()
    assert stand.settle(stand.settlement(session)) is Outcome.STORED
    assert stand.count("session_charge") == 0
    assert EventKind.SETTLEMENT_TOO_LATE in kinds(stand)


def test_a_pile_clock_at_1970_is_rated_by_our_clock(stand: Stand) -> None:
    session = stand.charging()
    stand.settle(stand.settlement(session, started_at=datetime(1970, 1, 1, 0, 10, tzinfo=UTC)))
    charge = charges.get(stand.conn, session.session_id)
    assert charge is not None
    assert {fee.fee_kind: fee.charged_fen for fee in charge.fees} == {"electricity": 15, "service": 8}
    assert EventKind.CLOCK_WRONG in kinds(stand)


def test_registers_that_contradict_the_energy_are_told(stand: Stand) -> None:
    session = stand.charging()
    stand.settle(stand.settlement(session, registers_dwh=9000))
    assert EventKind.SETTLEMENT_DIFFERS in kinds(stand)


def charged_dwh(stand: Stand, session: ChargingSession) -> int:
    charge = charges.get(stand.conn, session.session_id)
    assert charge is not None
    return charge.energy_dwh


def test_energy_that_no_power_explains_costs_no_more_than_the_highest_power_could_bring(stand: Stand) -> None:
    """The register jumped by 1 kWh in the second half hour, and with it the count, the samples and the registers."""
    session = stand.charging()
    meter_for(stand, session.session_id, minutes=60, power_dw=12_000)
    jumped = stand.settlement(session, slots=((1200, 600), (1800, 10_900), (600, 300)), max_power_dw=2000)
    assert stand.settle(jumped) is Outcome.STORED
    assert charged_dwh(stand, session) == 600 + 1000 + 300
    assert EventKind.SETTLEMENT_DIFFERS in kinds(stand)


def test_energy_that_neither_registers_nor_samples_bear_out_is_not_charged(stand: Stand) -> None:
    session = stand.charging()
    meter_for(stand, session.session_id, minutes=20, power_dw=1800)
    stand.settle(stand.settlement(session, slots=((1200, 600), (1800, 900), (600, 300)), registers_dwh=300))
    assert charged_dwh(stand, session) == 600
    assert EventKind.SETTLEMENT_DIFFERS in kinds(stand)


def test_samples_bear_out_what_a_fallen_register_has_forgotten(stand: Stand) -> None:
    session = stand.charging()
    meter_for(stand, session.session_id, minutes=60, power_dw=1800)
    stand.settle(stand.settlement(session, registers_dwh=0))
    assert charged_dwh(stand, session) == 1800
    assert EventKind.SETTLEMENT_DIFFERS in kinds(stand)


def test_registers_bear_out_what_lost_samples_would_have_shown(stand: Stand) -> None:
    session = stand.charging()
    stand.settle(stand.settlement(session))
    assert charged_dwh(stand, session) == 1800
    assert EventKind.SETTLEMENT_DIFFERS not in kinds(stand)


@pytest.mark.parametrize(("start_dwh", "jumped"), [(6_800, False), (0, True), (106_800, True)])
def test_a_register_that_moved_between_two_sessions_is_told(
    stand: Stand, start_dwh: int, jumped: bool
) -> None:
    first = stand.charging()
    stand.settle(stand.settlement(first))
    stand.now += timedelta(hours=2)
    second = stand.charging()
    record = stand.settlement(second)
    stand.settle(replace(record, start_register_dwh=start_dwh, end_register_dwh=start_dwh + 1800))
    assert charged_dwh(stand, second) == 1800
    assert (EventKind.REGISTER_JUMPED in kinds(stand)) is jumped


def test_a_session_told_after_a_later_one_says_nothing_of_the_register(stand: Stand) -> None:
    first = stand.charging()
    early = stand.settlement(first)
    later = replace(early, session_id=uuid4(), start_register_dwh=90_000, end_register_dwh=91_800)
    moved = timedelta(hours=4)
    stand.settle(replace(later, started_at=early.started_at + moved, ended_at=early.ended_at + moved))
    stand.settle(early)
    assert EventKind.REGISTER_JUMPED not in kinds(stand)


def test_a_session_whose_record_is_rejected_is_settled_by_its_samples_within_the_hour(stand: Stand) -> None:
    session = stand.charging(amount_fen=300)
    meter_for(stand, session.session_id, minutes=60, power_dw=1800)
    bad = replace(stand.settlement(session), end_register_dwh=1)
    for _ in range(2):
        settlements.rejected(
            stand.conn, bad, why="the end register is below the start register", now=stand.now
        )
    told = [
        each
        for each in events.newest(stand.conn, PILE, limit=20)
        if each.kind == EventKind.SETTLEMENT_REJECTED
    ]
    assert len(told) == 1
    stand.sweep()
    assert sessions.get(stand.conn, session.session_id).state is SessionState.AWAITING_SETTLEMENT
    stand.now += timers.SAMPLES_MAY_FOLLOW + timedelta(minutes=1)
    stand.sweep()
    settled = sessions.get(stand.conn, session.session_id)
    assert (settled.state, settled.energy_dwh) == (SessionState.SETTLED, 1800)
    settlements.rejected(stand.conn, bad, why="again", now=stand.now)
    assert sessions.get(stand.conn, session.session_id).state is SessionState.SETTLED


def test_a_settlement_that_contradicts_itself_is_refused_and_stores_nothing(stand: Stand) -> None:
    session = stand.charging()
    good = stand.settlement(session)
    for bad, why in (
        (replace(good, energy_dwh=1), "slots' energy does not sum"),
        (replace(good, duration_s=1), "slots' seconds do not sum"),
        (replace(good, end_register_dwh=1), "end register is below"),
        (replace(good, slots=list(reversed(good.slots))), "not in time order"),
    ):
        with pytest.raises(SettlementInconsistent, match=why):
            stand.settle(bad)
    assert stand.count("settlement") == 0


def test_a_session_closes_when_the_rider_has_the_money_back(stand: Stand) -> None:
    session = stand.charging()
    stand.settle(stand.settlement(session))
    [refund] = refunds.of_session(stand.conn, session.session_id)
    sessions.refunded(stand.conn, refund, now=stand.now)
    sessions.refunded(stand.conn, refund, now=stand.now + timedelta(days=1))
    closed = sessions.get(stand.conn, session.session_id)
    assert (closed.state, closed.closed_at) == (SessionState.CLOSED, stand.now)


def test_a_session_whose_pile_never_tells_is_settled_by_its_samples(stand: Stand) -> None:
    session = stand.charging(amount_fen=300)
    meter_for(stand, session.session_id, minutes=60, power_dw=1800)
    stand.now += timedelta(seconds=session.limit_s) + WAITS.settlement + timedelta(minutes=1)
    stand.sweep()
    assert sessions.get(stand.conn, session.session_id).state is SessionState.AWAITING_SETTLEMENT
    stand.now += timers.SETTLEMENT_GIVEN_UP_AFTER
    stand.sweep()
    settled = sessions.get(stand.conn, session.session_id)
    assert (settled.state, settled.energy_dwh) == (SessionState.SETTLED, 1800)
    assert EventKind.SETTLED_BY_SAMPLES in kinds(stand)
    assert stand.settle(stand.settlement(session)) is Outcome.STORED
    assert stand.count("session_charge") == 1
    assert EventKind.SETTLEMENT_TOO_LATE in kinds(stand)
    assert ledger.audit(stand.conn).clean


def settled_by_samples(stand: Stand, session: ChargingSession) -> ChargingSession:
    stand.now += timedelta(seconds=session.limit_s) + WAITS.settlement + timedelta(minutes=1)
    stand.sweep()
    stand.now += timers.SETTLEMENT_GIVEN_UP_AFTER
    stand.sweep()
    return sessions.get(stand.conn, session.session_id)


def test_samples_alone_charge_no_more_than_their_highest_power_can_have_brought(stand: Stand) -> None:
    session = stand.charging(amount_fen=300)
    meter_for(stand, session.session_id, minutes=60, power_dw=1800)
    stand.conn.execute("UPDATE meter_sample SET energy_dwh = energy_dwh + 100000 WHERE elapsed_s > 1800")
    assert settled_by_samples(stand, session).energy_dwh == 1800
    assert {EventKind.SETTLED_BY_SAMPLES, EventKind.SETTLEMENT_DIFFERS} <= kinds(stand)


def test_samples_of_another_pile_are_no_witness(stand: Stand) -> None:
    session, other = stand.charging(amount_fen=300), stand.charging(port_no=2)
    meter_for(stand, session.session_id, minutes=20, power_dw=1800, pile_id="YQ-02")
    meter_for(stand, other.session_id, minutes=20, power_dw=1800, pile_id="YQ-03")
    meter_for(stand, session.session_id, minutes=10, power_dw=1800)
    stand.settle(stand.settlement(other, slots=((1200, 600),), registers_dwh=0))
    assert charged_dwh(stand, other) == 0
    assert settled_by_samples(stand, session).energy_dwh == 300


def metered_by_a_clock(stand: Stand, *, ahead: timedelta) -> ChargingSession:
    session = stand.charging(amount_fen=300)
    right = stand.now
    stand.now += ahead
    meter_for(stand, session.session_id, minutes=10, power_dw=1800, received_at=right)
    stand.now = right
    return session


def test_samples_of_a_wrong_clock_settle_a_session_that_has_no_others(stand: Stand) -> None:
    session = metered_by_a_clock(stand, ahead=timedelta(days=1))
    assert settled_by_samples(stand, session).energy_dwh == 300


def test_samples_of_a_wrong_clock_bear_a_settlement_out_where_its_registers_do_not(stand: Stand) -> None:
    session = metered_by_a_clock(stand, ahead=-timedelta(days=3))
    stand.settle(stand.settlement(session, slots=((300, 600),), registers_dwh=0))
    assert charged_dwh(stand, session) == 300


def test_samples_of_a_wrong_clock_are_not_looked_for_where_the_registers_bear_the_claim_out(
    stand: Stand,
) -> None:
    session = metered_by_a_clock(stand, ahead=-timedelta(days=3))
    stand.settle(stand.settlement(session, slots=((300, 600),), registers_dwh=9000))
    assert charged_dwh(stand, session) == 600
    [differs] = [
        event
        for event in events.newest(stand.conn, PILE, limit=20)
        if event.kind == EventKind.SETTLEMENT_DIFFERS
    ]
    assert differs.detail["samples_dwh"] == 0


def test_a_session_accepted_by_a_pile_that_then_dies_gives_everything_back(stand: Stand) -> None:
    session = stand.paid(amount_fen=300)
    [command] = stand.due()
    starts.accepted(
        stand.conn,
        pile_id=PILE,
        session_id=session.session_id,
        command_id=command.command_id,
        plugged=True,
        now=stand.now,
    )
    stand.now += timedelta(seconds=session.limit_s) + WAITS.settlement + timers.SETTLEMENT_GIVEN_UP_AFTER
    stand.now += timedelta(minutes=1)
    stand.sweep()
    [refund] = refunds.of_session(stand.conn, session.session_id)
    assert refund.amount_fen == 300


def test_a_start_told_late_is_still_rated_from_when_power_flowed(stand: Stand) -> None:
    session = stand.paid(amount_fen=300)
    began = stand.now + timedelta(minutes=1)
    stand.now += timedelta(hours=3)
    starts.started(
        stand.conn,
        pile_id=PILE,
        session_id=session.session_id,
        command_id=None,
        claimed_at=began,
        now=stand.now,
    )
    assert sessions.get(stand.conn, session.session_id).started_at == began
    stand.settle(stand.settlement(session, started_at=began))
    charge = charges.get(stand.conn, session.session_id)
    assert charge is not None
    assert {fee.fee_kind: fee.charged_fen for fee in charge.fees} == {"electricity": 15, "service": 8}
    assert EventKind.CLOCK_WRONG not in kinds(stand)


def test_a_sample_proves_that_power_flows(stand: Stand) -> None:
    session = stand.paid()
    meter_for(stand, session.session_id, minutes=2, power_dw=1800)
    running = sessions.get(stand.conn, session.session_id)
    assert (running.state, running.started_at) == (SessionState.CHARGING, stand.now)


def test_a_settlement_for_another_port_is_not_this_session(stand: Stand) -> None:
    session = stand.charging(port_no=1)
    wrong = replace(stand.settlement(session), port_no=2)
    assert stand.settle(wrong) is Outcome.UNKNOWN_SESSION_KEPT


def test_a_session_closed_without_refund_says_when(stand: Stand) -> None:
    session = stand.charging(amount_fen=100)
    stand.settle(stand.settlement(session, slots=((1200, 9000), (1800, 9000), (1800, 9000))))
    assert sessions.get(stand.conn, session.session_id).closed_at is not None
