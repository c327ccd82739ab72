"""A session only ever moves forward."""

from hypothesis import given
from hypothesis import strategies as st

from charging.session_states import BEFORE_CHARGE, FINAL, SessionState, can_move

STATES = st.sampled_from(list(SessionState))


@given(STATES)
def test_no_state_moves_to_itself(state: SessionState) -> None:
    assert not can_move(state, state)


@given(STATES, STATES)
def test_no_move_can_be_taken_back(source: SessionState, target: SessionState) -> None:
    assert not (can_move(source, target) and can_move(target, source))


@given(st.sampled_from(sorted(FINAL)), STATES)
def test_nothing_leaves_a_final_state(source: SessionState, target: SessionState) -> None:
    assert not can_move(source, target)


def test_an_order_is_paid_fails_when_paid_for_a_taken_port_or_is_cancelled() -> None:
    reachable = {target for target in SessionState if can_move(SessionState.CREATED, target)}
    assert reachable == {SessionState.PAID, SessionState.FAILED, SessionState.CANCELLED}


def test_everything_goes_back_only_before_energy_flows() -> None:
    failing = {source for source in SessionState if can_move(source, SessionState.FAILED)}
    assert failing == BEFORE_CHARGE | {SessionState.CREATED}


def test_a_settlement_can_overtake_every_message_of_its_session() -> None:
    before = [state for state in SessionState if can_move(state, SessionState.SETTLED)]
    assert set(before) == {
        SessionState.PAID,
        SessionState.AWAITING_CODE,
        SessionState.CODE_LAPSED,
        SessionState.STARTING,
        SessionState.PENDING_PLUG,
        SessionState.CHARGING,
        SessionState.STOPPING,
        SessionState.AWAITING_SETTLEMENT,
    }
