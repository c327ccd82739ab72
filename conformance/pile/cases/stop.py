"""Stopping a session: the right one, the wrong one, too late, and twice."""

from typing import Final

from conformance import clauses
from conformance.case import Catalogue, Kind, check_equal
from conformance.pile.bench import Ability
from conformance.pile.subject import Pile
from protocol.messages import PortStateChanged, Settlement, StopAck
from protocol.words import PortState, StopReason, StopResult

cases: Final = Catalogue[Pile]()

_STOP: Final = clauses.CHARGE.on("Stop")
_COMMANDS: Final = clauses.ORDER.on("Commands")
_TOO_LATE_MS: Final = 60_000


@cases.case("stop.ends-the-session", clause=_STOP, kind=Kind.NORMAL, needs=(Ability.HANDS,))
async def ends_the_session(pile: Pile) -> None:
    """A stop is answered stopped, its reason is the settlement's, and the port is plugged again."""
    await pile.in_service()
    start = await pile.charging()
    stop = pile.a_stop(start, reason=StopReason.ADMIN_FORCE)
    answer = await pile.ask_stop(stop)
    check_equal("the answer", answer.result, StopResult.STOPPED)
    check_equal("session and port", (answer.session_id, answer.port), (start.session_id, start.port))
    record = await pile.settlement(start)
    check_equal("the reason", record.stop_reason, StopReason.ADMIN_FORCE)
    after = await pile.hear(
        PortStateChanged, lambda state: state.previous is PortState.CHARGING and state.port == start.port
    )
    check_equal("the state after the session", after.state, PortState.PLUGGED)


@cases.case("stop.before-the-first-load", clause=_STOP, kind=Kind.NORMAL)
async def before_the_first_load(pile: Pile) -> None:
    """A session stopped before it drew power is settled with no energy and no seconds."""
    await pile.in_service()
    record = await pile.stopped(await pile.accepted())
    check_equal("energy and duration", (record.energy_dwh, record.duration_s), (0, 0))
    check_equal("slots", record.slots, ())


@cases.case("stop.already-ended", clause=_STOP, kind=Kind.REFUSAL)
async def already_ended(pile: Pile) -> None:
    """A stop of a session this pile has ended is answered already_ended."""
    await pile.in_service()
    start = await pile.accepted()
    await pile.stopped(start)
    answer = await pile.ask_stop(pile.a_stop(start))
    check_equal("the answer", answer.result, StopResult.ALREADY_ENDED)


@cases.case("stop.another-session", clause=_STOP, kind=Kind.REFUSAL, needs=(Ability.HANDS,))
async def another_session(pile: Pile) -> None:
    """A stop that names another session than the port's is answered session_mismatch, and the session goes on."""
    await pile.in_service()
    start = await pile.charging()
    answer = await pile.ask_stop(pile.a_stop(pile.a_start(start.port)))
    check_equal("the answer", answer.result, StopResult.SESSION_MISMATCH)
    await pile.caught_up()
    check_equal("the settlements", pile.wire.all(Settlement), [])
    await pile.stopped(start)


@cases.case("stop.expired", clause=_STOP, kind=Kind.REFUSAL, needs=(Ability.HANDS,))
async def expired(pile: Pile) -> None:
    """A stop whose deadline has passed is answered expired, and the session goes on."""
    await pile.in_service()
    start = await pile.charging()
    answer = await pile.ask_stop(pile.a_stop(start, expires_at_ms=pile.clock.now_ms() - _TOO_LATE_MS))
    check_equal("the answer", answer.result, StopResult.EXPIRED)
    await pile.stopped(start)


@cases.case("stop.same-command-same-answer", clause=_COMMANDS, kind=Kind.REFUSAL)
async def same_command_same_answer(pile: Pile) -> None:
    """A stop repeated with the same command id is answered the same again, after its session's end, too."""
    await pile.in_service()
    start = await pile.accepted()
    stop = pile.a_stop(start)
    first = await pile.ask_stop(stop)
    await pile.settlement(start)
    pile.wire.say(stop)
    again = await pile.hear(StopAck, lambda ack: ack.command_id == stop.command_id, nth=2)
    check_equal("the result repeated", again.result, first.result)
    await pile.caught_up()
    check_equal("the number of settlements", len(pile.wire.all(Settlement)), 1)


@cases.case("stop.waited-in-the-broker", clause=_STOP, kind=Kind.OFFLINE, needs=(Ability.HANDS,))
async def waited_in_the_broker(pile: Pile) -> None:
    """A stop sent while the pile is offline ends the session once the pile is back."""
    await pile.in_service()
    start = await pile.charging()
    pile.wire.tap.cut(1.5)
    answer = await pile.ask_stop(pile.a_stop(start))
    check_equal("the answer", answer.result, StopResult.STOPPED)
    await pile.settlement(start)
