"""Starting a session: accepted, waiting for a plug, refused, repeated."""

import uuid
from typing import Final

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.pile.bench import Ability, Load
from conformance.pile.subject import USUAL_LOAD, Pile
from protocol.messages import PortStateChanged, Start, StartAck, Started
from protocol.words import PortState, StartCause, StartResult, StateCause

cases: Final = Catalogue[Pile]()

_START: Final = clauses.CHARGE.on("Start")
_FIRST_LOAD: Final = clauses.CHARGE.on("First load")
_COMMANDS: Final = clauses.ORDER.on("Commands")
_ANSWER_LIMIT_S: Final = 3.0
_TOO_LATE_MS: Final = 60_000


async def refused(pile: Pile, start: Start, cause: StartCause) -> None:
    """Send a start that must be refused for this cause."""
    answer = await pile.ask_start(start)
    check_equal("the answer", answer.result, StartResult.REFUSED)
    check_equal("the cause", answer.cause, cause)


@cases.case("start.ok-when-plugged", clause=_START, kind=Kind.NORMAL, needs=(Ability.HANDS,))
async def ok_when_plugged(pile: Pile) -> None:
    """A start on a plugged port is answered ok within 3 s, with ids, port and register, and the port is starting."""
    await pile.in_service()
    await pile.bench.plug(1, Load(3.0))
    start = pile.a_start(1)
    asked_s = len(pile.wire.heard)
    pile.wire.say(start)
    answer, heard = await pile.wire.hear_frame(
        StartAck, lambda ack: ack.command_id == start.command_id, within_s=_ANSWER_LIMIT_S, after=asked_s
    )
    check_equal("the answer", answer.result, StartResult.OK)
    check_equal("the cause", answer.cause, None)
    check_equal("session and port", (answer.session_id, answer.port), (start.session_id, 1))
    check(
        abs(answer.at_ms - heard.now_ms) < 10_000 * pile.clock.speed, "the answer has another time than now"
    )
    state = await pile.hear(PortStateChanged, lambda state: state.state is PortState.STARTING)
    check_equal("port, cause", (state.port, state.cause), (1, StateCause.COMMAND))
    check_equal("the session on the port", state.session_id, start.session_id)


@cases.case("start.pending-without-a-plug", clause=_START, kind=Kind.NORMAL, needs=(Ability.HANDS,))
async def pending_without_a_plug(pile: Pile) -> None:
    """A start on an empty port is answered pending_plug; the plug put in later is charged."""
    await pile.in_service()
    start = pile.a_start(2)
    answer = await pile.ask_start(start)
    check_equal("the answer", answer.result, StartResult.PENDING_PLUG)
    await pile.bench.plug(2, USUAL_LOAD)
    started = await pile.hear(Started)
    check_equal("command, session, port", _ids(started), _ids(start))


@cases.case("start.several-waiting-kept-apart", clause=_START, kind=Kind.NORMAL, needs=(Ability.HANDS,))
async def several_waiting_kept_apart(pile: Pile) -> None:
    """Of several starts that wait for a plug, the one whose port is plugged begins."""
    await pile.in_service()
    starts = [await pile.accepted(port) for port in (1, 2, 3)]
    await pile.bench.plug(2, USUAL_LOAD)
    started = await pile.hear(Started)
    check_equal("the session that began", started.session_id, starts[1].session_id)
    await pile.caught_up()
    check_equal("the number of sessions begun", len(pile.wire.all(Started)), 1)


@cases.case("start.same-command-same-answer", clause=_COMMANDS, kind=Kind.REFUSAL, needs=(Ability.HANDS,))
async def same_command_same_answer(pile: Pile) -> None:
    """A start repeated with the same command id is answered the same again and starts nothing twice."""
    await pile.in_service()
    start = await pile.charging()
    first = await pile.answer_to(start)
    for count in (2, 3):
        pile.wire.say(start)
        again = await pile.hear(StartAck, lambda ack: ack.command_id == start.command_id, nth=count)
        check_equal("the repeated answer", again, first)
    check_equal("the number of sessions begun", len(pile.wire.all(Started)), 1)
    await pile.stopped(start)
    pile.wire.say(start)
    late = await pile.hear(StartAck, lambda ack: ack.command_id == start.command_id, nth=4)
    check_equal("the answer repeated after the end", late, first)
    await pile.caught_up()
    check_equal("the number of sessions begun", len(pile.wire.all(Started)), 1)


@cases.case(
    "start.same-answer-after-power-cut", clause=clauses.IDENTITY, kind=Kind.POWER_FAIL, needs=(Ability.POWER,)
)
async def same_answer_after_power_cut(pile: Pile) -> None:
    """The answer to a command survives a power cut: the command repeated afterwards starts nothing anew."""
    await pile.in_service()
    start = await pile.accepted()
    first = await pile.answer_to(start)
    after = pile.mark
    await pile.cut_power()
    await pile.ports_reported(after=after)
    pile.wire.say(start)
    again = await pile.hear(StartAck, lambda ack: ack.command_id == start.command_id, nth=2)
    check_equal("the repeated answer", again, first)


@cases.case("start.expired", clause=_COMMANDS, kind=Kind.REFUSAL)
async def expired(pile: Pile) -> None:
    """A start whose deadline has passed by the pile's clock is refused with expired."""
    await pile.in_service()
    await refused(pile, pile.a_start(expires_at_ms=pile.clock.now_ms() - _TOO_LATE_MS), StartCause.EXPIRED)


@cases.case("start.waited-in-the-broker", clause=_COMMANDS, kind=Kind.OFFLINE)
async def waited_in_the_broker(pile: Pile) -> None:
    """A start that waited in the broker while the pile was offline, and ran out there, is refused with expired."""
    await pile.in_service()
    start = pile.a_start(expires_at_ms=pile.expiry_ms(1.0))
    pile.wire.tap.cut(2.5)
    pile.wire.say(start)
    answer = await pile.hear(StartAck, lambda ack: ack.command_id == start.command_id, within_s=20)
    check_equal("the cause", answer.cause, StartCause.EXPIRED)


@cases.case("start.port-busy", clause=_START, kind=Kind.REFUSAL)
async def port_busy(pile: Pile) -> None:
    """A start on a port that has a session is refused with port_busy, and the session goes on."""
    await pile.in_service()
    start = await pile.accepted()
    await refused(pile, pile.a_start(), StartCause.PORT_BUSY)
    await pile.stopped(start)


@cases.case("start.no-such-port", clause=_START, kind=Kind.REFUSAL)
async def no_such_port(pile: Pile) -> None:
    """A start on a port the pile does not have is refused with no_such_port."""
    await pile.in_service()
    if pile.port_count < 20:
        await refused(pile, pile.a_start(pile.port_count + 1), StartCause.NO_SUCH_PORT)


@cases.case("start.session-ended", clause=clauses.STATES, kind=Kind.REFUSAL)
async def session_ended(pile: Pile) -> None:
    """A start that names an ended session is refused with session_ended."""
    await pile.in_service()
    start = await pile.accepted()
    await pile.stopped(start)
    await refused(pile, pile.a_start(session_id=start.session_id), StartCause.SESSION_ENDED)


@cases.case(
    "start.session-ended-before-a-power-cut",
    clause=clauses.IDENTITY,
    kind=Kind.POWER_FAIL,
    needs=(Ability.POWER,),
)
async def session_ended_before_a_power_cut(pile: Pile) -> None:
    """Ids of ended sessions survive a power cut: a start that names one is refused."""
    await pile.in_service()
    start = await pile.accepted()
    await pile.stopped(start)
    after = pile.mark
    await pile.cut_power()
    await pile.ports_reported(after=after)
    await refused(pile, pile.a_start(session_id=start.session_id), StartCause.SESSION_ENDED)


@cases.case(
    "start.pile-over-power",
    clause=_START,
    kind=Kind.REFUSAL,
    needs=(Ability.FRESH, Ability.HANDS),
    physical_s=100,
)
async def pile_over_power(pile: Pile) -> None:
    """While the pile draws more than it may begin with, a start is refused with pile_over_power."""
    await pile.in_service()
    for port in range(1, 10):
        await pile.charging(port, Load(890.0))
    await refused(pile, pile.a_start(10), StartCause.PILE_OVER_POWER)


@cases.case(
    "start.started-once", clause=_FIRST_LOAD, kind=Kind.NORMAL, needs=(Ability.HANDS,), physical_s=100
)
async def started_once(pile: Pile) -> None:
    """The first load is told once: ids, port, register and power; the port is charging, and time counts from there."""
    await pile.in_service()
    start = pile.a_start(3)
    answer = await pile.ask_start(start)
    await pile.bench.plug(3, Load(300.0))
    started = await pile.hear(Started)
    check_equal("command, session and port", _ids(started), _ids(start))
    check_equal("the register", started.register_dwh, answer.register_dwh)
    check(started.power_dw >= 50, f"the first load is told as {started.power_dw / 10} W")
    check(started.started_at_ms >= answer.at_ms, "the first load came before the start")
    state = await pile.hear(PortStateChanged, lambda state: state.state is PortState.CHARGING)
    check_equal("port, cause", (state.port, state.cause), (3, StateCause.LOAD))
    record = await pile.stopped(start)
    check_equal("the start of the session", record.started_at_ms, started.started_at_ms)
    check_equal("the number of times the first load was told", len(pile.wire.all(Started)), 1)


@cases.case("start.ids-are-repeated-as-given", clause=clauses.MESSAGES, kind=Kind.NORMAL)
async def ids_are_repeated_as_given(pile: Pile) -> None:
    """Ids and the number of the tariff are repeated as given, whatever they are."""
    await pile.in_service()
    odd = uuid.UUID(int=0)
    start = await pile.accepted(
        command_id=odd, session_id=uuid.UUID(int=(1 << 128) - 1), tariff_version=(1 << 53) - 1
    )
    record = await pile.stopped(start)
    check_equal("the session", record.session_id, start.session_id)
    check_equal("the tariff", record.tariff_version, start.tariff_version)


def _ids(said: Start | Started) -> tuple[uuid.UUID, uuid.UUID, int]:
    return said.command_id, said.session_id, said.port
