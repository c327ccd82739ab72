"""Starts and stops, their repetition and their deadlines, and the readings in between."""

import asyncio
from typing import Final
from uuid import uuid4

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.platform import records
from conformance.platform.bench import Capability
from conformance.platform.scene import Charge, Scene
from protocol import messages
from protocol.words import SettlementResult, StartCause, StartResult, StopReason, StopResult

cases: Final = Catalogue[Scene]()

START: Final = clauses.CHARGE.on("Start")
STOP: Final = clauses.CHARGE.on("Stop")
COMMANDS: Final = clauses.ORDER.on("Commands")
METERING: Final = clauses.CHARGE.on("Metering")
SOLD: Final = (Capability.ORDERS, Capability.SESSIONS)
STOPPED: Final = (*SOLD, Capability.STOPS)

START_DEADLINE_S: Final = 30.0
RESEND_S: Final = 5.0
SLACK_S: Final = 15.0
HOUR_S: Final = 3_600


async def _stop_of(charge: Charge) -> messages.Stop:
    return await charge.pile.hear(messages.Stop, where=lambda stop: stop.session_id == charge.session_id)


async def _answer_stop(charge: Charge, stop: messages.Stop, result: StopResult) -> None:
    await charge.pile.say(
        messages.StopAck(
            command_id=stop.command_id,
            session_id=stop.session_id,
            port=stop.port,
            result=result,
            at_ms=charge.pile.now_ms,
        )
    )


@cases.case("start.carries-every-limit", clause=START, kind=Kind.NORMAL, needs=[Capability.ORDERS])
async def carries_every_limit(scene: Scene) -> None:
    """A paid charge reaches the pile as a start with its port, its limits and a deadline to come."""
    pile = await scene.pile()
    charge = await scene.order(pile, 2)
    start = charge.start
    check_equal("the port", start.port, 2)
    check(start.limit_s >= 1 and start.limit_dwh >= 1 and start.max_power_w >= 1, "a limit is missing")
    left_s = (start.expires_at_ms - pile.now_ms) / 1000 / scene.bench.speed
    check(0 < left_s <= START_DEADLINE_S + 1, f"the deadline is {left_s:.1f} s away")


@cases.case("start.each-port-gets-its-own", clause=START, kind=Kind.NORMAL, needs=[Capability.ORDERS])
async def each_port_gets_its_own(scene: Scene) -> None:
    """Two charges on one pile are two starts with two sessions and two commands."""
    pile = await scene.pile()
    one, two = await scene.order(pile, 1), await scene.order(pile, 2)
    check_equal("the ports", (one.port, two.port), (1, 2))
    check(one.session_id != two.session_id, "two charges share a session")
    check(one.start.command_id != two.start.command_id, "two charges share a command")


@cases.case(
    "start.is-sent-again-until-answered", clause=COMMANDS, kind=Kind.OFFLINE, needs=[Capability.ORDERS]
)
async def is_sent_again_until_answered(scene: Scene) -> None:
    """An unanswered start comes again after 5 s, with the same id, sealed anew; an answered one does not."""
    charge = await scene.order(await scene.pile())
    pile = charge.pile
    for _ in range(2):
        again = await pile.hear(messages.Start)
        check_equal("the start that came again", again, charge.start)
    await charge.answer(StartResult.OK)
    await pile.fence()
    pile.forget_heard()
    await pile.hears_no(messages.Start, for_s=RESEND_S * 1.5)


@cases.case("start.refused-gives-everything-back", clause=START, kind=Kind.REFUSAL, needs=SOLD)
async def refused_gives_everything_back(scene: Scene) -> None:
    """A start the pile refuses, for whatever cause, fails, and the rider gets everything back."""
    pile = await scene.pile()
    for port, cause in enumerate((StartCause.PORT_FAULT, StartCause.RELAY_WELDED, None), start=1):
        charge = await scene.order(pile, port)
        await charge.answer(StartResult.REFUSED, cause)
        await scene.expect_given_back(charge.session_id)


@cases.case(
    "start.refused-for-a-cause-nobody-knows", clause=clauses.BODY.on("Growth"), kind=Kind.REFUSAL, needs=SOLD
)
async def refused_for_a_cause_nobody_knows(scene: Scene) -> None:
    """A cause of a later version counts as `unknown`; the rider gets everything back."""
    charge = await scene.order(await scene.pile())
    answer = messages.StartAck(
        command_id=charge.start.command_id,
        session_id=charge.session_id,
        port=charge.port,
        result=StartResult.REFUSED,
        at_ms=charge.pile.now_ms,
        cause=StartCause.UNKNOWN,
    )
    await charge.pile.say_map("start_ack", records.as_map(answer) | {7: 900})
    await scene.expect_given_back(charge.session_id)


@cases.case(
    "start.without-an-answer-gives-everything-back", clause=START, kind=Kind.OFFLINE, needs=SOLD, limit_s=90
)
async def without_an_answer(scene: Scene) -> None:
    """A start nobody answers within 30 s fails; the rider gets everything back, and the pile is told to stop."""
    charge = await scene.order(await scene.pile())
    pile = charge.pile
    async with pile.alive():
        await scene.expect_given_back(charge.session_id, within_s=START_DEADLINE_S + SLACK_S)
        stop = await _stop_of(charge)
        check_equal("the port to stop", stop.port, charge.port)
        left_s = (stop.expires_at_ms - pile.now_ms) / 1000 / scene.bench.speed
        check(left_s > HOUR_S, f"the pile is told to stop for {left_s:.0f} s, not for a day")
        pile.forget_heard()
        await pile.hears_no(messages.Start, for_s=RESEND_S * 1.5)


@cases.case("start.answered-too-late-stays-failed", clause=START, kind=Kind.OFFLINE, needs=SOLD, limit_s=90)
async def answered_too_late(scene: Scene) -> None:
    """What a pile says of a charge given up before changes no money; its settlement is answered all the same."""
    charge = await scene.order(await scene.pile())
    await scene.expect_given_back(charge.session_id, within_s=START_DEADLINE_S + SLACK_S)
    before = await scene.facts(charge.session_id)
    await charge.begin()
    await charge.pile.expect_settled(charge.record(), SettlementResult.STORED)
    check_equal("what is said of the charge", await scene.facts(charge.session_id), before)


@cases.case(
    "start.started-stands-in-for-its-answer",
    clause=clauses.CHARGE.on("First load"),
    kind=Kind.OFFLINE,
    needs=SOLD,
)
async def started_stands_in(scene: Scene) -> None:
    """`started` counts as the answer when `start_ack` was lost: the charge goes on, nothing is sent again."""
    charge = await scene.order(await scene.pile())
    await charge.draw_power()
    await scene.wait_charging(charge.session_id)
    await charge.pile.fence()
    charge.pile.forget_heard()
    await charge.pile.hears_no(messages.Start, for_s=RESEND_S * 1.5)
    await charge.pile.expect_settled(charge.record(), SettlementResult.STORED)


@cases.case(
    "start.answers-may-come-twice-and-crossed", clause=clauses.ORDER.on("Up"), kind=Kind.OFFLINE, needs=SOLD
)
async def answers_may_come_twice(scene: Scene) -> None:
    """`started` before `start_ack`, each twice, is one charge."""
    charge = await scene.order(await scene.pile())
    for _ in range(2):
        await charge.draw_power()
    for _ in range(2):
        await charge.answer(StartResult.OK)
    await scene.wait_charging(charge.session_id)
    await charge.pile.expect_settled(charge.record(), SettlementResult.STORED)
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case(
    "start.refusal-of-a-running-charge-is-not-believed", clause=clauses.STATES, kind=Kind.REFUSAL, needs=SOLD
)
async def refusal_of_a_running_charge(scene: Scene) -> None:
    """A refusal that arrives when power flows already changes nothing; the settlement is charged."""
    charge = await scene.charge()
    await scene.wait_charging(charge.session_id)
    await charge.answer(StartResult.REFUSED, StartCause.PORT_FAULT)
    await charge.pile.expect_settled(charge.record(), SettlementResult.STORED)
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case(
    "start.answer-of-another-pile-changes-nothing",
    clause=clauses.ORDER.on("Up"),
    kind=Kind.REFUSAL,
    needs=SOLD,
)
async def answer_of_another_pile(scene: Scene) -> None:
    """A pile that refuses its neighbour's start refuses nothing."""
    charge, stranger = await scene.order(await scene.pile()), await scene.pile()
    await Charge(stranger, charge.start, charge.register_dwh).answer(
        StartResult.REFUSED, StartCause.PORT_FAULT
    )
    await stranger.fence()
    await charge.begin()
    await scene.wait_charging(charge.session_id)
    await charge.pile.expect_settled(charge.record(), SettlementResult.STORED)


@cases.case("stop.ends-the-charge", clause=STOP, kind=Kind.NORMAL, needs=STOPPED)
async def ends_the_charge(scene: Scene) -> None:
    """A rider's stop reaches the pile with session, port and reason; answered, it comes no more; the charge settles."""
    charge = await scene.charge()
    await scene.wait_charging(charge.session_id)
    await scene.ask(scene.bench.stop, charge.session_id)
    stop = await _stop_of(charge)
    check_equal("the port", stop.port, charge.port)
    await _answer_stop(charge, stop, StopResult.STOPPED)
    record = records.changed(charge.record(), stop_reason=stop.reason)
    await charge.pile.expect_settled(record, SettlementResult.STORED)
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)
    charge.pile.forget_heard()
    await charge.pile.hears_no(messages.Stop, for_s=RESEND_S * 1.5)


@cases.case("stop.is-sent-again-until-answered", clause=COMMANDS, kind=Kind.OFFLINE, needs=STOPPED)
async def stop_is_sent_again(scene: Scene) -> None:
    """An unanswered stop comes again with the same id, and its deadline is a day away."""
    charge = await scene.charge()
    await scene.wait_charging(charge.session_id)
    await scene.ask(scene.bench.stop, charge.session_id)
    first = await _stop_of(charge)
    check_equal("the stop that came again", await _stop_of(charge), first)
    left_s = (first.expires_at_ms - charge.pile.now_ms) / 1000 / scene.bench.speed
    check(HOUR_S < left_s <= 25 * HOUR_S, f"the deadline of the stop is {left_s:.0f} s away")
    await _answer_stop(charge, first, StopResult.ALREADY_ENDED)
    await charge.pile.expect_settled(charge.record(), SettlementResult.STORED)


@cases.case("stop.waits-for-a-pile-offline", clause=COMMANDS, kind=Kind.OFFLINE, needs=STOPPED)
async def waits_for_a_pile_offline(scene: Scene) -> None:
    """A stop asked for while the pile is offline reaches it when it is back."""
    charge = await scene.charge()
    pile = charge.pile
    await scene.wait_charging(charge.session_id)
    await pile.vanish()
    await scene.ask(scene.bench.stop, charge.session_id)
    await pile.connect()
    await pile.say(pile.heartbeat_message())
    stop = await _stop_of(charge)
    await _answer_stop(charge, stop, StopResult.STOPPED)
    await pile.expect_settled(
        records.changed(charge.record(), stop_reason=stop.reason), SettlementResult.STORED
    )
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case("stop.crossed-by-the-settlement", clause=STOP, kind=Kind.OFFLINE, needs=STOPPED)
async def crossed_by_the_settlement(scene: Scene) -> None:
    """A pile that ended by itself before the stop came settles once, whatever it answers to the stop."""
    charge = await scene.charge()
    await scene.wait_charging(charge.session_id)
    await scene.ask(scene.bench.stop, charge.session_id)
    stop = await _stop_of(charge)
    record = records.changed(charge.record(), stop_reason=StopReason.FULL)
    await charge.pile.expect_settled(record, SettlementResult.STORED)
    await _answer_stop(charge, stop, StopResult.ALREADY_ENDED)
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case(
    "stop.an-hour-offline-on-either-side",
    clause=STOP,
    kind=Kind.OFFLINE,
    needs=(*STOPPED, Capability.FAST_CLOCK),
    physical_s=4 * HOUR_S,
)
async def hours_offline_around_a_stop(scene: Scene) -> None:
    """An hour offline before the stop and one after it: the stop arrives, the record counts with its own times."""
    charge = await scene.charge()
    pile = charge.pile
    await scene.wait_charging(charge.session_id)
    await pile.vanish()
    await _let_pass(charge, HOUR_S)
    await scene.ask(scene.bench.stop, charge.session_id)
    await _let_pass(charge, HOUR_S)
    await pile.connect()
    await pile.say(pile.heartbeat_message())
    await _answer_stop(charge, await _stop_of(charge), StopResult.STOPPED)
    duration_s = (pile.now_ms - charge.started_at_ms) // 1000
    record = charge.record(energy_dwh=700, duration_s=duration_s)
    await pile.expect_settled(record, SettlementResult.STORED)
    await scene.expect_charged(charge.session_id, energy_dwh=700)


@cases.case("meter.shows-energy-while-it-charges", clause=METERING, kind=Kind.NORMAL, needs=SOLD)
async def shows_energy(scene: Scene) -> None:
    """The newest reading is what the platform says of a running charge."""
    charge = await scene.charge()
    for number in range(1, 4):
        await charge.pile.say(charge.reading(after_s=30 * number, energy_dwh=20 * number))
    await scene.wait_facts(charge.session_id, lambda facts: facts.energy_dwh == 60, "at 6 Wh")


@cases.case(
    "meter.repeats-and-disorder-are-harmless", clause=clauses.ORDER.on("Up"), kind=Kind.OFFLINE, needs=SOLD
)
async def repeats_and_disorder(scene: Scene) -> None:
    """Readings twice and in any order leave the newest one's energy, and of one instant the first that came."""
    charge = await scene.charge()
    readings = [charge.reading(after_s=30 * number, energy_dwh=20 * number) for number in range(1, 6)]
    for number in (4, 1, 3, 3, 0, 4, 2):
        await charge.pile.say(readings[number])
    await charge.pile.say(charge.reading(after_s=150, energy_dwh=9_000))
    await charge.pile.fence()
    facts = await scene.facts(charge.session_id)
    check_equal("the energy shown", facts.energy_dwh, 100)
    await charge.pile.expect_settled(charge.record(), SettlementResult.STORED)
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case("meter.backlog-keeps-its-times", clause=METERING, kind=Kind.OFFLINE, needs=SOLD, limit_s=60)
async def backlog_keeps_its_times(scene: Scene) -> None:
    """Readings kept through hours offline come late, with the times they were taken, before the settlement or after."""
    charge = await scene.charge()
    pile = charge.pile
    await scene.wait_charging(charge.session_id)
    await pile.vanish()
    await pile.connect()
    await pile.say(pile.heartbeat_message())
    backlog = [charge.reading(after_s=60 * number, energy_dwh=number) for number in range(1, 121)]
    for reading in backlog[:60]:
        await pile.say(reading)
    await scene.wait_facts(charge.session_id, lambda facts: facts.energy_dwh == 60, "at the 60th reading")
    record = charge.record(energy_dwh=120, duration_s=2 * HOUR_S)
    await pile.expect_settled(record, SettlementResult.STORED)
    for reading in backlog[60:]:
        await pile.say(reading)
    await pile.fence()
    await scene.expect_charged(charge.session_id, energy_dwh=120)


@cases.case("meter.of-nobodys-session-is-harmless", clause=METERING, kind=Kind.REFUSAL, needs=SOLD)
async def of_nobodys_session(scene: Scene) -> None:
    """Readings of a session nobody sold, of another pile's, and of 1970 disturb nothing."""
    charge, stranger = await scene.charge(), await scene.pile()
    await charge.pile.say(charge.reading(after_s=30, energy_dwh=20))
    await scene.wait_facts(charge.session_id, lambda facts: facts.energy_dwh == 20, "at 2 Wh")
    now_ms = charge.pile.now_ms
    for session_id, at_ms in ((uuid4(), now_ms), (charge.session_id, now_ms + 60_000), (uuid4(), 1_000)):
        await stranger.say(
            records.reading(session_id, port=1, sampled_at_ms=at_ms, elapsed_s=60, energy_dwh=5_000)
        )
    await stranger.fence()
    check_equal("the energy shown", (await scene.facts(charge.session_id)).energy_dwh, 20)
    await charge.pile.expect_settled(charge.record(), SettlementResult.STORED)
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case(
    "meter.more-than-the-settlement-changes-no-money",
    clause=clauses.CHARGE.on("Settlement"),
    kind=Kind.REFUSAL,
    needs=SOLD,
)
async def more_than_the_settlement(scene: Scene) -> None:
    """Readings beyond the settlement's energy are the operator's to look at; the settlement counts."""
    charge = await scene.charge()
    await charge.pile.say(charge.reading(after_s=30, energy_dwh=2_000))
    await charge.pile.expect_settled(charge.record(), SettlementResult.STORED)
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)


async def _let_pass(charge: Charge, seconds: float) -> None:
    """So much of the platform's time."""
    until_ms = charge.pile.now_ms + seconds * 1000
    while charge.pile.now_ms < until_ms:
        await asyncio.sleep(0.1)
