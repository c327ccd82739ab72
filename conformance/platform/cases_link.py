"""Boot, presence and what may go down when."""

import asyncio
from typing import Final

from conformance import clauses
from conformance.case import Catalogue, Failed, Kind, NotPossible, check, check_equal
from conformance.platform.bench import Capability
from conformance.platform.puppet import Frame
from conformance.platform.scene import Scene
from protocol import messages
from protocol.words import BootReason, ClockState, PortState, StateCause

cases: Final = Catalogue[Scene]()

BOOT: Final = clauses.CHARGE.on("Boot")
PRESENCE: Final = (Capability.PRESENCE,)
MISSED_HEARTBEATS: Final = 3
GRACE_S: Final = 15.0
SLACK_S: Final = 15.0
RESEND_S: Final = 5.0


@cases.case("boot.is-acknowledged", clause=BOOT, kind=Kind.NORMAL)
async def is_acknowledged(scene: Scene) -> None:
    """The first boot is answered with the platform's time and the pile's rhythm."""
    pile = await scene.enrol(await scene.claim())
    await pile.connect()
    ack = await pile.boots()
    check(ack.time_ms > 0, "boot_ack has no time")
    check(ack.heartbeat_s >= 1 and ack.sample_s >= 1, "boot_ack has no rhythm")


@cases.case("boot.repeated-is-answered-again", clause=BOOT, kind=Kind.OFFLINE)
async def repeated_is_answered_again(scene: Scene) -> None:
    """A pile whose boot_ack was lost says boot again, and is answered again with a newer time."""
    pile = await scene.enrol(await scene.claim())
    await pile.connect()
    acks = [await pile.boots() for _ in range(3)]
    times = [ack.time_ms for ack in acks]
    check_equal("the times of the answers", times, sorted(times))


@cases.case("boot.after-a-power-cut", clause=BOOT, kind=Kind.POWER_FAIL)
async def after_a_power_cut(scene: Scene) -> None:
    """After a power cut the next boot, counted up, with sequence numbers from 1, is answered."""
    pile = await scene.pile()
    for reason in (BootReason.POWER, BootReason.WATCHDOG):
        await pile.cut_power()
        await pile.connect()
        await pile.boots(reason=reason, clock=ClockState.NONE)
        await pile.fence()


@cases.case("boot.by-a-clock-of-1970", clause=clauses.ORDER.on("Clock"), kind=Kind.POWER_FAIL)
async def by_a_clock_of_1970(scene: Scene) -> None:
    """A pile that wakes up in 1970 is answered with the date."""
    pile = await scene.enrol(await scene.claim())
    await pile.connect()
    ack = await pile.boots(at_ms=1_234, clock=ClockState.NONE)
    check(ack.time_ms > 1_500_000_000_000, f"the time told is {ack.time_ms} ms")


@cases.case("boot.board-with-other-ports-is-answered", clause=BOOT, kind=Kind.NORMAL)
async def board_with_other_ports(scene: Scene) -> None:
    """A pile that has more ports than it was registered with is answered; so is what it says of them."""
    pile = await scene.enrol(await scene.claim())
    await pile.connect()
    await pile.boots(port_count=20, imei="861234567890123", iccid="89860012345678901234")
    await pile.say(pile.port_message(20, PortState.IDLE, cause=StateCause.BOOT))
    await pile.fence()


@cases.case(
    "boot.nothing-goes-down-before-boot-ack", clause=BOOT, kind=Kind.POWER_FAIL, needs=[Capability.ORDERS]
)
async def nothing_before_boot_ack(scene: Scene) -> None:
    """A command that is waiting goes down after the boot is acknowledged, never before."""
    pile = await scene.pile()
    charge = await scene.order(pile)
    await pile.hear(messages.Start)
    # The next resend is 5 s away, so that what comes now was sent because of the boot.
    await pile.cut_power()
    await pile.connect()
    pile.forget_heard()
    await pile.say(pile.boot_message())
    await pile.hear(messages.BootAck)
    early = pile.waiting(messages.Start)
    ack = pile.last_counters[pile.epoch]
    check(all(heard.counter >= ack for heard in early), "a start went down before boot_ack")
    again = await pile.hear(messages.Start)
    check_equal("the command that waited", again.command_id, charge.start.command_id)


@cases.case("link.heartbeat-opens-a-connection", clause=clauses.CONNECTION, kind=Kind.OFFLINE)
async def heartbeat_opens_a_connection(scene: Scene) -> None:
    """Within a boot a new connection begins with a heartbeat, and the platform goes on where it was."""
    pile = await scene.pile()
    for _ in range(3):
        await pile.vanish()
        await pile.connect()
        await pile.say(pile.heartbeat_message())
        await pile.fence()


@cases.case("link.answers-wait-for-the-pile", clause=clauses.CONNECTION, kind=Kind.OFFLINE)
async def answers_wait_for_the_pile(scene: Scene) -> None:
    """An answer to a pile that has just lost its link is there when it comes back within a minute."""
    pile = await scene.pile()
    record = pile.stray_settlement()
    frame = pile.seal(record)
    await pile.publish(frame)
    await pile.vanish()
    await pile.connect()
    await pile.say(pile.heartbeat_message())
    await pile.settled(record.session_id)


@cases.case("presence.follows-boot-and-will", clause=clauses.CONNECTION, kind=Kind.OFFLINE, needs=PRESENCE)
async def follows_boot_and_will(scene: Scene) -> None:
    """A pile is online from its boot until its last will, and again from the first newer frame."""
    pile = await scene.pile()
    await scene.wait_online(pile, True)
    await pile.vanish()
    await scene.wait_online(pile, False)
    await pile.connect()
    await pile.say(pile.heartbeat_message())
    await scene.wait_online(pile, True)


@cases.case(
    "presence.late-will-changes-nothing",
    clause=clauses.CONNECTION.on("Last will"),
    kind=Kind.OFFLINE,
    needs=PRESENCE,
)
async def late_will_changes_nothing(scene: Scene) -> None:
    """The last will of an older connection, arriving late, does not take the pile offline."""
    pile = await scene.pile()
    late_will = pile.seal(messages.Gone(connection=pile.connection))
    await pile.leave()
    await pile.connect()
    await pile.say(pile.heartbeat_message())
    await pile.fence()
    await pile.publish(late_will)
    await pile.publish(pile.seal(messages.Gone(connection=pile.connection - 1)))
    await pile.live.publish(*pile.seal(messages.TimeRequest(at_ms=pile.now_ms)))
    await pile.hear(messages.Time)
    check(await scene.ask(scene.bench.online, pile.pile_id), "an old connection's will took the pile offline")


@cases.case(
    "presence.will-of-an-older-boot-changes-nothing",
    clause=clauses.CONNECTION.on("Last will"),
    kind=Kind.POWER_FAIL,
    needs=PRESENCE,
)
async def will_of_an_older_boot(scene: Scene) -> None:
    """The last will of the boot before, published when the broker gives up waiting, changes nothing."""
    pile = await scene.pile()
    old_will = pile.seal(messages.Gone(connection=9))
    await pile.cut_power()
    await pile.comes_into_service()
    await pile.fence()
    await pile.publish(Frame(*old_will))
    await pile.fence()
    check(await scene.ask(scene.bench.online, pile.pile_id), "an old boot's will took the pile offline")


@cases.case(
    "presence.ends-with-silence", clause=clauses.TIMERS, kind=Kind.OFFLINE, needs=PRESENCE, limit_s=120
)
async def ends_with_silence(scene: Scene) -> None:
    """A pile that says nothing through three heartbeats and 15 s is offline, and not before."""
    pile = await scene.enrol(await scene.claim())
    await pile.connect()
    ack = await pile.boots()
    heartbeats_s = MISSED_HEARTBEATS * ack.heartbeat_s / scene.bench.speed
    if heartbeats_s > 60:
        raise NotPossible(f"three heartbeats take {heartbeats_s:.0f} s here")
    await asyncio.sleep(max(0.0, heartbeats_s + GRACE_S - 3))
    check(await scene.ask(scene.bench.online, pile.pile_id), "the pile was given up too early")
    await scene.wait_online(pile, False, within_s=SLACK_S)
    await pile.fence()
    await scene.wait_online(pile, True)


@cases.case(
    "ports.newer-state-wins", clause=clauses.ORDER.on("Up"), kind=Kind.OFFLINE, needs=[Capability.ORDERS]
)
async def newer_state_wins(scene: Scene) -> None:
    """A port's state that arrives late does not replace a newer one: the port can still be sold."""
    pile = await scene.pile()
    fault = pile.seal(pile.port_message(1, PortState.DISABLED, cause=StateCause.COMMAND))
    await pile.say(pile.port_message(1, PortState.IDLE, cause=StateCause.COMMAND))
    await pile.publish(fault)
    await pile.fence()
    try:
        await scene.order(pile)
    except Failed:
        raise
    except Exception as error:
        raise Failed(f"the port cannot be sold: {error}") from error
