"""Boot, clock, heartbeat and the reports of the ports."""

import itertools
from typing import Final

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.pile.bench import Ability, Load
from conformance.pile.subject import Pile
from protocol.messages import PROTOCOL_VERSION, Boot, Gone, Heartbeat, PortStateChanged, StartAck
from protocol.words import BootReason, ClockState, PortState, StateCause

cases: Final = Catalogue[Pile]()

_BOOT: Final = clauses.CHARGE.on("Boot")
_HOUR_MS: Final = 3_600_000
_LATE_S: Final = 3.0
"""How late a repetition may come: the two machines and the line between them take their time."""


@cases.case("boot.says-what-the-pile-is", clause=clauses.MESSAGES, kind=Kind.NORMAL)
async def says_what_the_pile_is(pile: Pile) -> None:
    """The boot names protocol version, ports, model and why it started, and what the clock rests on."""
    boot = await pile.power_up()
    check_equal("the protocol version", boot.protocol, PROTOCOL_VERSION)
    check_equal("the number of ports", boot.port_count, pile.port_count)
    check(boot.model, "the model is empty")
    check(
        boot.clock is not ClockState.SYNCED,
        "the clock counts as set by the platform before the first boot_ack",
    )


@cases.case("boot.repeats-until-acked", clause=_BOOT, kind=Kind.REFUSAL, limit_s=60)
async def repeats_until_acked(pile: Pile) -> None:
    """A boot that is not acknowledged is repeated after 5 s and 30 s, made afresh and sealed anew."""
    pile.manners.answers_boot = False
    await pile.power_up()
    await pile.hear(Boot, nth=3, within_s=35 + 2 * _LATE_S)
    heard = [frame for _, frame in pile.wire.each(Boot)]
    waits = [later.at_s - earlier.at_s for earlier, later in itertools.pairwise(heard)]
    for waited, wanted in zip(waits, (5.0, 30.0), strict=False):
        check(
            wanted - 1 <= waited <= wanted + _LATE_S,
            f"a repetition came after {waited:.1f} s, not {wanted} s",
        )
    counters = {frame.opened.counter for frame in heard if frame.opened is not None}
    check_equal("the number of different counters", len(counters), len(heard))
    check(heard[0].message != heard[1].message, "the repeated boot was not made afresh")


@cases.case("boot.nothing-else-before-the-ack", clause=_BOOT, kind=Kind.REFUSAL, needs=(Ability.HANDS,))
async def nothing_else_before_the_ack(pile: Pile) -> None:
    """Before boot_ack the pile speaks of nothing else and does nothing it is told."""
    pile.manners.answers_boot = False
    await pile.power_up()
    await pile.bench.plug(1, Load(200))
    pile.wire.say(pile.a_start())
    await pile.hear(Boot, nth=2)
    others = {frame.name for frame in pile.wire.heard if not isinstance(frame.message, Boot | Gone)}
    check_equal("what was said beside boot", others, set[str]())
    pile.manners.answers_boot = True
    pile.wire.say(pile.manners.boot_ack(pile.clock.now_ms()))
    await pile.ports_reported(after=0)
    await pile.caught_up()
    check_equal("the answers to a start from before boot_ack", pile.wire.all(StartAck), [])


@cases.case("boot.reports-every-port", clause=clauses.STATES, kind=Kind.NORMAL, needs=(Ability.FRESH,))
async def reports_every_port(pile: Pile) -> None:
    """After boot_ack every port is reported once, with cause boot and the previous state idle."""
    await pile.in_service()
    await pile.caught_up()
    reports = [state for state in pile.wire.all(PortStateChanged) if state.cause is StateCause.BOOT]
    check_equal("the ports reported", [state.port for state in reports], list(range(1, pile.port_count + 1)))
    for state in reports:
        check_equal(f"the previous state of port {state.port}", state.previous, PortState.IDLE)
        check_equal(f"the state of port {state.port}", state.state, PortState.IDLE)


@cases.case(
    "boot.reports-plugs-found",
    clause=clauses.STATES,
    kind=Kind.POWER_FAIL,
    needs=(Ability.HANDS, Ability.POWER),
)
async def reports_plugs_found(pile: Pile) -> None:
    """After a power cut the reports tell which sockets have a plug in them."""
    await pile.in_service()
    await pile.bench.plug(3, Load(200))
    await pile.hear(PortStateChanged, lambda state: state.port == 3 and state.plugged)
    after = pile.mark
    boot = await pile.cut_power()
    check_equal("the reason of the boot", boot.reason, BootReason.POWER)
    await pile.hear(PortStateChanged, lambda state: state.port == 3 and state.plugged, after=after)


@cases.case("boot_ack.sets-the-rhythm", clause=_BOOT, kind=Kind.NORMAL, physical_s=100)
async def sets_the_rhythm(pile: Pile) -> None:
    """Heartbeats come as often as boot_ack said, by the pile's clock, and never two for one instant."""
    pile.manners.heartbeat_s = 20
    await pile.in_service()
    await pile.hear(Heartbeat, nth=4, within_s=pile.physically_s(100))
    instants = [heartbeat.sampled_at_ms for heartbeat in pile.wire.all(Heartbeat)]
    check_equal("the number of different instants", len(set(instants)), len(instants))
    gaps = [(later - earlier) / 1000 for earlier, later in itertools.pairwise(instants)]
    for gap in gaps[1:]:
        check(19 <= gap <= 21, f"{gap:.1f} s between two heartbeats, not 20 s")


@cases.case("boot_ack.a-second-one-changes-the-rhythm", clause=_BOOT, kind=Kind.NORMAL, physical_s=100)
async def a_second_one_changes_the_rhythm(pile: Pile) -> None:
    """A repeated boot_ack sets rhythm and clock again and repeats no report."""
    pile.manners.heartbeat_s = 3_600
    await pile.in_service()
    pile.manners.heartbeat_s = 10
    after = pile.mark
    pile.wire.say(pile.manners.boot_ack(pile.clock.now_ms()))
    await pile.hear(Heartbeat, nth=3, after=after, within_s=pile.physically_s(40))
    again = [
        state for state in pile.wire.all(PortStateChanged, after=after) if state.cause is StateCause.BOOT
    ]
    check_equal("the ports reported again", again, [])


@cases.case(
    "heartbeat.tells-every-port", clause=clauses.CHARGE.on("Heartbeat"), kind=Kind.NORMAL, physical_s=60
)
async def tells_every_port(pile: Pile) -> None:
    """A heartbeat lists every port once, and its power is that of the ports together."""
    pile.manners.heartbeat_s = 10
    await pile.in_service()
    heartbeat = await pile.hear(Heartbeat, within_s=pile.physically_s(60))
    check_equal("the ports", [row.port for row in heartbeat.ports], list(range(1, pile.port_count + 1)))
    check_equal("the power", heartbeat.power_dw, sum(row.power_dw for row in heartbeat.ports))
    check(1_000 <= heartbeat.mains_dv <= 3_000, f"the mains are at {heartbeat.mains_dv / 10} V")


@cases.case(
    "heartbeat.tells-what-charges",
    clause=clauses.CHARGE.on("Heartbeat"),
    kind=Kind.NORMAL,
    needs=(Ability.HANDS,),
    physical_s=600,
)
async def tells_what_charges(pile: Pile) -> None:
    """While a session draws power the heartbeat shows it, and the pile's energy only grows."""
    pile.manners.heartbeat_s = 60
    await pile.in_service()
    await pile.charging(2, Load(500))
    after = pile.mark
    await pile.hear(Heartbeat, nth=4, after=after, within_s=pile.physically_s(300))
    heartbeats = pile.wire.all(Heartbeat, after=after)
    row = next(row for row in heartbeats[-1].ports if row.port == 2)
    check_equal("the state of the charging port", row.state, PortState.CHARGING)
    check(4_500 <= row.power_dw <= 5_500, f"a load of 500 W is told as {row.power_dw / 10} W")
    energies = [heartbeat.energy_wh for heartbeat in heartbeats]
    check_equal("the energies in order", energies, sorted(energies))
    check(energies[-1] > energies[0], "the energy did not grow under load")


@cases.case("clock.follows-the-platform", clause=clauses.ORDER.on("Clock"), kind=Kind.NORMAL, physical_s=60)
async def follows_the_platform(pile: Pile) -> None:
    """The pile takes the platform's time from boot_ack and lives by it."""
    pile.manners.heartbeat_s, pile.manners.clock_error_ms = 10, 10 * _HOUR_MS
    await pile.in_service()
    _, heard = await pile.wire.hear_frame(Heartbeat, nth=2, within_s=pile.physically_s(60))
    heartbeat = pile.wire.all(Heartbeat)[1]
    ahead_ms = heartbeat.sampled_at_ms - heard.now_ms
    check(abs(ahead_ms - 10 * _HOUR_MS) < _HOUR_MS, f"the pile is {ahead_ms / 1000:.0f} s ahead, not 10 h")


@cases.case(
    "clock.wakes-up-in-1970",
    clause=clauses.ORDER.on("Clock"),
    kind=Kind.POWER_FAIL,
    needs=(Ability.NO_CLOCK,),
)
async def wakes_up_in_1970(pile: Pile) -> None:
    """A pile without a date counts from 1970 and says so, and has the platform's time after boot_ack."""
    boot = await pile.power_up()
    check_equal("what the clock rests on at boot", boot.clock, ClockState.NONE)
    check(boot.at_ms < 24 * _HOUR_MS, f"a pile without a date says it is {boot.at_ms}")
    await pile.ports_reported(after=0)
    state, heard = await pile.wire.hear_frame(PortStateChanged)
    off_ms = abs(state.at_ms - heard.now_ms)
    check(off_ms < _HOUR_MS, f"after boot_ack the clock is {off_ms / 1000:.0f} s off")
    answer = await pile.ask_start(pile.a_start(expires_at_ms=pile.clock.now_ms() - _HOUR_MS))
    check(answer.cause is not None, "a start that expired an hour ago was accepted")
