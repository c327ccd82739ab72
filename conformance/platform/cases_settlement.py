"""The record a pile repeats for ever, and what the platform makes of it."""

import asyncio
import time
from typing import Final
from uuid import uuid4

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.platform import records
from conformance.platform.bench import Capability
from conformance.platform.scene import Charge, Scene
from protocol import messages
from protocol.messages import HALF_HOUR_S
from protocol.words import ClockState, SettlementResult, StartResult, StopReason

cases: Final = Catalogue[Scene]()

SETTLEMENT: Final = clauses.CHARGE.on("Settlement")
SOLD: Final = (Capability.ORDERS, Capability.SESSIONS)
TWO_DAYS_MS: Final = 2 * 86_400_000
HOUR_MS: Final = 3_600_000
FIRST_MINUTES_OF_1970_MS: Final = 90_000


@cases.case("settlement.is-stored-and-charged", clause=SETTLEMENT, kind=Kind.NORMAL, needs=SOLD)
async def is_stored_and_charged(scene: Scene) -> None:
    """A settlement is answered `stored`, and the rider pays for its energy and gets the rest back."""
    charge = await scene.charge()
    await charge.pile.expect_settled(charge.record(), SettlementResult.STORED)
    facts = await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)
    check(facts.charged_fen, "nothing was charged")


@cases.case("settlement.again-is-a-duplicate", clause=clauses.ORDER.on("Up"), kind=Kind.OFFLINE, needs=SOLD)
async def again_is_a_duplicate(scene: Scene) -> None:
    """A settlement said again is answered `duplicate`, and charges nothing twice."""
    charge = await scene.charge()
    record = charge.record()
    await charge.pile.expect_settled(record, SettlementResult.STORED)
    once = await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)
    for _ in range(3):
        await charge.pile.expect_settled(record, SettlementResult.DUPLICATE)
    check_equal("what is said of the charge", await scene.facts(charge.session_id), once)


@cases.case("settlement.first-record-counts", clause=clauses.ORDER.on("Up"), kind=Kind.REFUSAL, needs=SOLD)
async def first_record_counts(scene: Scene) -> None:
    """A second, different record of a session is answered `duplicate`, and changes no money."""
    charge = await scene.charge()
    await charge.pile.expect_settled(charge.record(), SettlementResult.STORED)
    other = charge.record(energy_dwh=records.ENERGY_DWH * 5)
    await charge.pile.expect_settled(other, SettlementResult.DUPLICATE)
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case("settlement.of-nobodys-session-is-kept", clause=SETTLEMENT, kind=Kind.NORMAL)
async def of_nobodys_session_is_kept(scene: Scene) -> None:
    """A settlement of a session the platform never sold is kept, and ends its repetition."""
    pile = await scene.pile()
    record = pile.stray_settlement()
    await pile.expect_settled(record, SettlementResult.UNKNOWN_SESSION_KEPT)
    await pile.expect_settled(record, SettlementResult.DUPLICATE)


@cases.case(
    "settlement.of-another-piles-session-changes-nothing", clause=SETTLEMENT, kind=Kind.REFUSAL, needs=SOLD
)
async def of_another_piles_session(scene: Scene) -> None:
    """A pile that settles its neighbour's session is answered, and the neighbour's charge goes on."""
    charge, stranger = await scene.charge(), await scene.pile()
    foreign = charge.record(energy_dwh=records.ENERGY_DWH * 5)
    await stranger.expect_settled(foreign, SettlementResult.UNKNOWN_SESSION_KEPT)
    await charge.pile.expect_settled(charge.record(), SettlementResult.STORED)
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)


def _contradictions(record: messages.Settlement) -> dict[str, messages.Settlement]:
    slot = record.slots[0]
    later = slot._replace(slot=slot.slot + 1, energy_dwh=0, duration_s=0)
    last = record.slots[-1]
    return {
        "the end register below the start": records.changed(
            record, end_register_dwh=record.start_register_dwh - 1
        ),
        "more energy than its slots": records.changed(record, energy_dwh=record.energy_dwh + 1),
        "less energy than its slots": records.changed(record, energy_dwh=record.energy_dwh - 1),
        "more seconds than its slots": records.changed(record, duration_s=record.duration_s + 1),
        "energy without slots": records.changed(record, slots=()),
        "a slot twice": records.changed(
            record, slots=(*record.slots, last._replace(energy_dwh=0, duration_s=0))
        ),
        "a slot of more than half an hour": records.changed(
            record,
            duration_s=record.duration_s + HALF_HOUR_S,
            slots=(*record.slots[:-1], last._replace(duration_s=last.duration_s + HALF_HOUR_S)),
        ),
        "slots out of order": records.changed(
            record, slots=(later._replace(slot=last.slot + 1), *record.slots)
        ),
    }


@cases.case("settlement.contradiction-is-rejected", clause=SETTLEMENT, kind=Kind.REFUSAL)
async def contradiction_is_rejected(scene: Scene) -> None:
    """Each way a record can contradict itself is answered `rejected`, so that the pile stops repeating it."""
    pile = await scene.pile()
    for what, record in _contradictions(pile.stray_settlement()).items():
        bad = records.changed(record, session_id=uuid4())
        check_equal(f"the answer to {what}", await pile.settle(bad), SettlementResult.REJECTED)


@cases.case("settlement.rejected-one-charges-nothing", clause=SETTLEMENT, kind=Kind.REFUSAL, needs=SOLD)
async def rejected_one_charges_nothing(scene: Scene) -> None:
    """A rejected record leaves the session open, and a sound one settles it after all."""
    charge = await scene.charge()
    record = charge.record()
    broken = records.changed(record, energy_dwh=record.energy_dwh + 1)
    await charge.pile.expect_settled(broken, SettlementResult.REJECTED)
    facts = await scene.facts(charge.session_id)
    check(not facts.over and facts.charged_fen is None, f"the rejected record was charged: {facts}")
    await charge.pile.expect_settled(record, SettlementResult.STORED)
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case("settlement.registers-may-differ", clause=SETTLEMENT, kind=Kind.REFUSAL, needs=SOLD)
async def registers_may_differ(scene: Scene) -> None:
    """Registers that moved by more than the energy, as after a reset, are the operator's to look at; it counts."""
    charge = await scene.charge()
    record = charge.record()
    jumped = records.changed(record, start_register_dwh=0, end_register_dwh=50_000)
    await charge.pile.expect_settled(jumped, SettlementResult.STORED)
    await scene.expect_charged(charge.session_id, energy_dwh=record.energy_dwh)


@cases.case("settlement.without-started-counts", clause=SETTLEMENT, kind=Kind.OFFLINE, needs=SOLD)
async def without_started_counts(scene: Scene) -> None:
    """A settlement whose `started` was lost is stored and charged."""
    charge = await scene.order(await scene.pile())
    await charge.answer(StartResult.OK)
    await charge.pile.expect_settled(charge.record(), SettlementResult.STORED)
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case("settlement.without-any-answer-counts", clause=SETTLEMENT, kind=Kind.OFFLINE, needs=SOLD)
async def without_any_answer_counts(scene: Scene) -> None:
    """A settlement is stored and charged though neither `start_ack` nor `started` arrived before it."""
    charge = await scene.order(await scene.pile())
    await charge.pile.expect_settled(charge.record(), SettlementResult.STORED)
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case("settlement.before-started-counts", clause=clauses.ORDER.on("Up"), kind=Kind.OFFLINE, needs=SOLD)
async def before_started_counts(scene: Scene) -> None:
    """`start_ack` and `started` that arrive after the settlement change nothing any more."""
    charge = await scene.order(await scene.pile())
    await charge.pile.expect_settled(charge.record(), SettlementResult.STORED)
    await charge.draw_power()
    await charge.answer(StartResult.OK)
    await charge.pile.fence()
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case(
    "settlement.without-a-load-costs-nothing",
    clause=clauses.CHARGE.on("First load"),
    kind=Kind.NORMAL,
    needs=SOLD,
)
async def without_a_load(scene: Scene) -> None:
    """A session that never drew power settles with nothing, and everything goes back."""
    charge = await scene.order(await scene.pile())
    await charge.answer(StartResult.PENDING_PLUG)
    record = charge.record(energy_dwh=0, duration_s=0)
    check_equal("the reason", record.stop_reason, StopReason.NO_LOAD)
    await charge.pile.expect_settled(record, SettlementResult.STORED)
    facts = await scene.wait_over(charge.session_id)
    check_equal("what was given back", facts.refund_fen, facts.prepaid_fen)


@cases.case(
    "settlement.by-a-clock-of-1970-counts", clause=clauses.ORDER.on("Clock"), kind=Kind.POWER_FAIL, needs=SOLD
)
async def by_a_clock_of_1970(scene: Scene) -> None:
    """A pile that lost its date settles in 1970: the energy counts, the times are moved onto the platform's clock."""
    charge = await scene.charge()
    record = records.settlement(
        charge.session_id,
        port=charge.port,
        started_at_ms=FIRST_MINUTES_OF_1970_MS,
        start_register_dwh=charge.register_dwh,
    )
    lost = records.changed(record, clock=ClockState.NONE)
    await charge.pile.expect_settled(lost, SettlementResult.STORED)
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case("settlement.of-seven-days-fits", clause=clauses.TIMERS, kind=Kind.NORMAL)
async def of_seven_days_fits(scene: Scene) -> None:
    """A record with every half hour of the longest session is taken."""
    pile = await scene.pile()
    record = records.longest(pile.stray_settlement())
    await pile.expect_settled(record, SettlementResult.UNKNOWN_SESSION_KEPT)


@cases.case(
    "settlement.reason-nobody-knows-counts", clause=clauses.BODY.on("Growth"), kind=Kind.NORMAL, needs=SOLD
)
async def reason_nobody_knows(scene: Scene) -> None:
    """A stop reason of a later version counts as `unknown`, and the settlement is stored."""
    charge = await scene.charge()
    body = records.as_map(charge.record()) | {14: 4_095}
    await charge.pile.say_map("settlement", body)
    check_equal("the answer", await charge.pile.settled(charge.session_id), SettlementResult.STORED)
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case("settlement.after-a-power-cut", clause=SETTLEMENT, kind=Kind.POWER_FAIL, needs=SOLD)
async def after_power_returns(scene: Scene) -> None:
    """A session the power cut ended is settled in the next boot, and charged."""
    charge = await scene.charge()
    pile = charge.pile
    record = records.changed(charge.record(), stop_reason=StopReason.POWER_LOSS)
    await pile.cut_power()
    await pile.comes_into_service()
    await pile.expect_settled(record, SettlementResult.STORED)
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case(
    "settlement.of-every-port-after-a-power-cut",
    clause=SETTLEMENT,
    kind=Kind.POWER_FAIL,
    needs=SOLD,
    limit_s=60,
)
async def of_every_port_after_a_power_cut(scene: Scene) -> None:
    """A power cut with a session on every port: each is settled once in the next boot, in any order."""
    pile = await scene.pile()
    charges = [await scene.charge(pile, port) for port in range(1, pile.port_count + 1)]
    await pile.cut_power()
    await pile.comes_into_service()
    for charge in reversed(charges):
        await pile.say(charge.record(energy_dwh=100 + charge.port))
    for charge in charges:
        check_equal("the answer", await pile.settled(charge.session_id), SettlementResult.STORED)
        await scene.expect_charged(charge.session_id, energy_dwh=100 + charge.port)


@cases.case(
    "settlement.days-late-still-counts",
    clause=SETTLEMENT,
    kind=Kind.OFFLINE,
    needs=(*SOLD, Capability.FAST_CLOCK),
    physical_s=TWO_DAYS_MS / 1000 * 1.2,
)
async def days_late(scene: Scene) -> None:
    """A settlement that comes two days late, with its own times, is stored and charged."""
    charge = await scene.charge()
    pile, record = charge.pile, charge.record()
    ended_ms = record.ended_at_ms
    await pile.vanish()
    while pile.now_ms < ended_ms + TWO_DAYS_MS:
        await asyncio.sleep(1)
    await pile.connect()
    await pile.say(pile.heartbeat_message())
    await pile.expect_settled(record, SettlementResult.STORED)
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case(
    "settlement.survives-a-gateway-that-dies",
    clause=SETTLEMENT,
    kind=Kind.POWER_FAIL,
    needs=(*SOLD, Capability.GATEWAY_CRASH),
    limit_s=90,
)
async def survives_a_gateway_that_dies(scene: Scene) -> None:
    """What the broker took while nobody listened is answered by whoever listens next."""
    charge = await scene.charge()
    await charge.pile.fence()
    crash = asyncio.create_task(scene.ask(scene.bench.crash_gateway))
    await asyncio.sleep(0.05)
    await charge.pile.say(charge.record())
    await crash
    result = await charge.pile.settled(charge.session_id, within_s=60)
    check(result in (SettlementResult.STORED, SettlementResult.DUPLICATE), f"the answer is {result.word}")
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case(
    "settlement.is-acknowledged-only-once-committed",
    clause=SETTLEMENT,
    kind=Kind.POWER_FAIL,
    needs=(*SOLD, Capability.GATEWAY_CRASH),
    limit_s=120,
)
async def acknowledged_only_once_committed(scene: Scene) -> None:
    """Of settlements said while the gateway dies, each acknowledged one is charged, the rest when said again."""
    pile = await scene.pile()
    charges = [await scene.charge(pile, port) for port in range(1, pile.port_count + 1)]
    crash = asyncio.create_task(scene.ask(scene.bench.crash_gateway))
    for charge in charges:
        await pile.say(charge.record())
    await crash
    for charge in charges:
        if not await _acknowledged(charge):
            await pile.say(charge.record())
            await pile.settled(charge.session_id, within_s=60)
        await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)


async def _acknowledged(charge: Charge) -> bool:
    """Whether the answer to its settlement comes without asking again, within the first repetition's 10 s."""
    deadline_s = time.monotonic() + 10

    def mine(ack: messages.SettlementAck) -> bool:
        return ack.session_id == charge.session_id

    while time.monotonic() < deadline_s:
        if charge.pile.waiting(messages.SettlementAck, where=mine):
            return True
        await asyncio.sleep(0.1)
    return False
