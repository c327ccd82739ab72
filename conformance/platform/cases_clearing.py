"""What a trip has locked stays locked until a person has looked and the pile has released it."""

from typing import Final

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.platform import alarms
from conformance.platform.bench import Capability
from conformance.platform.puppet import Puppet
from conformance.platform.scene import Scene
from protocol import messages
from protocol.words import AlarmAction, AlarmKind, AlarmLevel, CommandCause, CommandResult

cases: Final = Catalogue[Scene]()

LATCHES: Final = clauses.SAFETY.on("Latches")
RESPONSE: Final = clauses.SAFETY.on("What the platform does")
ORDERED: Final = (Capability.ORDERS,)
CLEARED: Final = (*ORDERED, Capability.CLEARING)
PORT: Final = 2
RESEND_S: Final = 5.0


async def _raise(pile: Puppet) -> messages.Alarm:
    """Port 2 has tripped, and is hot."""
    told = alarms.tripped(alarms.alarm(pile, port=PORT))
    await alarms.expect_acknowledged(pile, told, AlarmLevel.TRIP, cleared=False)
    return told


async def _end(pile: Puppet, told: messages.Alarm) -> None:
    """What tripped is over."""
    await alarms.expect_acknowledged(pile, alarms.cleared(pile, told), AlarmLevel.TRIP, cleared=True)


async def _trip(pile: Puppet) -> None:
    """Port 2 has tripped, and is no longer hot; the platform has all of that."""
    await _end(pile, await _raise(pile))


async def _clear(scene: Scene, pile: Puppet) -> messages.FaultClear:
    """A person has looked; what the pile hears of it."""
    await scene.ask(scene.bench.clear_faults, pile.pile_id)
    return await pile.hear(messages.FaultClear)


async def _answer(
    pile: Puppet, clear: messages.FaultClear, result: CommandResult, cause: CommandCause | None = None
) -> None:
    await pile.say(
        messages.CommandAck(command_id=clear.command_id, result=result, at_ms=pile.now_ms, cause=cause)
    )
    await pile.fence()


async def _expect_started(scene: Scene, pile: Puppet, port: int = PORT) -> None:
    start = (await scene.order(pile, port)).start
    check_equal("the port of the start", start.port, port)


@cases.case("clear.a-trip-locks-its-port", clause=RESPONSE, kind=Kind.REFUSAL, needs=ORDERED)
async def a_trip_locks_its_port(scene: Scene) -> None:
    """No order is taken for a port that tripped, neither while it is hot nor after; the next port sells on."""
    pile = await scene.pile()
    told = await _raise(pile)
    await scene.expect_no_order(pile, PORT)
    await _end(pile, told)
    await scene.expect_no_order(pile, PORT)
    await _expect_started(scene, pile, port=1)
    await pile.hears_no(messages.Start)


@cases.case("clear.releases-once-the-pile-is-done", clause=LATCHES, kind=Kind.NORMAL, needs=CLEARED)
async def releases_once_done(scene: Scene) -> None:
    """A person clears: the command names the port, comes again until answered; done, the port sells again."""
    pile = await scene.pile()
    await _trip(pile)
    clear = await _clear(scene, pile)
    check_equal("the port", clear.port, PORT)
    check(clear.expires_at_ms > pile.now_ms, "the deadline has passed already")
    again = await pile.hear(messages.FaultClear)
    check_equal("the command that came again", again, clear)
    await _answer(pile, clear, CommandResult.DONE)
    await _expect_started(scene, pile)
    pile.forget_heard()
    await pile.hears_no(messages.FaultClear, for_s=RESEND_S * 1.5)


@cases.case("clear.waits-for-the-piles-answer", clause=LATCHES, kind=Kind.REFUSAL, needs=CLEARED)
async def waits_for_the_answer(scene: Scene) -> None:
    """Until the pile has answered, it still refuses every start, and the platform takes no order for the port."""
    pile = await scene.pile()
    await _trip(pile)
    clear = await _clear(scene, pile)
    await scene.expect_no_order(pile, PORT)
    await _answer(pile, clear, CommandResult.DONE)
    await _expect_started(scene, pile)


@cases.case("clear.refused-keeps-the-lock", clause=LATCHES, kind=Kind.REFUSAL, needs=CLEARED)
async def refused_keeps_the_lock(scene: Scene) -> None:
    """A pile that still measures the danger refuses: the port stays locked until it is cleared anew, and done."""
    pile = await scene.pile()
    await _trip(pile)
    first = await _clear(scene, pile)
    await _answer(pile, first, CommandResult.REFUSED, CommandCause.FAULT_PERSISTS)
    await scene.expect_no_order(pile, PORT)
    pile.forget_heard()
    second = await _clear(scene, pile)
    check(second.command_id != first.command_id, "a new look has the old command's id")
    await _answer(pile, second, CommandResult.DONE)
    await _expect_started(scene, pile)


@cases.case("clear.frees-the-whole-pile", clause=LATCHES, kind=Kind.NORMAL, needs=CLEARED)
async def frees_the_whole_pile(scene: Scene) -> None:
    """What latches the pile locks all of its ports, and is cleared without a port."""
    pile = await scene.pile()
    water = alarms.alarm(
        pile,
        kind=AlarmKind.WATER,
        level=AlarmLevel.TRIP,
        action=AlarmAction.PILE_STOPPED,
        value=1,
        limit=0,
        port=None,
    )
    await alarms.expect_acknowledged(pile, water, AlarmLevel.TRIP, cleared=False)
    await _end(pile, water)
    for port in (1, PORT):
        await scene.expect_no_order(pile, port)
    clear = await _clear(scene, pile)
    check(clear.port is None, f"only port {clear.port} is cleared")
    await _answer(pile, clear, CommandResult.DONE)
    for port in (1, PORT):
        await _expect_started(scene, pile, port)


@cases.case(
    "clear.answer-of-another-pile", clause=clauses.ORDER.on("Commands"), kind=Kind.REFUSAL, needs=CLEARED
)
async def answer_of_another_pile(scene: Scene) -> None:
    """Another pile's answer releases nothing: the command comes again, and the port stays locked."""
    pile, other = await scene.pile(), await scene.pile()
    await _trip(pile)
    clear = await _clear(scene, pile)
    await _answer(other, clear, CommandResult.DONE)
    await scene.expect_no_order(pile, PORT)
    again = await pile.hear(messages.FaultClear)
    check_equal("the command that came again", again, clear)
    await _answer(pile, clear, CommandResult.DONE)
    await _expect_started(scene, pile)


@cases.case("clear.reaches-a-pile-that-was-away", clause=LATCHES, kind=Kind.OFFLINE, needs=CLEARED)
async def reaches_a_pile_that_was_away(scene: Scene) -> None:
    """Cleared while the pile has no link: it hears of it once it is back, and the port is locked until then."""
    pile = await scene.pile()
    await _trip(pile)
    await pile.vanish()
    await scene.ask(scene.bench.clear_faults, pile.pile_id)
    await pile.connect()
    await pile.say(pile.heartbeat_message())
    clear = await pile.hear(messages.FaultClear)
    await scene.expect_no_order(pile, PORT)
    await _answer(pile, clear, CommandResult.DONE)
    await _expect_started(scene, pile)


@cases.case("clear.over-a-power-cut", clause=LATCHES, kind=Kind.POWER_FAIL, needs=CLEARED)
async def over_a_power_cut(scene: Scene) -> None:
    """A latch outlives a power cut, and so does the lock; a command the pile lost with its power comes again."""
    pile = await scene.pile()
    await _trip(pile)
    lost = await _clear(scene, pile)
    await pile.cut_power()
    await pile.comes_into_service()
    await scene.expect_no_order(pile, PORT)
    clear = await pile.hear(messages.FaultClear)
    check_equal("the command that came again", clear.command_id, lost.command_id)
    await _answer(pile, clear, CommandResult.DONE)
    await _expect_started(scene, pile)
