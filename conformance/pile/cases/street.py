"""The street: power cuts with everything running, registers, and clocks that jump."""

import asyncio
from typing import Final

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.pile.bench import Ability, Load
from conformance.pile.cases.settlement import check_consistent
from conformance.pile.subject import Pile
from protocol.messages import Heartbeat, MeterFrame, Settlement, StartAck, Time
from protocol.words import StopReason

cases: Final = Catalogue[Pile]()

_HOUR_MS: Final = 3_600_000


@cases.case(
    "street.ten-sessions-power-cut",
    clause=clauses.CHARGE.on("Settlement"),
    kind=Kind.POWER_FAIL,
    needs=(Ability.HANDS, Ability.POWER),
    physical_s=400,
)
async def ten_sessions_power_cut(pile: Pile) -> None:
    """Ten sessions cut off by a power cut are settled one by one after it, each once acknowledged."""
    await pile.in_service()
    starts = [await pile.charging(port, Load(150)) for port in range(1, pile.port_count + 1)]
    await pile.hear(
        MeterFrame, lambda frame: len(frame.samples) == pile.port_count, within_s=pile.physically_s(60)
    )
    after = pile.mark
    await pile.cut_power(0.5)
    for start in starts:
        record = await pile.settlement(start, after=after)
        check_equal(f"the reason of port {start.port}", record.stop_reason, StopReason.POWER_LOSS)
        check_consistent(record)
    await pile.caught_up()
    told = [record.session_id for record in pile.wire.all(Settlement, after=after)]
    check_equal("the number of settlements", len(told), len(set(told)))


@cases.case(
    "street.register-never-goes-back",
    clause=clauses.IDENTITY,
    kind=Kind.POWER_FAIL,
    needs=(Ability.HANDS, Ability.POWER),
    physical_s=600,
)
async def register_never_goes_back(pile: Pile) -> None:
    """A port's energy register never goes back over power cuts, with and without a session running."""
    await pile.in_service()
    registers: list[int] = []
    for running in (True, False, True):
        start = await pile.charging(1, Load(900))
        registers.append((await pile.answer_to(start)).register_dwh)
        await pile.hear(MeterFrame, nth=len(registers), within_s=pile.physically_s(100))
        if not running:
            await pile.stopped(start)
        after = pile.mark
        await pile.cut_power(0.2)
        record = await pile.settlement(start) if not running else await pile.settlement(start, after=after)
        registers += [record.start_register_dwh, record.end_register_dwh]
        await pile.ports_reported(after=after)
    check_equal("the registers in order", registers, sorted(registers))
    check(registers[-1] > registers[0], "the register did not grow under load")


@cases.case(
    "street.energy-of-the-pile-never-goes-back",
    clause=clauses.MESSAGES,
    kind=Kind.POWER_FAIL,
    needs=(Ability.HANDS, Ability.POWER),
    physical_s=600,
)
async def energy_of_the_pile_never_goes_back(pile: Pile) -> None:
    """The energy a heartbeat tells never goes back over a power cut."""
    pile.manners.heartbeat_s = 30
    await pile.in_service()
    start = await pile.charging(1, Load(900))
    await pile.hear(MeterFrame, nth=3, within_s=pile.physically_s(100))
    await pile.stopped(start)
    await pile.hear(Heartbeat, nth=len(pile.wire.all(Heartbeat)) + 1, within_s=pile.physically_s(60))
    before = pile.wire.all(Heartbeat)[-1].energy_wh
    after = pile.mark
    await pile.cut_power()
    heartbeat = await pile.hear(Heartbeat, after=after, within_s=pile.physically_s(60))
    check(before > 0, "no energy was told though a session took some")
    check(heartbeat.energy_wh >= before, f"the energy went back from {before} Wh to {heartbeat.energy_wh} Wh")


@cases.case(
    "clock.step-does-not-change-durations",
    clause=clauses.ORDER.on("Clock"),
    kind=Kind.NORMAL,
    needs=(Ability.HANDS,),
    physical_s=600,
)
async def step_does_not_change_durations(pile: Pile) -> None:
    """A clock set two hours ahead during a session changes neither its length nor its slots' seconds."""
    await pile.in_service()
    start = await pile.charging(1, Load(200), limit_s=400)
    pile.manners.clock_error_ms = 2 * _HOUR_MS
    pile.wire.say(Time(time_ms=pile.clock.now_ms() + 2 * _HOUR_MS))
    record = await pile.settlement(start, clock_s=600)
    check_equal("the duration", record.duration_s, 400)
    check_equal("the length", (record.ended_at_ms - record.started_at_ms) // 1000, 400)
    check_consistent(record)


@cases.case(
    "street.session-begun-in-1970",
    clause=clauses.ORDER.on("Clock"),
    kind=Kind.POWER_FAIL,
    needs=(Ability.HANDS, Ability.NO_CLOCK, Ability.POWER),
    physical_s=300,
)
async def session_begun_in_1970(pile: Pile) -> None:
    """A pile without a date settles what the power cut left open with the times the session began by."""
    await pile.in_service()
    start = await pile.charging(1, Load(300))
    await pile.hear(MeterFrame, nth=2, within_s=pile.physically_s(100))
    began_ms = (await pile.answer_to(start)).at_ms
    after = pile.mark
    await pile.cut_power(0.5)
    record = await pile.settlement(start, after=after)
    check_consistent(record)
    check(abs(record.started_at_ms - began_ms) < _HOUR_MS, "the session's start has moved to another date")


@cases.case(
    "street.power-flutters",
    clause=clauses.ENVELOPE.on("The counter"),
    kind=Kind.POWER_FAIL,
    needs=(Ability.POWER,),
)
async def power_flutters(pile: Pile) -> None:
    """A pile whose mains come and go several times within seconds boots properly in the end."""
    await pile.in_service()
    for _ in range(4):
        await pile.bench.cut_power(0.05)
        await asyncio.sleep(0.1)
    after = pile.mark
    await pile.cut_power()
    await pile.ports_reported(after=after)
    start = await pile.accepted()
    check_equal("the number of answers", len(pile.wire.all(StartAck)), 1)
    await pile.stopped(start)
