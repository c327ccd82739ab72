"""Danger on the street: the pile acts by itself, the platform on top of it, people are told, and one of them clears."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from charging.session_states import SessionState
from device_sim import faults
from device_sim.battery import PACKS, Battery
from protocol.words import AlarmKind
from tests.street.block import OPERATOR, PROPERTY, Block, Json, open_block
from tests.waiting import wait_until

SPEED = 60.0
LIMIT_S = 40.0
LOOKED = {"by": "Li", "reason": "looked, nothing left of it"}
SMOKY, BURNING, WET, HOT, GREEDY, WELDED, LOOSE, BAD = (f"S-0{number}" for number in range(1, 9))
FULL = Battery(PACKS[7], 0.02, charged_s=20 * 3600)
"""A lithium pack that is full: its charger draws less than counts as a load."""
ENERGY_WH = 15.0
"""Enough for a fen or two."""


@pytest.fixture(scope="module")
def block(work_folder: Path) -> Iterator[Block]:
    piles = dict.fromkeys((SMOKY, BURNING, WET, HOT, GREEDY, WELDED, LOOSE, BAD), 4)
    folder = Path(tempfile.mkdtemp(prefix="safety-", dir=work_folder))
    with open_block(folder, piles=piles, speed=SPEED) as block:
        yield block


def evidence_of(block: Block, alarm: Json) -> list[Json]:
    """What was kept of an alarm, first to last."""
    return block.desk.get(f"/piles/{alarm['pile_id']}/alarms/{alarm['alarm_id']}")["evidence"]


def clear(block: Block, alarm: Json) -> Json:
    """A person has looked; the pile is told and agrees."""
    path = f"/piles/{alarm['pile_id']}/alarms/{alarm['alarm_id']}/clear"
    cleared = block.desk.post(path, LOOKED)
    assert all(lock["lifted_by"] == "Li" for lock in cleared["locks"])
    commands = block.desk.get(f"/piles/{alarm['pile_id']}/commands")["commands"]
    [told] = [command for command in commands if command["kind"] == "fault_clear"]
    ended = block.desk.get(f"/commands/{told['command_id']}", wait_s=25)
    assert (ended["state"], ended["result"]["result"]) == ("done", "done")
    return cleared


def told_of(block: Block, pile_id: str, kind: str) -> list[Json]:
    """What the operator was told of this kind about a pile, newest first; the property was told the same."""
    told = [notice for notice in block.notices(OPERATOR, pile_id) if notice["kind"] == kind]
    told_too = {notice["words_en"] for notice in block.notices(PROPERTY, pile_id)}
    assert {notice["words_en"] for notice in told} <= told_too
    return told


def test_smoke_ends_all_charges_of_the_pile_and_nothing_starts_until_a_person_clears_it(block: Block) -> None:
    running = [block.charge(SMOKY, port_no) for port_no in (1, 2, 3)]
    elsewhere = block.charge(GREEDY, 4)
    for session_id in running:
        block.wait_energy(session_id, above_wh=ENERGY_WH)
    faults.begin(block.fleet, f"smoke@{SMOKY}:2,150")
    alarm = block.alarm(SMOKY, "smoke", level="trip", open=True)
    assert (alarm["port_no"], alarm["severity"], alarm["action"]) == (2, "danger", "pile_stopped")
    block.desk.post(f"/piles/{SMOKY}/alarms/{alarm['alarm_id']}/clear", LOOKED, 409)
    for session_id in running:
        charge = block.assert_settled_once(session_id)
        assert charge.energy_dwh >= ENERGY_WH * 10
        assert 0 < charge.charged_fen < charge.prepaid_fen
        assert block.session(session_id)["stop_reason"] == "smoke"
        [words] = block.told(session_id)
        assert "Keep away from the pile" in words
    assert "locked after a safety alarm" in block.obstacle(SMOKY, 4)
    [told] = told_of(block, SMOKY, "alarm")
    assert told["severity"] == "danger"
    assert "whole pile is stopped and locked" in told["words_en"]
    [kept, *_] = evidence_of(block, alarm)
    assert {session["session_id"] for session in kept["snapshot"]["sessions"]} >= {str(running[0])}
    assert kept["snapshot"]["samples"]
    over = block.alarm(SMOKY, "smoke", open=False)
    assert over["alarm_id"] == alarm["alarm_id"]
    assert "locked after a safety alarm" in block.obstacle(SMOKY, 4)
    clear(block, alarm)
    block.wait_for(block.charge(SMOKY, 4), SessionState.CHARGING)
    assert block.session(elsewhere)["state"] == "charging"


def test_fire_tells_its_own_port_from_the_others(block: Block) -> None:
    own, other = block.charge(BURNING, 1), block.charge(BURNING, 2)
    for session_id in (own, other):
        block.wait_energy(session_id)
    faults.begin(block.fleet, f"fire@{BURNING}:1,120")
    block.alarm(BURNING, "fire", level="trip", port_no=1)
    for session_id, reason in ((own, "fire_suppression_own_port"), (other, "fire_suppression_other_port")):
        block.assert_settled_once(session_id)
        assert block.session(session_id)["stop_reason"] == reason
        assert "Keep away from the pile" in block.told(session_id)[0]
    over = block.alarm(BURNING, "fire", open=False)
    clear(block, over)
    block.wait_for(block.charge(BURNING, 2), SessionState.CHARGING)


def test_leakage_warns_below_its_trip_and_shuts_one_port_above_it(block: Block) -> None:
    wet, dry = block.charge(WET, 1), block.charge(WET, 2)
    for session_id in (wet, dry):
        block.wait_energy(session_id)
    block.fleet.inflict(WET, AlarmKind.LEAKAGE, 1, 20)
    warned = block.alarm(WET, "leakage", level="warn")
    wait_until(lambda: told_of(block, WET, "alarm"), limit_s=LIMIT_S, what="the warning")
    assert "did not interrupt the charge" in block.told(wet)[0]
    assert block.session(wet)["state"] == "charging"
    faults.begin(block.fleet, f"leakage@{WET}:60,1")
    alarm = block.alarm(WET, "leakage", level="trip")
    assert (alarm["alarm_id"], alarm["shown_value"]) == (warned["alarm_id"], "60 mA")
    block.assert_settled_once(wet)
    assert block.session(wet)["stop_reason"] == "leakage"
    assert [each["level"] for each in evidence_of(block, alarm)] == ["warn", "trip"]
    assert "socket is locked" in block.obstacle(WET, 1)
    assert block.session(dry)["state"] == "charging"
    block.fleet.relieve(WET, AlarmKind.LEAKAGE, 1)
    clear(block, block.alarm(WET, "leakage", open=False))
    block.wait_for(block.charge(WET, 1), SessionState.CHARGING)


def test_heat_that_lasts_is_warned_of_before_it_trips(block: Block) -> None:
    session_id = block.charge(HOT, 1)
    block.wait_energy(session_id)
    block.fleet.inflict(HOT, AlarmKind.PORT_OVER_TEMP, 1, 650)
    warned = block.alarm(HOT, "port_over_temp", level="warn", limit=600)
    [told] = wait_until(lambda: told_of(block, HOT, "alarm"), limit_s=LIMIT_S, what="a lasting warning")
    assert "a warning, charging goes on" in told["words_en"]
    block.fleet.inflict(HOT, AlarmKind.PORT_OVER_TEMP, 1, 850)
    alarm = block.alarm(HOT, "port_over_temp", level="trip", limit=800)
    assert alarm["alarm_id"] == warned["alarm_id"]
    block.assert_settled_once(session_id)
    assert block.session(session_id)["stop_reason"] == "port_over_temp"
    assert len(told_of(block, HOT, "alarm")) == 2
    assert "85" in told_of(block, HOT, "alarm")[0]["words_en"]
    block.fleet.relieve(HOT, AlarmKind.PORT_OVER_TEMP, 1)
    clear(block, block.alarm(HOT, "port_over_temp", open=False))
    block.wait_for(block.charge(HOT, 1), SessionState.CHARGING)


def test_too_much_power_shuts_the_port(block: Block) -> None:
    session_id = block.charge(GREEDY, 1)
    block.wait_energy(session_id)
    block.fleet.inflict(GREEDY, AlarmKind.PORT_OVER_POWER, 1)
    alarm = block.alarm(GREEDY, "port_over_power", level="trip", port_no=1)
    block.assert_settled_once(session_id)
    assert block.session(session_id)["stop_reason"] == "port_over_power"
    assert "socket is locked" in block.obstacle(GREEDY, 1)
    block.fleet.relieve(GREEDY, AlarmKind.PORT_OVER_POWER, 1)
    clear(block, block.alarm(GREEDY, "port_over_power", open=False))
    assert alarm["limit"] == 10_000


def test_a_welded_relay_is_billed_to_the_end_of_its_session_and_shuts_the_port(block: Block) -> None:
    session_id = block.charge(WELDED, 3)
    block.wait_energy(session_id, above_wh=ENERGY_WH)
    faults.begin(block.fleet, f"relay_welded@{WELDED}")
    block.alarm(WELDED, "relay_welded", level="trip", port_no=3)
    charge = block.assert_settled_once(session_id)
    assert block.session(session_id)["stop_reason"] == "relay_welded"
    assert charge.charged_fen > 0
    assert "socket is locked" in block.obstacle(WELDED, 3)
    assert "Relay welded shut" in block.told(session_id)[0]


def test_what_flaps_is_one_episode_told_once(block: Block) -> None:
    session_id = block.charge(LOOSE, 1)
    block.wait_energy(session_id)
    faults.begin(block.fleet, f"flapping_fault@{LOOSE}:40,6")
    wait_until(
        lambda: len(block.alarms(LOOSE, "port_over_temp")) == 6, limit_s=LIMIT_S, what="six short alarms"
    )
    [over] = wait_until(lambda: told_of(block, LOOSE, "alarm_over"), limit_s=LIMIT_S, what="the end of it")
    alarms = block.alarms(LOOSE, "port_over_temp")
    assert len({alarm["episode_id"] for alarm in alarms}) == 1
    assert len({alarm["alarm_id"] for alarm in alarms}) == 6
    [told] = told_of(block, LOOSE, "alarm")
    assert told["facts"]["level"] == "warn"
    assert over["facts"]["flaps"] == 5
    assert block.session(session_id)["state"] == "charging"


def fail_to_charge(block: Block) -> Json:
    """A rider pays for a charge that never draws."""
    block.fleet.plug(BAD, 1, FULL)
    session_id, pay_url = block.rider.order(BAD, 1, 300)
    block.rider.pay(pay_url)
    return block.wait_for(session_id, SessionState.CLOSED, SessionState.FAILED)


def test_a_socket_whose_starts_keep_failing_is_taken_away_and_put_back(block: Block) -> None:
    failed = [fail_to_charge(block) for _ in range(3)]
    assert [ended["stop_reason"] for ended in failed] == ["no_load"] * 3
    [told] = wait_until(lambda: told_of(block, BAD, "port_disabled"), limit_s=LIMIT_S, what="the notice")
    assert "3 failed starts in a row" in told["words_en"]
    assert any("Please take another one" in words for words in block.told(UUID(failed[-1]["session_id"])))
    assert "failed to start here several times" in block.obstacle(BAD, 1)

    def port_sets() -> list[bool]:
        commands = block.desk.get(f"/piles/{BAD}/commands")["commands"]
        return [
            each["body"]["enabled"]
            for each in commands
            if each["state"] == "done" and each["kind"] == "port_set"
        ]

    wait_until(lambda: port_sets() == [False], limit_s=LIMIT_S, what="the port to be taken out of service")
    assert block.fleet.ask(lambda fleet: fleet.pile(BAD).pile.ports[1].disabled)
    [lock] = block.desk.get(f"/piles/{BAD}")["locks"]
    assert lock["cause"] == "failed_starts"
    block.desk.post(f"/locks/{lock['lock_id']}/lift", LOOKED)
    wait_until(lambda: port_sets() == [True, False], limit_s=LIMIT_S, what="the port to be back")
    block.fleet.unplug(BAD, 1)
    block.wait_for(block.charge(BAD, 1), SessionState.CHARGING)
