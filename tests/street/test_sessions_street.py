"""What the street does to sessions, on the whole platform: whatever it is, each is charged once and rightly."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from billing import ledger, rating, refunds, tariffs
from charging import events, live_readings, session_curves, sessions, timers
from charging.events import EventKind, PileEvent
from charging.session_states import SessionState
from charging.sessions import CLOCK_TOLERANCE, ChargingSession
from charging.waits import Waits
from device_sim import faults
from device_sim.configuration import PileConfig, Thresholds
from protocol.words import AlarmKind
from tests.street.block import Block, open_block
from tests.waiting import wait_until

SPEED = 600.0
LIMIT_S = 60.0
WEEKS = timedelta(days=30)
"""Longer than any patience of the platform, the stretched waits for networks included."""
TWINS, DATELESS, JUMPY, CUT, RESUMES, TARDY, STRANGE, REMOTE = (f"S-1{number}" for number in range(8))
PORTS = {TWINS: 2, DATELESS: 2, JUMPY: 4, CUT: 10, RESUMES: 10, TARDY: 2, STRANGE: 2, REMOTE: 2}


@pytest.fixture(scope="module")
def block(work_folder: Path) -> Iterator[Block]:
    folder = Path(tempfile.mkdtemp(prefix="sessions-", dir=work_folder))
    with open_block(folder, piles=PORTS, speed=SPEED, shape=shaped) as block:
        yield block


def shaped(config: PileConfig) -> PileConfig:
    """One pile goes on after a power cut, one has no battery for its clock."""
    return replace(
        config,
        battery_clock=config.pile_id != DATELESS,
        thresholds=Thresholds(resume_after_power=config.pile_id == RESUMES),
    )


def loose(block: Block, order: str) -> list[str]:
    """Let a fault loose; gives the lines it says, as they come."""
    said: list[str] = []
    faults.begin(block.fleet, order, said.append)
    return said


def wait_done(said: Sequence[str], fault: str) -> None:
    wait_until(lambda: f"{fault}: done" in said, limit_s=LIMIT_S, what=f"{fault} to be over")


def told(block: Block, pile_id: str, kind: EventKind) -> list[PileEvent]:
    """The events of a kind that a pile had, newest first."""
    with block.platform.pool.connection() as conn:
        return [event for event in events.newest(conn, pile_id, limit=500) if event.kind == kind]


def wait_told(block: Block, pile_id: str, kind: EventKind) -> PileEvent:
    return wait_until(lambda: told(block, pile_id, kind), limit_s=LIMIT_S, what=f"{kind} of {pile_id}")[0]


def session(block: Block, session_id: UUID) -> ChargingSession:
    with block.platform.pool.connection() as conn:
        return sessions.get(conn, session_id)


def sampled_after(block: Block, session_id: UUID, at: datetime) -> bool:
    with block.platform.pool.connection() as conn:
        reading = live_readings.newest(conn, [sessions.get(conn, session_id)]).get(session_id)
    return reading is not None and reading.sampled_at > at


def wait_settled(block: Block, session_id: UUID) -> ChargingSession:
    """Wait until a session is over; asserts that it was charged once, by the clock and the bands of the platform."""
    charge = block.assert_settled_once(session_id)
    over = session(block, session_id)
    assert over.started_at is not None
    assert over.ended_at is not None
    assert over.duration_s is not None
    assert over.paid_at is not None
    assert over.paid_at - CLOCK_TOLERANCE <= over.started_at <= over.ended_at
    assert over.ended_at <= block.platform.now + CLOCK_TOLERANCE
    assert abs((over.ended_at - over.started_at).total_seconds() - over.duration_s) <= 1
    assert (charge.energy_dwh, charge.duration_s) == (over.energy_dwh, over.duration_s)
    wait_until(
        lambda: abs(charge.charged_fen - by_samples_fen(block, over)) <= 3,
        limit_s=LIMIT_S,
        what="half hours by the samples that say the same",
    )
    return over


def by_samples_fen(block: Block, over: ChargingSession) -> int:
    """What a session costs by the samples that are stored; kept ones come after the settlement."""
    assert over.started_at is not None
    with block.platform.pool.connection() as conn:
        slots = session_curves.slots(conn, session_curves.span_of(over))
        periods = session_curves.periods(slots, started_at=over.started_at)
        fees = rating.rate_all(
            tariffs.get(conn, over.tariff_version_id), periods, session_started_at=over.started_at
        )
    return sum(fee.total_fen for fee in fees)


def wait_gapless(block: Block, session_id: UUID) -> None:
    """Wait until no two samples are further apart than two rhythms."""
    wait_until(lambda: longest_gap_s(block, session_id) <= 60, limit_s=LIMIT_S, what="samples without a gap")


def wait_metered(block: Block, session_id: UUID) -> None:
    """Wait until enough was taken to cost something."""
    block.wait_energy(session_id, above_wh=30)


def longest_gap_s(block: Block, session_id: UUID) -> int:
    """The longest time between two samples, or from the start to the first."""
    with block.platform.pool.connection() as conn:
        span = session_curves.span_of(sessions.get(conn, session_id))
        points = session_curves.curve(conn, span, most_points=100_000)
    elapsed_s = [0, *(point.elapsed_s for point in points)]
    return max(later - earlier for earlier, later in pairwise(elapsed_s))


def wait_kept_back(block: Block, pile_id: str) -> None:
    """Wait until a pile has a record that it cannot tell."""
    wait_until(
        lambda: block.fleet.ask(lambda street: street.pile(pile_id).pile.records.count),
        limit_s=LIMIT_S,
        what="the record",
    )


def pass_time(block: Block, *steps: timers.Step) -> None:
    """Take steps of the worker as it takes them when weeks have passed, until each has found its one case."""

    def take(step: timers.Step) -> bool:
        with block.platform.pool.connection() as conn:
            return step(conn, Waits().scaled(SPEED), block.platform.now + WEEKS)

    for step in steps:
        wait_until(lambda step=step: take(step), limit_s=LIMIT_S, what=step.__name__)


def test_of_two_piles_with_one_identity_nothing_is_charged_twice_and_the_rightful_one_works_on(
    block: Block,
) -> None:
    running = block.charge(TWINS, 1)
    wait_metered(block, running)
    said = loose(block, f"duplicate_identity@{TWINS}:10")
    wait_told(block, TWINS, EventKind.DUPLICATE_IDENTITY)
    wait_done(said, "duplicate_identity")
    block.fleet.unplug(TWINS, 1)
    block.assert_settled_once(running)
    assert len(told(block, TWINS, EventKind.DUPLICATE_IDENTITY)) == 1
    wait_until(lambda: block.desk.get(f"/piles/{TWINS}")["online"], limit_s=LIMIT_S, what="the rightful pile")
    following = block.charge(TWINS, 2)
    wait_metered(block, following)
    block.fleet.unplug(TWINS, 2)
    wait_settled(block, following)


def test_a_pile_that_wakes_in_1970_is_charged_by_our_clock_and_told(block: Block) -> None:
    interrupted = block.charge(DATELESS, 1)
    wait_metered(block, interrupted)
    said = loose(block, f"clock_1970@{DATELESS}:5")
    wait_done(said, "clock_1970")
    over = wait_settled(block, interrupted)
    assert over.stop_reason == "power_loss"
    jump = wait_told(block, DATELESS, EventKind.CLOCK_JUMPED)
    assert jump.detail["off_s"] < -50 * 365 * 86_400


def test_a_session_whose_pile_never_learns_the_date_is_charged_by_our_clock(block: Block) -> None:
    block.fleet.inflict(DATELESS, AlarmKind.CLOCK_FAULT)
    dateless = block.charge(DATELESS, 2)
    wait_metered(block, dateless)
    block.fleet.unplug(DATELESS, 2)
    wait_settled(block, dateless)
    wait_gapless(block, dateless)
    wait_told(block, DATELESS, EventKind.CLOCK_WRONG)


def test_a_register_that_jumps_amid_a_session_costs_nobody_anything_and_is_told(block: Block) -> None:
    jumped = block.charge(JUMPY, 1)
    wait_metered(block, jumped)
    wait_done(loose(block, f"register_jump@{JUMPY}:10,1"), "register_jump")
    block.fleet.unplug(JUMPY, 1)
    wait_settled(block, jumped)
    facts = wait_told(block, JUMPY, EventKind.SETTLEMENT_DIFFERS).detail
    assert facts["charged_dwh"] == facts["energy_dwh"] <= facts["registers_dwh"] - 99_000


def test_a_register_that_falls_amid_a_session_leaves_the_samples_to_settle_it(block: Block) -> None:
    unplugged = block.charge(JUMPY, 2)
    wait_metered(block, unplugged)
    block.fleet.unplug(JUMPY, 2)
    wait_settled(block, unplugged)
    fallen = block.charge(JUMPY, 2)
    block.wait_energy(fallen, above_wh=15)
    wait_done(loose(block, f"register_reset@{JUMPY}:2"), "register_reset")
    block.fleet.unplug(JUMPY, 2)
    wait_told(block, JUMPY, EventKind.SETTLEMENT_REJECTED)
    over = wait_settled(block, fallen)
    assert over.stop_reason == "settlement_missing"
    assert len(told(block, JUMPY, EventKind.SETTLED_BY_SAMPLES)) == 1


@pytest.mark.parametrize(("port_no", "order"), [(3, "register_reset@{}:3"), (4, "register_jump@{}:10,4")])
def test_a_register_that_moves_between_sessions_is_told_and_costs_nothing(
    block: Block, port_no: int, order: str
) -> None:
    def jumps() -> list[PileEvent]:
        return [
            event
            for event in told(block, JUMPY, EventKind.REGISTER_JUMPED)
            if event.detail["port_no"] == port_no
        ]

    def charge_once() -> None:
        charged = block.charge(JUMPY, port_no)
        wait_metered(block, charged)
        block.fleet.unplug(JUMPY, port_no)
        wait_settled(block, charged)

    charge_once()
    wait_done(loose(block, order.format(JUMPY)), order.partition("@")[0])
    assert jumps() == []
    charge_once()
    assert len(jumps()) == 1


def test_a_power_cut_settles_ten_sessions_once_each(block: Block) -> None:
    running = [block.charge(CUT, port_no) for port_no in range(1, 11)]
    for session_id in running:
        wait_metered(block, session_id)
    wait_done(loose(block, f"power_cut@{CUT}:60,10"), "power_cut")
    for session_id in running:
        over = wait_settled(block, session_id)
        assert over.stop_reason == "power_loss"


def test_ten_sessions_go_on_when_power_returns_and_are_charged_once_each(block: Block) -> None:
    running = [block.charge(RESUMES, port_no) for port_no in range(1, 11)]
    for session_id in running:
        wait_metered(block, session_id)
    wait_done(loose(block, f"power_cut@{RESUMES}:60,10"), "power_cut")
    cut_at = block.platform.now
    for session_id in running:
        wait_until(
            lambda session_id=session_id: sampled_after(block, session_id, cut_at),
            limit_s=LIMIT_S,
            what="a sample after the cut",
        )
    for port_no in range(1, 11):
        block.fleet.unplug(RESUMES, port_no)
    for session_id in running:
        over = wait_settled(block, session_id)
        assert over.stop_reason == "unplugged"
        assert over.ended_at is not None
        assert over.ended_at > cut_at


def test_a_settlement_that_comes_before_the_samples_count_charges_as_usual(block: Block) -> None:
    said = loose(block, f"settlement_late@{TARDY}:2400")
    overdue = block.charge(TARDY, 2)
    wait_metered(block, overdue)
    block.fleet.unplug(TARDY, 2)
    wait_kept_back(block, TARDY)
    pass_time(block, timers.mark_overdue)
    assert session(block, overdue).state is SessionState.AWAITING_SETTLEMENT
    assert "settlement_late: done" not in said, "it was told before it was overdue"
    assert wait_settled(block, overdue).stop_reason == "unplugged"
    assert told(block, TARDY, EventKind.SETTLED_BY_SAMPLES) == []


def test_a_settlement_that_comes_after_days_is_kept_and_changes_no_money(block: Block) -> None:
    said = loose(block, f"settlement_late@{TARDY}:4200")
    late = block.charge(TARDY, 1)
    wait_metered(block, late)
    block.fleet.unplug(TARDY, 1)
    wait_kept_back(block, TARDY)
    pass_time(block, timers.mark_overdue, timers.settle_by_samples)
    block.assert_settled_once(late)
    assert "settlement_late: done" not in said, "it was told before the days had passed"
    wait_told(block, TARDY, EventKind.SETTLED_BY_SAMPLES)
    facts = wait_told(block, TARDY, EventKind.SETTLEMENT_TOO_LATE).detail
    by_samples_dwh = block.assert_settled_once(late).energy_dwh
    assert 0 <= facts["energy_dwh"] - by_samples_dwh <= 50
    wait_until(
        lambda: not block.fleet.ask(lambda street: street.pile(TARDY).pile.records.count),
        limit_s=LIMIT_S,
        what="the pile to be acknowledged",
    )


def test_a_session_whose_settlement_never_comes_is_settled_by_its_samples(block: Block) -> None:
    loose(block, f"settlement_missing@{STRANGE}")
    lost = block.charge(STRANGE, 1)
    wait_metered(block, lost)
    block.fleet.unplug(STRANGE, 1)
    wait_kept_back(block, STRANGE)
    with block.platform.pool.connection() as conn:
        span = session_curves.span_of(sessions.get(conn, lost))
        taken_dwh = session_curves.highest_energy_dwh(conn, span)
    pass_time(block, timers.mark_overdue, timers.settle_by_samples)
    assert taken_dwh <= block.assert_settled_once(lost).energy_dwh <= taken_dwh + 50
    assert session(block, lost).state is SessionState.CLOSED


def test_a_settlement_of_a_session_nobody_started_is_kept_and_moves_no_money(block: Block) -> None:
    with block.platform.pool.connection() as conn:
        before = ledger.party_balances(conn)
    wait_done(loose(block, f"settlement_orphan@{REMOTE}:100"), "settlement_orphan")
    orphan = wait_told(block, REMOTE, EventKind.SETTLEMENT_ORPHAN)
    session_id = UUID(orphan.detail["session_id"])
    with block.platform.pool.connection() as conn:
        assert refunds.of_session(conn, session_id) == []
        assert ledger.of_session(conn, session_id) == ()
        assert ledger.party_balances(conn) == before
        kept = conn.execute(
            "SELECT outcome FROM settlement WHERE session_id = %(session_id)s", {"session_id": session_id}
        ).fetchall()
    assert kept == [("unknown_session_kept",)]


def test_an_hour_offline_on_each_side_of_a_stop_costs_no_sample_and_one_charge(block: Block) -> None:
    stopped = block.charge(REMOTE, 1)
    wait_metered(block, stopped)
    said = loose(block, f"offline@{REMOTE}:7200,1")
    cut_at = block.platform.now
    wait_until(
        lambda: block.platform.now - cut_at > timedelta(hours=1), limit_s=LIMIT_S, what="an hour offline"
    )
    assert not block.desk.get(f"/piles/{REMOTE}")["online"]
    pressed = block.rider.http.post(f"{block.rider.web_url}/api/rider/sessions/{stopped}/stop")
    assert pressed.status_code == httpx.codes.OK, pressed.text
    assert session(block, stopped).state is SessionState.STOPPING
    wait_done(said, "offline")
    over = wait_settled(block, stopped)
    assert over.ended_at is not None
    assert over.ended_at - cut_at >= timedelta(hours=2)
    wait_gapless(block, stopped)
