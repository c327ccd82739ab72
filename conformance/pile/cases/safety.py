"""What protects life: the pile trips by itself, tells until it is heard, and stays shut until a person has looked."""

import uuid
from typing import Final

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.pile.bench import Ability, Load
from conformance.pile.cases.care import applied
from conformance.pile.cases.connection import cut_network
from conformance.pile.cases.settlement import check_consistent
from conformance.pile.cases.start import refused
from conformance.pile.subject import Pile
from protocol.messages import Alarm, AlarmAck, FaultClear, PortStateChanged, Settlement
from protocol.words import (
    AlarmAction,
    AlarmKind,
    AlarmLevel,
    CommandCause,
    CommandResult,
    PortState,
    StartCause,
    StopReason,
)

cases: Final = Catalogue[Pile]()

_PROTECTS: Final = clauses.SAFETY.on("The pile protects, the platform is told")
_ALARMS: Final = clauses.SAFETY.on("Alarms")
_LATCHES: Final = clauses.SAFETY.on("Latches")
_HAZARD: Final = (Ability.HANDS, Ability.HAZARD)


async def alarm(pile: Pile, kind: AlarmKind, level: AlarmLevel = AlarmLevel.TRIP, *, after: int = 0) -> Alarm:
    """The telling of a danger of this kind and level that is not over."""
    return await pile.hear(
        Alarm,
        lambda told: told.kind is kind and told.level is level and told.cleared_at_ms is None,
        after=after,
        within_s=pile.physically_s(60),
    )


def a_clear(pile: Pile, port: int | None) -> FaultClear:
    """A person has looked."""
    return FaultClear(uuid.uuid4(), pile.expiry_ms(), port)


@cases.case("alarm.smoke-stops-the-pile", clause=_PROTECTS, kind=Kind.NORMAL, needs=_HAZARD)
async def smoke_stops_the_pile(pile: Pile) -> None:
    """Smoke opens every relay, ends every session as smoke, and is told within 2 s."""
    await pile.in_service()
    starts = [await pile.charging(port) for port in (1, 2, 3)]
    after = pile.mark
    await pile.bench.inflict(AlarmKind.SMOKE)
    told = await pile.hear(Alarm, within_s=2.0, after=after)
    check_equal("kind and level", (told.kind, told.level), (AlarmKind.SMOKE, AlarmLevel.TRIP))
    check_equal("what the pile did", told.action, AlarmAction.PILE_STOPPED)
    for start in starts:
        record = await pile.settlement(start)
        check_equal(f"the reason of port {start.port}", record.stop_reason, StopReason.SMOKE)
        check_consistent(record)
    await refused(pile, pile.a_start(5), StartCause.SMOKE)


@cases.case("alarm.trips-without-link", clause=_PROTECTS, kind=Kind.OFFLINE, needs=_HAZARD)
async def trips_without_link(pile: Pile) -> None:
    """Without any link a fire ends every session at once; alarm and settlements come when the link is back."""
    await pile.in_service()
    own, other = await pile.charging(1), await pile.charging(2)
    after = pile.mark
    pile.wire.tap.cut(1.0)
    await pile.bench.inflict(AlarmKind.FIRE, 1)
    struck_ms = pile.clock.now_ms()
    told = await pile.hear(Alarm, after=after, within_s=20)
    check_equal("kind", told.kind, AlarmKind.FIRE)
    check(
        abs(told.raised_at_ms - struck_ms) < 5_000 + 500 * pile.clock.speed,
        "the alarm has the time it was sent",
    )
    record = await pile.settlement(own, after=after)
    check_equal("the reason at the fire", record.stop_reason, StopReason.FIRE_SUPPRESSION_OWN_PORT)
    record = await pile.settlement(other, after=after)
    check_equal("the reason elsewhere", record.stop_reason, StopReason.FIRE_SUPPRESSION_OTHER_PORT)


@cases.case("alarm.port-trip-leaves-the-others", clause=_PROTECTS, kind=Kind.NORMAL, needs=_HAZARD)
async def port_trip_leaves_the_others(pile: Pile) -> None:
    """Residual current at one port ends that port's session alone, with fault, reason and value."""
    await pile.in_service()
    hurt, safe = await pile.charging(1), await pile.charging(2)
    await pile.bench.inflict(AlarmKind.LEAKAGE, 1, 45)
    told = await alarm(pile, AlarmKind.LEAKAGE)
    check_equal("port and action", (told.port, told.action), (1, AlarmAction.PORT_STOPPED))
    check_equal("value and limit", (told.value, told.limit), (45, 30))
    check_equal("the reason", (await pile.settlement(hurt)).stop_reason, StopReason.LEAKAGE)
    await pile.hear(PortStateChanged, lambda state: state.port == 1 and state.state is PortState.FAULT)
    await refused(pile, pile.a_start(1), StartCause.NOT_CLEARED)
    await pile.stopped(safe)


@cases.case("alarm.repeats-until-acked", clause=_ALARMS, kind=Kind.REFUSAL, needs=_HAZARD, limit_s=60)
async def repeats_until_acked(pile: Pile) -> None:
    """An alarm that is not acknowledged is told again after 10 s, the same, until an alarm_ack fits."""
    pile.manners.answers_alarm = False
    await pile.in_service()
    await pile.bench.inflict(AlarmKind.SMOKE)
    first, _ = await pile.wire.hear_frame(Alarm)
    again, heard = await pile.wire.hear_frame(Alarm, nth=2, within_s=15)
    check_equal("the alarm repeated", again, first)
    waited_s = heard.at_s - pile.wire.each(Alarm)[0][1].at_s
    check(9 <= waited_s <= 14, f"the alarm was repeated after {waited_s:.1f} s, not 10 s")


@cases.case("alarm.ack-must-fit", clause=_ALARMS, kind=Kind.REFUSAL, needs=_HAZARD)
async def ack_must_fit(pile: Pile) -> None:
    """An alarm_ack of a lower level, or of another alarm, does not end the repetition; one that fits does."""
    pile.manners.answers_alarm = False
    await pile.in_service()
    await pile.bench.inflict(AlarmKind.SMOKE)
    told = await alarm(pile, AlarmKind.SMOKE)
    pile.wire.say(AlarmAck(told.alarm_id, AlarmLevel.WARN, False))
    pile.wire.say(AlarmAck(uuid.uuid4(), AlarmLevel.TRIP, False))
    after = pile.mark
    await cut_network(pile, 0.2)
    await alarm(pile, AlarmKind.SMOKE, after=after)
    pile.wire.say(AlarmAck(told.alarm_id, AlarmLevel.TRIP, False))
    await pile.caught_up()
    after = pile.mark
    await cut_network(pile, 0.2)
    await pile.caught_up()
    check_equal("the alarms told after a fitting alarm_ack", pile.wire.all(Alarm, after=after), [])


@cases.case("alarm.survives-power-cut", clause=_ALARMS, kind=Kind.POWER_FAIL, needs=(*_HAZARD, Ability.POWER))
async def survives_power_cut(pile: Pile) -> None:
    """An alarm without acknowledgement survives a power cut under its id, and the latch holds."""
    pile.manners.answers_alarm = False
    await pile.in_service()
    await pile.bench.inflict(AlarmKind.LEAKAGE, 2)
    told = await alarm(pile, AlarmKind.LEAKAGE)
    after = pile.mark
    await pile.cut_power()
    again = await pile.hear(Alarm, lambda said: said.alarm_id == told.alarm_id, after=after)
    check_equal("kind and port", (again.kind, again.port), (told.kind, told.port))
    await pile.ports_reported(after=after)
    await refused(pile, pile.a_start(2), StartCause.NOT_CLEARED)


@cases.case("alarm.latched-until-cleared", clause=_LATCHES, kind=Kind.REFUSAL, needs=_HAZARD, physical_s=60)
async def latched_until_cleared(pile: Pile) -> None:
    """fault_clear is refused while the danger is measured; once it is gone a person clears it and starts go on."""
    await pile.in_service()
    await pile.bench.inflict(AlarmKind.PORT_OVER_TEMP, 3)
    told = await alarm(pile, AlarmKind.PORT_OVER_TEMP)
    early = await pile.acknowledged(a_clear(pile, 3))
    check_equal(
        "the answer", (early.result, early.cause), (CommandResult.REFUSED, CommandCause.FAULT_PERSISTS)
    )
    await pile.bench.relieve(AlarmKind.PORT_OVER_TEMP, 3)
    over = await pile.hear(Alarm, lambda said: said.cleared_at_ms is not None, within_s=pile.physically_s(60))
    check_equal("the alarm that is over", over.alarm_id, told.alarm_id)
    await refused(pile, pile.a_start(3), StartCause.NOT_CLEARED)
    await pile.done(a_clear(pile, 3))
    await pile.stopped(await pile.accepted(3))


@cases.case("alarm.warns-before-it-trips", clause=_ALARMS, kind=Kind.NORMAL, needs=_HAZARD, physical_s=60)
async def warns_before_it_trips(pile: Pile) -> None:
    """A socket that grows hot is told as a warning and charges on; hotter still it trips under the same alarm id."""
    await pile.in_service()
    start = await pile.charging(1)
    await pile.bench.inflict(AlarmKind.PORT_OVER_TEMP, 1, 650)
    warned = await alarm(pile, AlarmKind.PORT_OVER_TEMP, AlarmLevel.WARN)
    check_equal("action and limit", (warned.action, warned.limit), (AlarmAction.NONE, 600))
    check_equal("the settlements", pile.wire.all(Settlement), [])
    await pile.bench.inflict(AlarmKind.PORT_OVER_TEMP, 1, 850)
    tripped = await alarm(pile, AlarmKind.PORT_OVER_TEMP)
    check_equal("the alarm's id", tripped.alarm_id, warned.alarm_id)
    check_equal("the reason", (await pile.settlement(start)).stop_reason, StopReason.PORT_OVER_TEMP)


@cases.case(
    "alarm.trip-switched-off-still-warns", clause=_PROTECTS, kind=Kind.NORMAL, needs=_HAZARD, physical_s=60
)
async def trip_switched_off_still_warns(pile: Pile) -> None:
    """Where the trip by temperature is switched off a hot socket is told as a warning and charges on."""
    await pile.in_service()
    await applied(pile, 2, {"temp_trip_on": 0})
    start = await pile.charging(1)
    await pile.bench.inflict(AlarmKind.PORT_OVER_TEMP, 1, 950)
    await alarm(pile, AlarmKind.PORT_OVER_TEMP, AlarmLevel.WARN)
    await pile.caught_up()
    check_equal("the settlements", pile.wire.all(Settlement), [])
    await pile.stopped(start)


@cases.case("alarm.a-new-one-after-clearing", clause=_ALARMS, kind=Kind.NORMAL, needs=_HAZARD, physical_s=60)
async def a_new_one_after_clearing(pile: Pile) -> None:
    """What comes back after its clearing is a new alarm with a new id."""
    await pile.in_service()
    ids: list[uuid.UUID] = []
    for _ in range(2):
        after = pile.mark
        await pile.bench.inflict(AlarmKind.WATER)
        told = await alarm(pile, AlarmKind.WATER, after=after)
        ids.append(told.alarm_id)
        await pile.bench.relieve(AlarmKind.WATER)
        await pile.hear(
            Alarm,
            lambda said, told=told: said.alarm_id == told.alarm_id and said.cleared_at_ms is not None,
            within_s=pile.physically_s(60),
        )
    check_equal("the number of different alarms", len(set(ids)), 2)


@cases.case("alarm.mains-latch-nothing", clause=_LATCHES, kind=Kind.NORMAL, needs=_HAZARD, physical_s=100)
async def mains_latch_nothing(pile: Pile) -> None:
    """Mains too high end the sessions and refuse starts while they last, and latch nothing."""
    await pile.in_service()
    start = await pile.charging(1, Load(150))
    await pile.bench.inflict(AlarmKind.OVER_VOLTAGE, None, 2_900)
    record = await pile.settlement(start, clock_s=60)
    check_equal("the reason", record.stop_reason, StopReason.OVER_VOLTAGE)
    await refused(pile, pile.a_start(2), StartCause.OVER_VOLTAGE)
    await pile.bench.relieve(AlarmKind.OVER_VOLTAGE)
    await pile.hear(Alarm, lambda said: said.cleared_at_ms is not None, within_s=pile.physically_s(60))
    await pile.stopped(await pile.accepted(2))
