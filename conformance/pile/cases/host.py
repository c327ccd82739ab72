"""Piles behind a host: each lives for itself, and the host carries what they say and hear."""

import asyncio
import itertools
from typing import Final

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.pile.bench import Ability, Load
from conformance.pile.cases import household
from conformance.pile.cases.connection import cut_network
from conformance.pile.cases.keys import epochs_of, rotate
from conformance.pile.cases.settlement import check_consistent
from conformance.pile.subject import Pile
from protocol import topics
from protocol.messages import (
    Alarm,
    Boot,
    Gone,
    Heartbeat,
    MeterFrame,
    RelayUp,
    Settlement,
    SettlementAck,
    Start,
)
from protocol.messages.ranges import RELAYED_BYTES
from protocol.topics import Direction
from protocol.words import AlarmKind, SettlementResult, StartResult, StopReason

cases: Final = Catalogue[Pile]()

_CHILDREN: Final = (Ability.CHILDREN,)
_CHARGING: Final = (Ability.CHILDREN, Ability.HANDS)
_SAMPLE_S: Final = 10


async def settled(pile: Pile, start: Start) -> Settlement:
    """Stop a session that is expected to run, and see that every sample of it came."""
    record = await pile.stopped(start)
    check_consistent(record)
    check_equal("the stop reason", record.stop_reason, StopReason.USER_STOP_APP)
    await pile.wire.until(
        lambda: len(samples_of(pile, start)) >= record.samples_sent,
        lambda: f"{len(samples_of(pile, start))} samples came of the {record.samples_sent} sent",
    )
    return record


def samples_of(pile: Pile, start: Start) -> set[int]:
    """The instants of a session's samples."""
    return {
        frame.sampled_at_ms
        for frame in pile.wire.all(MeterFrame)
        if any(row.session_id == start.session_id for row in frame.samples)
    }


@cases.case(
    "host.children-enrol-on-their-own",
    clause=clauses.HOSTS,
    kind=Kind.NORMAL,
    needs=(Ability.CHILDREN, Ability.FRESH),
)
async def children_enrol_on_their_own(host: Pile) -> None:
    """Host and children each enrol once, in their own name and with a certificate request of their own."""
    await household.in_service(host)
    family = (host, *host.children)
    requests = [pile.wire.register.applications for pile in family]
    check_equal(
        "the requests of each", [[one.status for one in own] for own in requests], [[200]] * len(family)
    )
    csrs = {str(own[0].fields.get("csr_pem")) for own in requests}
    check_equal("the number of different certificate requests", len(csrs), len(family))


@cases.case("host.relays-on-its-own-topic", clause=clauses.HOSTS, kind=Kind.NORMAL, needs=_CHILDREN)
async def relays_on_its_own_topic(host: Pile) -> None:
    """What children say goes out in `relay` on the host's own topics, within its size, and no relay in a relay."""
    for child in await household.in_service(host):
        await child.stopped(await child.accepted())
    own = topics.Topic(topics.shard_of(host.pile_id), host.pile_id, Direction.UP, "")
    for said in (said for call in host.wire.tap.calls for said in call.publishes):
        check(said.topic.startswith(str(own)), f"the host publishes to {said.topic}")
        check(said.qos == 1 and not said.retain, f"{said.topic} is retained or not at QoS 1")
    relays = host.wire.all(RelayUp)
    check_equal("the children spoken for", {relay.child for relay in relays}, set(host.wire.children))
    for relay in relays:
        check(relay.name != RelayUp.message, f"{relay.child} relays through its host")
        check(len(relay.frame) <= RELAYED_BYTES, f"a frame of {relay.child} has {len(relay.frame)} bytes")


@cases.case(
    "host.children-seal-for-their-own-topics", clause=clauses.HOSTS, kind=Kind.NORMAL, needs=_CHILDREN
)
async def children_seal_for_their_own_topics(host: Pile) -> None:
    """Every frame of a child opens under its own secret and topic, with a counter of its own that only grows."""
    for child in await household.in_service(host):
        await child.stopped(await child.accepted())
        check_equal("the frames that do not open", [one.error for one in child.wire.heard if one.error], [])
        check_equal("the epochs sealed under", epochs_of(child, 0), {child.wire.epoch})
        counters = [one.opened.counter for one in child.wire.heard if one.opened is not None]
        for before, following in itertools.pairwise(counters):
            check(following > before, f"counter {tuple(following)} of a child follows {tuple(before)}")


@cases.case("host.nothing-before-its-own-boot-ack", clause=clauses.HOSTS, kind=Kind.NORMAL, needs=_CHILDREN)
async def nothing_before_its_own_boot_ack(host: Pile) -> None:
    """Until its own boot is acknowledged the host relays nothing; then its children are heard."""
    host.manners.answers_boot = False
    await host.power_up()
    await asyncio.gather(*(child.bench.power_on() for child in host.children))
    await host.hear(Boot, nth=2, within_s=host.boot_limit_s)
    check_equal("what was relayed", [relay.name for relay in host.wire.all(RelayUp)], [])
    host.manners.answers_boot = True
    host.wire.say(host.manners.boot_ack(host.clock.now_ms()))
    for child in host.children:
        await child.wire.until(
            lambda child=child: bool(child.wire.heard),
            lambda child=child: f"nothing of {child.pile_id} came though the host's boot was acknowledged",
            within_s=child.boot_limit_s,
        )


@cases.case("host.child-boots-for-itself", clause=clauses.HOSTS, kind=Kind.REFUSAL, needs=_CHILDREN)
async def child_boots_for_itself(host: Pile) -> None:
    """A child whose own boot is not acknowledged says nothing but boot, again after 5 s, whatever its host was told."""
    await host.in_service()
    first, second = host.children[:2]
    first.manners.answers_boot = False
    await first.power_up()
    await second.in_service()
    await second.stopped(await second.accepted())
    await first.hear(Boot, nth=2, within_s=10)
    check_equal("what the child says", {one.name for one in first.wire.heard}, {Boot.message})


@cases.case("host.command-reaches-the-pile-it-names", clause=clauses.HOSTS, kind=Kind.NORMAL, needs=_CHILDREN)
async def command_reaches_the_pile_it_names(host: Pile) -> None:
    """Starts for each child and the host, on ports of one number, are each done and answered by the pile named."""
    family = (*(await household.in_service(host)), host)
    starts = [await pile.accepted(2) for pile in family]
    for pile, start in zip(family, starts, strict=True):
        answer = await pile.answer_to(start)
        check(answer.result is not StartResult.REFUSED, f"{pile.pile_id} refused: {answer.cause}")
        record = await pile.stopped(start)
        check_equal("the port settled", record.port, 2)
    for pile, start in zip(family, starts, strict=True):
        told = [record.session_id for record in pile.wire.all(Settlement)]
        check_equal(f"the sessions {pile.pile_id} settled", told, [start.session_id])


@cases.case(
    "host.charges-beside-its-children",
    clause=clauses.HOSTS,
    kind=Kind.NORMAL,
    needs=_CHARGING,
    physical_s=100,
)
async def charges_beside_its_children(host: Pile) -> None:
    """Host and children charge at once: each meters, beats and settles for its own ports and no others."""
    family = (host, *host.children)
    for pile in family:
        pile.manners.sample_s, pile.manners.heartbeat_s = _SAMPLE_S, 30
    await household.in_service(host)
    starts = await asyncio.gather(
        *(pile.charging(1, Load(100.0 * (2 + place))) for place, pile in enumerate(family))
    )
    for pile in family:
        await pile.hear(MeterFrame, nth=3, within_s=pile.physically_s(60))
        beat = await pile.hear(Heartbeat, nth=2, within_s=pile.physically_s(60))
        check_equal("the ports of a heartbeat", len(beat.ports), pile.port_count)
    for pile, start in zip(family, starts, strict=True):
        foreign = {row.session_id for frame in pile.wire.all(MeterFrame) for row in frame.samples} - {
            start.session_id
        }
        check_equal(f"the sessions of others that {pile.pile_id} metered", foreign, set[object]())
        record = await settled(pile, start)
        check(record.energy_dwh > 0, f"{pile.pile_id} settled no energy")


@cases.case(
    "host.session-outlives-its-reconnect",
    clause=clauses.HOSTS,
    kind=Kind.OFFLINE,
    needs=_CHARGING,
    physical_s=100,
)
async def session_outlives_its_reconnect(host: Pile) -> None:
    """Children charge on while the host has no network, and come back with a heartbeat and every sample."""
    for child in host.children:
        child.manners.sample_s = _SAMPLE_S
    family = await household.in_service(host)
    starts = [await child.charging() for child in family]
    for child in family:
        await child.hear(MeterFrame, nth=2, within_s=child.physically_s(60))
    marks = [child.mark for child in family]
    await cut_network(host, 2.0)
    back_ms = host.clock.now_ms()
    for child, start, after in zip(family, starts, marks, strict=True):
        await child.hear(Heartbeat, after=after)
        check_equal(f"the boots of {child.pile_id}", len(child.wire.all(Boot)), 1)
        await child.hear(
            MeterFrame, lambda frame: frame.sampled_at_ms > back_ms, within_s=child.physically_s(60)
        )
        await settled(child, start)


@cases.case(
    "host.session-outlives-its-power-cut",
    clause=clauses.HOSTS,
    kind=Kind.POWER_FAIL,
    needs=(*_CHARGING, Ability.POWER),
    physical_s=100,
)
async def session_outlives_its_power_cut(host: Pile) -> None:
    """The host's own session ends with its mains; its children's go on and lose no sample."""
    for child in host.children:
        child.manners.sample_s = _SAMPLE_S
    family = await household.in_service(host)
    starts = [await child.charging() for child in family]
    own = await host.charging()
    for child in family:
        await child.hear(MeterFrame, nth=2, within_s=child.physically_s(60))
    after = host.mark
    await host.cut_power()
    back_ms = host.clock.now_ms()
    record = await host.settlement(own, after=after)
    check_equal("the end of the host's own session", record.stop_reason, StopReason.POWER_LOSS)
    relayed = next((one.index for one in host.wire.heard[after:] if one.name == RelayUp.message), None)
    boot = next(one.index for one in host.wire.heard[after:] if one.name == Boot.message)
    check(relayed is None or relayed > boot, "the host relayed before it booted")
    for child, start in zip(family, starts, strict=True):
        await child.hear(
            MeterFrame, lambda frame: frame.sampled_at_ms > back_ms, within_s=child.physically_s(60)
        )
        check_equal(f"the boots of {child.pile_id}", len(child.wire.all(Boot)), 1)
        await settled(child, start)


@household.case(cases, "host.tells-a-child-without-power", kind=Kind.POWER_FAIL, needs=(Ability.POWER,))
async def tells_a_child_without_power(host: Pile, first: Pile, second: Pile) -> None:
    """When a child loses its mains the host sends the child's `gone`; the child boots anew, and nobody else does."""
    start = await first.accepted()
    before, opening = first.wire.each(Boot)[-1]
    assert opening.opened is not None, "it was decoded"
    counter, after = opening.opened.counter, first.mark
    boot = await first.cut_power(1.0)
    gone, heard = await first.wire.hear_frame(Gone, after=after)
    check_equal("the connection that is gone", gone.connection, before.connection)
    check_equal("the boot it belongs to", heard.opened and heard.opened.counter.boot, counter.boot)
    check_equal("the connection of the new boot", boot.connection, 1)
    record = await first.settlement(start, after=after)
    check_equal("the end of its session", record.stop_reason, StopReason.POWER_LOSS)
    for pile in (host, second):
        check_equal(f"the boots of {pile.pile_id}", len(pile.wire.all(Boot)), 1)
        check_equal(f"what is gone of {pile.pile_id}", pile.wire.all(Gone), [])


@household.case(cases, "host.tells-a-lost-radio", kind=Kind.OFFLINE, needs=(Ability.RADIO,))
async def tells_a_lost_radio(host: Pile, first: Pile, second: Pile) -> None:
    """A child out of reach is told by the `gone` it made when it connected; back again, it begins with a heartbeat."""
    boot, opening = await first.wire.hear_frame(Boot)
    after = first.mark
    await first.bench.jam_radio(1.0)
    gone, heard = await first.wire.hear_frame(Gone, after=after)
    check_equal("the connection that is gone", gone.connection, boot.connection)
    assert heard.opened is not None, "it was decoded"
    assert opening.opened is not None, "it was decoded"
    check(
        heard.opened.counter < opening.opened.counter, "the `gone` was made after the connection's first word"
    )
    beat, came = await first.wire.hear_frame(Heartbeat, after=heard.index)
    check(beat.connection > gone.connection, f"connection {beat.connection} follows {gone.connection}")
    between = [one.name for one in first.wire.heard[heard.index + 1 : came.index]]
    check_equal("what came between the `gone` and the heartbeat", between, [])
    check_equal("what is gone of the other child", second.wire.all(Gone), [])
    check_equal("the connections of the host", len(host.wire.tap.calls), 1)
    await first.stopped(await first.accepted())


@household.case(cases, "host.settlement-until-the-childs-own-ack", kind=Kind.REFUSAL, limit_s=60)
async def settlement_until_the_childs_own_ack(host: Pile, first: Pile, second: Pile) -> None:
    """A child's settlement comes again after 10 s until the child is acknowledged; that its host was is nothing."""
    first.manners.settlement = None
    start = await first.accepted()
    record = await first.stopped(start)
    acknowledgement = SettlementAck(start.session_id, SettlementResult.STORED)
    host.wire.say(acknowledgement)
    second.wire.say(acknowledgement)
    again, heard = await first.wire.hear_frame(Settlement, nth=2, within_s=14)
    check_equal("the repeated settlement", again, record)
    earlier = first.wire.each(Settlement)[0][1]
    check(earlier.opened != heard.opened, "the settlement was repeated under the same counter")
    first.wire.say(acknowledgement)
    await first.caught_up()
    after = first.mark
    await cut_network(host)
    await first.hear(Heartbeat, after=after)
    await first.caught_up()
    check_equal("the settlements after the acknowledgement", first.wire.all(Settlement, after=after), [])


@household.case(cases, "host.child-takes-its-own-key", kind=Kind.NORMAL)
async def child_takes_its_own_key(host: Pile, first: Pile, second: Pile) -> None:
    """A new secret for one child changes the epoch of that child alone."""
    epochs = [pile.wire.epoch for pile in (first, second, host)]
    await rotate(first)
    first.wire.sealing_epoch = epochs[0] = epochs[0] + 1
    for pile, epoch in zip((first, second, host), epochs, strict=True):
        after = pile.mark
        await pile.stopped(await pile.accepted())
        check_equal(f"the epochs of {pile.pile_id}", epochs_of(pile, after), {epoch})


@household.case(
    cases,
    "host.danger-is-the-childs-own",
    kind=Kind.NORMAL,
    needs=(Ability.HANDS, Ability.HAZARD),
    physical_s=60,
)
async def danger_is_the_childs_own(host: Pile, first: Pile, second: Pile) -> None:
    """Smoke at a child is told through the host at once and ends the child's sessions, and nobody else's."""
    start, other, own = [await pile.charging() for pile in (first, second, host)]
    await first.bench.inflict(AlarmKind.SMOKE)
    await first.hear(Alarm, lambda alarm: alarm.kind is AlarmKind.SMOKE)
    record = await first.settlement(start)
    check_equal("the end of the child's session", record.stop_reason, StopReason.SMOKE)
    await settled(second, other)
    await settled(host, own)
    check_equal("the alarms of others", [*second.wire.all(Alarm), *host.wire.all(Alarm)], [])
