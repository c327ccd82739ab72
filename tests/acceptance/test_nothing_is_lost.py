"""Whatever is killed or cut during a session: it ends, and is charged, refunded and split once."""

import os
import signal

import pytest

from charging.session_states import SessionState
from payment_sim.faults import Faults, Operation
from tests.acceptance.stage import Stage
from tests.waiting import wait_until

PILE = "YQ-01"
ENDED = (SessionState.CLOSED, SessionState.FAILED)


def test_a_paid_charge_is_metered_settled_refunded_and_split(stage: Stage) -> None:
    session_id = stage.charge(1)
    stage.wait_energy(session_id, above_dwh=100)
    assert stage.session(session_id).state is SessionState.CHARGING
    seen = stage.rider.look(session_id)
    assert seen.power_w > 100
    assert seen.charged_fen > 0
    stage.wait_for(session_id, *ENDED)
    charge = stage.assert_settled_once(session_id)
    ended = stage.session(session_id)
    assert (ended.stop_reason, ended.energy_dwh) == ("full", charge.energy_dwh)
    assert {fee.fee_kind for fee in charge.fees} == {"electricity", "service"}


@pytest.mark.parametrize(
    ("part", "port_no"), [("gateway", 2), ("broker", 3), ("api", 4), ("worker", 5), ("database", 6)]
)
def test_a_part_killed_in_the_middle_of_a_session_costs_nothing(
    stage: Stage, part: str, port_no: int
) -> None:
    session_id = stage.charge(port_no)
    stage.wait_energy(session_id, above_dwh=100)
    stage.kill9(part)
    assert stage.session(session_id).state is SessionState.CHARGING, (
        "the session ended before the part was back"
    )
    stage.wait_for(session_id, *ENDED)
    stage.assert_settled_once(session_id)


def test_a_gateway_killed_before_the_pile_answers_still_starts_once(stage: Stage) -> None:
    gateway = stage.pid("gateway")
    assert gateway is not None
    os.kill(gateway, signal.SIGSTOP)
    session_id = stage.charge(7)
    stage.wait_for(session_id, SessionState.STARTING)
    stage.kill9("gateway")
    stage.wait_for(session_id, SessionState.CHARGING, *ENDED)
    stage.wait_for(session_id, *ENDED)
    stage.assert_settled_once(session_id)


def test_a_link_lost_for_a_while_leaves_no_gap_in_the_curve(stage: Stage) -> None:
    session_id = stage.charge(8)
    stage.wait_energy(session_id, above_dwh=100)
    stage.fleet.drop_link(PILE, 3.0)
    stage.wait_for(session_id, *ENDED)
    stage.assert_settled_once(session_id)
    with stage.platform.pool.connection() as conn:
        gaps = conn.execute(
            """
            SELECT max(gap_s) FROM (
                SELECT elapsed_s - lag(elapsed_s) OVER (ORDER BY sampled_at) AS gap_s
                  FROM meter_sample WHERE session_id = %(session_id)s) AS step
            """,
            {"session_id": session_id},
        ).fetchone()
    assert gaps is not None
    assert gaps[0] <= 60


def test_a_settlement_sent_twice_charges_once(stage: Stage) -> None:
    """The gateway sleeps until the pile has repeated its settlement; then it hears it more than once."""
    session_id = stage.charge(9)
    stage.wait_energy(session_id, above_dwh=100)
    gateway = stage.pid("gateway")
    assert gateway is not None
    with stage.eavesdrop("settlement") as overheard:
        os.kill(gateway, signal.SIGSTOP)
        try:
            wait_until(lambda: len(overheard) >= 2, limit_s=60.0, what="a repeated settlement")
        finally:
            os.kill(gateway, signal.SIGCONT)
    stage.wait_for(session_id, *ENDED)
    stage.assert_settled_once(session_id)


def test_notifications_told_three_times_and_answers_lost_pay_and_refund_once(stage: Stage) -> None:
    stage.put_faults(Faults(duplicate_notifications=True, lose_answers={Operation.PLACE_REFUND: 1}))
    try:
        session_id = stage.charge(10)
        stage.wait_for(session_id, *ENDED)
        stage.assert_settled_once(session_id)
    finally:
        stage.put_faults(Faults())
