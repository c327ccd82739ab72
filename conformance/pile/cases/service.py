"""What a technician asks of a pile: to tell, to restart, to be found, to speak, to test and close ports."""

import uuid
from typing import Final

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.pile.bench import Ability
from conformance.pile.cases.care import applied
from conformance.pile.cases.start import refused
from conformance.pile.subject import Pile
from protocol.messages import (
    Boot,
    CommandAck,
    Heartbeat,
    Locate,
    LogLines,
    LogRequest,
    MeterFrame,
    PortSet,
    PortStateChanged,
    Query,
    Reboot,
    RelayTest,
    TimeRequest,
    Voice,
)
from protocol.words import (
    BootReason,
    CommandCause,
    CommandResult,
    PortState,
    QueryTopic,
    StartCause,
    StopReason,
)

cases: Final = Catalogue[Pile]()

_SERVICE: Final = clauses.SERVICE
_COMMANDS: Final = clauses.ORDER.on("Commands")
_LINES_A_PART: Final = 16
_TOO_LATE_MS: Final = 60_000


@cases.case(
    "time.asked-for-after-boot", clause=clauses.CHARGE.on("Time"), kind=Kind.NORMAL, needs=(Ability.FRESH,)
)
async def time_asked_for_after_boot(pile: Pile) -> None:
    """After boot_ack the pile asks for the time and tells its own."""
    await pile.in_service()
    asked, heard = await pile.wire.hear_frame(TimeRequest)
    off_s = abs(asked.at_ms - heard.now_ms) / 1000
    check(off_s < 10 * pile.clock.speed, f"the pile's clock is {off_s:.0f} s off after boot_ack")


@cases.case("query.status", clause=_SERVICE, kind=Kind.NORMAL)
async def query_status(pile: Pile) -> None:
    """Asked for its status the pile sends a heartbeat and every port, and command_ack after them."""
    pile.manners.heartbeat_s = 86_400
    await pile.in_service()
    after = pile.mark
    query = Query(uuid.uuid4(), QueryTopic.STATUS, pile.expiry_ms())
    pile.wire.say(query)
    _, answered = await pile.wire.hear_frame(CommandAck, lambda ack: ack.command_id == query.command_id)
    before = [frame.message for frame in pile.wire.heard[after : answered.index]]
    check(any(isinstance(message, Heartbeat) for message in before), "no heartbeat came before command_ack")
    ports = {message.port for message in before if isinstance(message, PortStateChanged)}
    check_equal("the ports told before command_ack", ports, set(range(1, pile.port_count + 1)))


@cases.case("query.meter", clause=_SERVICE, kind=Kind.NORMAL, needs=(Ability.HANDS,))
async def query_meter(pile: Pile) -> None:
    """Asked for its meters the pile sends a frame at once, with an instant of its own."""
    pile.manners.sample_s = 3_600
    await pile.in_service()
    start = await pile.charging()
    after = pile.mark
    await pile.done(Query(uuid.uuid4(), QueryTopic.METER, pile.expiry_ms()))
    frame = await pile.hear(MeterFrame, after=after)
    check_equal("the sessions metered", [row.session_id for row in frame.samples], [start.session_id])


@cases.case("log.comes-in-parts", clause=_SERVICE, kind=Kind.NORMAL)
async def log_comes_in_parts(pile: Pile) -> None:
    """The log comes oldest first in numbered parts of up to 16 lines, the last one marked, before command_ack."""
    await pile.in_service()
    for _ in range(20):
        await pile.done(Locate(uuid.uuid4(), 1, pile.expiry_ms()))
    request = LogRequest(uuid.uuid4(), 0, 18, pile.expiry_ms())
    await pile.done(request)
    parts = pile.wire.all(LogLines, lambda part: part.command_id == request.command_id)
    check_equal("the numbers of the parts", [part.part for part in parts], list(range(1, len(parts) + 1)))
    check_equal("which part is the last", [part.last for part in parts], [False] * (len(parts) - 1) + [True])
    lines = [line for part in parts for line in part.lines]
    check(len(lines) <= 18, f"{len(lines)} lines came where 18 were asked for")
    check(all(len(part.lines) <= _LINES_A_PART for part in parts), "a part has more than 16 lines")
    instants = [line.at_ms for line in lines]
    check_equal("the instants in order", instants, sorted(instants))


@cases.case("reboot.at-once-when-idle", clause=_SERVICE, kind=Kind.NORMAL)
async def reboot_at_once_when_idle(pile: Pile) -> None:
    """An idle pile told to reboot answers, and boots with the reason command."""
    await pile.in_service()
    after = pile.mark
    answer = await pile.acknowledged(Reboot(uuid.uuid4(), False, pile.expiry_ms()))
    check(
        answer.result in (CommandResult.DONE, CommandResult.ACCEPTED),
        f"the answer is {answer.result.name.lower()}",
    )
    boot = await pile.hear(Boot, after=after, within_s=20)
    check_equal("the reason of the boot", boot.reason, BootReason.COMMAND)


@cases.case("reboot.waits-for-sessions", clause=_SERVICE, kind=Kind.REFUSAL, needs=(Ability.HANDS,))
async def reboot_waits_for_sessions(pile: Pile) -> None:
    """Told to reboot while a session runs the pile accepts, and boots once the session has ended."""
    await pile.in_service()
    start = await pile.charging()
    after = pile.mark
    answer = await pile.acknowledged(Reboot(uuid.uuid4(), False, pile.expiry_ms()))
    check_equal("the answer", answer.result, CommandResult.ACCEPTED)
    await pile.caught_up()
    check_equal("the boots while the session runs", pile.wire.all(Boot, after=after), [])
    await pile.ask_stop(pile.a_stop(start))
    boot = await pile.hear(Boot, after=after, within_s=20)
    check_equal("the reason of the boot", boot.reason, BootReason.COMMAND)
    record = await pile.settlement(start)
    check_equal("the reason of the session's end", record.stop_reason, StopReason.USER_STOP_APP)


@cases.case("reboot.forced-ends-sessions", clause=_SERVICE, kind=Kind.NORMAL, needs=(Ability.HANDS,))
async def reboot_forced_ends_sessions(pile: Pile) -> None:
    """A forced reboot ends running sessions as reboot and happens at once."""
    await pile.in_service()
    start = await pile.charging()
    after = pile.mark
    await pile.acknowledged(Reboot(uuid.uuid4(), True, pile.expiry_ms()))
    await pile.hear(Boot, after=after, within_s=20)
    record = await pile.settlement(start)
    check_equal("the reason of the session's end", record.stop_reason, StopReason.REBOOT)


@cases.case("reboot.same-command-once", clause=_COMMANDS, kind=Kind.REFUSAL)
async def reboot_same_command_once(pile: Pile) -> None:
    """The same reboot delivered again after the boot is answered the same and restarts nothing."""
    await pile.in_service()
    reboot = Reboot(uuid.uuid4(), False, pile.expiry_ms(300))
    after = pile.mark
    first = await pile.acknowledged(reboot)
    await pile.hear(Boot, after=after, within_s=20)
    await pile.ports_reported(after=after)
    again = pile.mark
    pile.wire.say(reboot)
    answer = await pile.hear(CommandAck, lambda ack: ack.command_id == reboot.command_id, after=again)
    check_equal("the answer repeated", answer.result, first.result)
    await pile.caught_up()
    check_equal("the boots", pile.wire.all(Boot, after=again), [])


@cases.case("locate.done", clause=_SERVICE, kind=Kind.NORMAL)
async def locate_done(pile: Pile) -> None:
    """Told to be found the pile, or one of its ports, answers done; a port it lacks is refused."""
    await pile.in_service()
    await pile.done(Locate(uuid.uuid4(), 5, pile.expiry_ms()))
    await pile.done(Locate(uuid.uuid4(), 5, pile.expiry_ms(), port=1))
    if pile.port_count < 20:
        wrong = await pile.acknowledged(Locate(uuid.uuid4(), 5, pile.expiry_ms(), port=pile.port_count + 1))
        check_equal("the cause", wrong.cause, CommandCause.NO_SUCH_PORT)


@cases.case("voice.silent-in-quiet-hours", clause=_SERVICE, kind=Kind.REFUSAL)
async def voice_silent_in_quiet_hours(pile: Pile) -> None:
    """The pile speaks when told to, and is refused as muted in its quiet hours."""
    await pile.in_service()
    await applied(pile, 1, {"mute_from": 0, "mute_to": 0, "volume": 50})
    await pile.done(Voice(uuid.uuid4(), "Hello", pile.expiry_ms()))
    await applied(pile, 2, {"mute_from": 1, "mute_to": 0})
    muted = await pile.acknowledged(Voice(uuid.uuid4(), "Hello", pile.expiry_ms()))
    check_equal("the answer", (muted.result, muted.cause), (CommandResult.REFUSED, CommandCause.MUTED))


@cases.case("relay_test.free-ports-only", clause=_SERVICE, kind=Kind.REFUSAL)
async def relay_test_free_ports_only(pile: Pile) -> None:
    """The relay of a free port is tested; that of a port with a session is refused as busy."""
    await pile.in_service()
    await pile.done(RelayTest(uuid.uuid4(), 1, pile.expiry_ms()))
    start = await pile.accepted(2)
    busy = await pile.acknowledged(RelayTest(uuid.uuid4(), 2, pile.expiry_ms()))
    check_equal("the answer", (busy.result, busy.cause), (CommandResult.REFUSED, CommandCause.PORT_BUSY))
    await pile.stopped(start)


@cases.case("port_set.out-of-service", clause=_SERVICE, kind=Kind.POWER_FAIL, needs=(Ability.POWER,))
async def port_set_out_of_service(pile: Pile) -> None:
    """A port taken out of service refuses starts, after a power cut too, until it is put back."""
    await pile.in_service()
    await pile.done(PortSet(uuid.uuid4(), 4, False, pile.expiry_ms()))
    await pile.hear(PortStateChanged, lambda state: state.port == 4 and state.state is PortState.DISABLED)
    await refused(pile, pile.a_start(4), StartCause.PORT_DISABLED)
    after = pile.mark
    await pile.cut_power()
    await pile.ports_reported(after=after)
    await refused(pile, pile.a_start(4), StartCause.PORT_DISABLED)
    await pile.done(PortSet(uuid.uuid4(), 4, True, pile.expiry_ms()))
    await pile.stopped(await pile.accepted(4))


@cases.case("port_set.lets-a-session-end", clause=_SERVICE, kind=Kind.NORMAL, needs=(Ability.HANDS,))
async def port_set_lets_a_session_end(pile: Pile) -> None:
    """A session on a port that is taken out of service goes on to its end."""
    await pile.in_service()
    start = await pile.charging(3)
    await pile.acknowledged(PortSet(uuid.uuid4(), 3, False, pile.expiry_ms()))
    record = await pile.stopped(start)
    check_equal("the reason", record.stop_reason, StopReason.USER_STOP_APP)
    await refused(pile, pile.a_start(3), StartCause.PORT_DISABLED)
    await pile.done(PortSet(uuid.uuid4(), 3, True, pile.expiry_ms()))


@cases.case("command.expired", clause=_COMMANDS, kind=Kind.REFUSAL)
async def command_expired(pile: Pile) -> None:
    """Commands of service whose deadline has passed are answered expired and not done."""
    await pile.in_service()
    late_ms = pile.clock.now_ms() - _TOO_LATE_MS
    after = pile.mark
    for command in (
        Reboot(uuid.uuid4(), True, late_ms),
        PortSet(uuid.uuid4(), 1, False, late_ms),
        Locate(uuid.uuid4(), 5, late_ms),
        Query(uuid.uuid4(), QueryTopic.STATUS, late_ms),
    ):
        answer = await pile.acknowledged(command)
        check_equal(f"the answer to {command.message}", answer.result, CommandResult.EXPIRED)
    check_equal("the boots", pile.wire.all(Boot, after=after), [])
    await pile.stopped(await pile.accepted(1))


@cases.case("command.answered-within-3-s", clause=_SERVICE, kind=Kind.NORMAL)
async def command_answered_within_3_s(pile: Pile) -> None:
    """command_ack comes within 3 s and carries the pile's time."""
    await pile.in_service()
    command = Locate(uuid.uuid4(), 5, pile.expiry_ms())
    pile.wire.say(command)
    answer, heard = await pile.wire.hear_frame(
        CommandAck, lambda ack: ack.command_id == command.command_id, within_s=3.0
    )
    check(
        abs(answer.at_ms - heard.now_ms) < 10_000 * pile.clock.speed, "the answer has another time than now"
    )
