"""Alarms: acknowledged as far as they were told, whatever comes twice or in disorder."""

from typing import Final
from uuid import UUID

from conformance import clauses
from conformance.case import Catalogue, Kind
from conformance.platform import alarms, records
from conformance.platform.bench import Capability
from conformance.platform.scene import Scene
from protocol import messages
from protocol.words import AlarmAction, AlarmKind, AlarmLevel, SettlementResult

cases: Final = Catalogue[Scene]()

ALARMS: Final = clauses.SAFETY.on("Alarms")


@cases.case("alarm.is-acknowledged-at-each-step", clause=ALARMS, kind=Kind.NORMAL)
async def is_acknowledged_at_each_step(scene: Scene) -> None:
    """Raised, risen and over: each telling is acknowledged with the level and the clearing it had."""
    pile = await scene.pile()
    raised = alarms.alarm(pile)
    await alarms.expect_acknowledged(pile, raised, AlarmLevel.WARN, cleared=False)
    await alarms.expect_acknowledged(pile, alarms.tripped(raised), AlarmLevel.TRIP, cleared=False)
    await alarms.expect_acknowledged(
        pile, alarms.cleared(pile, alarms.tripped(raised)), AlarmLevel.TRIP, cleared=True
    )


@cases.case("alarm.again-is-acknowledged-again", clause=ALARMS, kind=Kind.OFFLINE)
async def again_is_acknowledged_again(scene: Scene) -> None:
    """An alarm whose acknowledgement was lost is acknowledged each time it is told."""
    pile = await scene.pile()
    alarm = alarms.alarm(pile)
    for _ in range(3):
        await alarms.expect_acknowledged(pile, alarm, AlarmLevel.WARN, cleared=False)


@cases.case("alarm.late-step-takes-nothing-back", clause=clauses.ORDER.on("Up"), kind=Kind.OFFLINE)
async def late_step_takes_nothing_back(scene: Scene) -> None:
    """A raising that arrives after rise and clearing is acknowledged with what the platform has by then."""
    pile = await scene.pile()
    raised = alarms.alarm(pile)
    await alarms.expect_acknowledged(
        pile, alarms.cleared(pile, alarms.tripped(raised)), AlarmLevel.TRIP, cleared=True
    )
    await alarms.expect_acknowledged(pile, raised, AlarmLevel.TRIP, cleared=True)


@cases.case("alarm.over-a-power-cut", clause=ALARMS, kind=Kind.POWER_FAIL)
async def over_a_power_cut(scene: Scene) -> None:
    """An alarm kept over a power cut is told and acknowledged in the next boot, under its own id."""
    pile = await scene.pile()
    alarm = alarms.alarm(pile, kind=AlarmKind.POWER_CUT, port=None, value=1, limit=0)
    await alarms.expect_acknowledged(pile, alarm, AlarmLevel.WARN, cleared=False)
    await pile.cut_power()
    await pile.comes_into_service()
    await alarms.expect_acknowledged(pile, alarms.cleared(pile, alarm), AlarmLevel.WARN, cleared=True)


@cases.case("alarm.of-every-kind", clause=ALARMS, kind=Kind.NORMAL, limit_s=60)
async def of_every_kind(scene: Scene) -> None:
    """Every kind the contract knows, and one of a later version, is acknowledged."""
    pile = await scene.pile()
    for kind in AlarmKind:
        await alarms.expect_acknowledged(pile, alarms.alarm(pile, kind=kind), AlarmLevel.WARN, cleared=False)
    unknown = alarms.alarm(pile)
    await pile.say_map("alarm", records.as_map(unknown) | {2: 4_095})
    await pile.hear(messages.AlarmAck, where=lambda ack: ack.alarm_id == unknown.alarm_id)


@cases.case(
    "alarm.smoke-stops-the-other-sessions",
    clause=clauses.SAFETY.on("What the platform does"),
    kind=Kind.NORMAL,
    needs=(Capability.ORDERS, Capability.SESSIONS),
)
async def smoke_stops_the_others(scene: Scene) -> None:
    """Smoke at one port: the platform tells the pile to stop the sessions of the others, which settle as usual."""
    pile = await scene.pile()
    charges = {charge.session_id: charge for charge in [await scene.charge(pile, port) for port in (1, 2)]}
    for session_id in charges:
        await scene.wait_charging(session_id)
    smoke = alarms.alarm(
        pile,
        kind=AlarmKind.SMOKE,
        level=AlarmLevel.TRIP,
        action=AlarmAction.PORT_STOPPED,
        port=3,
        value=1,
        limit=0,
    )
    await alarms.expect_acknowledged(pile, smoke, AlarmLevel.TRIP, cleared=False)
    stopped: set[UUID] = set()
    while stopped != set(charges):
        stop = await pile.hear(messages.Stop, where=lambda stop: stop.session_id not in stopped)
        stopped.add(stop.session_id)
    for charge in charges.values():
        await pile.expect_settled(charge.record(), SettlementResult.STORED)
        await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)
