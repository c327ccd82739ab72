"""Piles behind a host: the host carries their frames, and they are nobody's but theirs (section 17)."""

from collections.abc import Callable
from typing import Final

import cbor2

from conformance import clauses
from conformance.case import Catalogue, Kind, check_equal
from conformance.platform import records
from conformance.platform.bench import Capability
from conformance.platform.carried import LONGEST_FRAME_BYTES, relayed
from conformance.platform.puppet import Frame, Puppet
from conformance.platform.scene import Scene
from conformance.platform.sealing import flipped
from protocol import messages
from protocol.words import CommandResult, SettlementResult

cases: Final = Catalogue[Scene]()

HOSTS: Final = clauses.HOSTS
CARRIES: Final = (Capability.HOSTS,)
SOLD: Final = (*CARRIES, Capability.ORDERS, Capability.SESSIONS)
KEPT: Final = SettlementResult.UNKNOWN_SESSION_KEPT
NOBODY: Final = "NOBODY-BEHIND-ANY-HOST"
RESEND_S: Final = 5.0
PADDING_KEY: Final = 4_000
"""A key of a later version, which readers ignore."""

Wrap = Callable[[Frame], messages.RelayUp]


def _flipped(frame: bytes) -> bytes:
    return flipped(frame, at=-1)


def _cut_short(frame: bytes) -> bytes:
    return frame[:-1]


def _padded(pile: Puppet, record: messages.Settlement, frame_bytes: int) -> Frame:
    """The record in a frame of so many bytes, by a field of a later version."""
    recipe = pile.recipe(record.message)

    def sealed(padding: int) -> bytes:
        body = records.as_map(record) | {PADDING_KEY: bytes(padding)}
        return recipe.seal(cbor2.dumps(body, canonical=True))

    payload = sealed(frame_bytes // 2 + frame_bytes - len(sealed(frame_bytes // 2)))
    return Frame(recipe.topic, payload)


async def _expect_refused(speaker: Puppet, owner: Puppet, wrap: Wrap) -> None:
    """A frame of the owner's that a host hands on wrongly is not answered, and was not stored either."""
    record = owner.stray_settlement()
    await speaker.say(wrap(owner.seal(record)))
    await speaker.fence()
    check_equal("the answer to the same record, sent as it should be", await owner.settle(record), KEPT)
    await owner.hears_no(messages.SettlementAck, where=lambda ack: ack.session_id == record.session_id)


@cases.case("host.carries-a-child-into-service", clause=HOSTS, kind=Kind.NORMAL, needs=CARRIES)
async def carries_a_child(scene: Scene) -> None:
    """What a host relays is taken as the child's: boot, time and settlement are answered through the host, for it."""
    _, [child] = await scene.family()
    await child.fence()
    await child.expect_settled(child.stray_settlement(), KEPT)


@cases.case("host.children-have-counters-of-their-own", clause=HOSTS, kind=Kind.NORMAL, needs=CARRIES)
async def counters_of_their_own(scene: Scene) -> None:
    """Host and children use the same boot and sequence numbers, and each is answered."""
    host, children = await scene.family(2)
    for pile in (host, *children):
        pile.seq = 500
        await pile.expect_settled(pile.stray_settlement(), KEPT)


@cases.case("host.a-childs-charge-settles", clause=HOSTS, kind=Kind.NORMAL, needs=SOLD)
async def a_childs_charge_settles(scene: Scene) -> None:
    """A charge at a child, beside one at its host's port of the same number: each is charged as its pile says."""
    host, [child] = await scene.family()
    own, carried = await scene.charge(host), await scene.charge(child)
    for charge, energy_dwh in ((own, 110), (carried, 230)):
        await scene.wait_charging(charge.session_id)
        await charge.pile.say(charge.reading(after_s=20, energy_dwh=40))
        await charge.pile.expect_settled(charge.record(energy_dwh=energy_dwh), SettlementResult.STORED)
        await scene.expect_charged(charge.session_id, energy_dwh=energy_dwh)


@cases.case(
    "host.is-given-the-commands-of-its-children",
    clause=HOSTS,
    kind=Kind.NORMAL,
    needs=(*CARRIES, Capability.SERVICE),
)
async def is_given_the_commands(scene: Scene) -> None:
    """A command for a child goes to its host, again with the same id until the child answers, and then no more."""
    host, [child] = await scene.family()
    await scene.ask(scene.bench.locate, child.pile_id, 2)
    asked = await child.hear(messages.Locate)
    again = await child.hear(messages.Locate)
    check_equal("the command that came again", again, asked)
    answer = messages.CommandAck(command_id=asked.command_id, result=CommandResult.DONE, at_ms=child.now_ms)
    await child.say(answer)
    await child.fence()
    child.forget_heard()
    await child.hears_no(messages.Locate, for_s=RESEND_S * 1.5)
    await host.hears_no(messages.Locate)


@cases.case(
    "host.answers-for-no-child",
    clause=HOSTS,
    kind=Kind.REFUSAL,
    needs=(*CARRIES, Capability.SERVICE),
)
async def answers_for_no_child(scene: Scene) -> None:
    """What the host itself says to a child's command is not the child's answer."""
    host, [child] = await scene.family()
    await scene.ask(scene.bench.locate, child.pile_id, 1)
    asked = await child.hear(messages.Locate)
    answer = messages.CommandAck(command_id=asked.command_id, result=CommandResult.DONE, at_ms=host.now_ms)
    await host.say(answer)
    await host.fence()
    child.forget_heard()
    again = await child.hear(messages.Locate)
    check_equal("the command, which is still unanswered", again, asked)
    await child.say(answer)
    await child.fence()


@cases.case(
    "host.brings-nothing-before-its-own-boot",
    clause=HOSTS,
    kind=Kind.POWER_FAIL,
    needs=(*CARRIES, Capability.SERVICE),
)
async def brings_nothing_before_its_boot(scene: Scene) -> None:
    """A host that comes up again is told nothing for its children before its own boot_ack."""
    host, [child] = await scene.family()
    await scene.ask(scene.bench.locate, child.pile_id, 1)
    asked = await child.hear(messages.Locate)
    await host.cut_power()
    await host.connect()
    child.forget_heard()
    await child.hears_no(messages.Locate, for_s=RESEND_S * 1.2)
    await host.boots()
    await host.say(host.heartbeat_message())
    await child.connect()
    await child.say(child.heartbeat_message())
    again = await child.hear(messages.Locate)
    check_equal("the command that waited", again.command_id, asked.command_id)


@cases.case("host.speaks-for-no-other-hosts-child", clause=HOSTS, kind=Kind.REFUSAL, needs=CARRIES)
async def speaks_for_no_other_hosts_child(scene: Scene) -> None:
    """A genuine frame of a child that is registered behind another host is refused."""
    _, [child] = await scene.family()
    stranger, _ = await scene.family()
    await _expect_refused(stranger, child, child.relayed)


@cases.case("host.speaks-for-no-pile-without-a-host", clause=HOSTS, kind=Kind.REFUSAL, needs=CARRIES)
async def speaks_for_no_pile_without_a_host(scene: Scene) -> None:
    """Genuine frames of a pile that has a connection of its own are refused, the host's own frames among them."""
    host, _ = await scene.family()
    other = await scene.pile()
    await _expect_refused(host, other, lambda frame: relayed(other.pile_id, frame))
    await _expect_refused(host, host, lambda frame: relayed(host.pile_id, frame))


@cases.case("host.without-children-relays-nothing", clause=HOSTS, kind=Kind.REFUSAL)
async def without_children_relays_nothing(scene: Scene) -> None:
    """A pile that is no host relays a neighbour's frames, its own, nobody's and nonsense; nothing of it counts."""
    pile, other = await scene.pile(), await scene.pile()
    for owner in (other, pile):
        await _expect_refused(pile, owner, lambda frame, owner=owner: relayed(owner.pile_id, frame))
    frame = pile.seal(pile.stray_settlement())
    for child_id in (NOBODY, "", "#", "a/b"):
        await pile.say(relayed(child_id, frame))
    for name in ("", "Settlement", "a/b", "no_such_message"):
        await pile.say(messages.RelayUp(child=NOBODY, name=name, frame=frame.payload))
    await pile.fence()
    await pile.hears_no(messages.SettlementAck)


@cases.case("host.a-childs-frame-moved-is-refused", clause=HOSTS, kind=Kind.REFUSAL, needs=CARRIES)
async def a_moved_frame_is_refused(scene: Scene) -> None:
    """A child's frame in a sibling's name, or under another message's name, does not open."""
    host, [child, sibling] = await scene.family(2)
    await _expect_refused(host, child, lambda frame: relayed(sibling.pile_id, frame))
    await _expect_refused(
        host,
        child,
        lambda frame: messages.RelayUp(child=child.pile_id, name="heartbeat", frame=frame.payload),
    )
    await sibling.fence()
    await sibling.hears_no(messages.SettlementAck)


@cases.case("host.a-childs-frame-changed-is-refused", clause=HOSTS, kind=Kind.REFUSAL, needs=CARRIES)
async def a_changed_frame_is_refused(scene: Scene) -> None:
    """A host that turns a bit over, cuts a frame short or seals it with its own secret changes nothing."""
    host, [child] = await scene.family()
    for spoil in (_flipped, _cut_short):
        await _expect_refused(
            host,
            child,
            lambda frame, spoil=spoil: relayed(child.pile_id, Frame(frame.topic, spoil(frame.payload))),
        )
    record = child.stray_settlement()
    forged = host.reseal(host.recipe("settlement"), topic=child.topic("settlement"), message=record)
    await host.say(relayed(child.pile_id, Frame(child.topic("settlement"), forged)))
    await host.fence()
    await child.expect_settled(record, KEPT)


@cases.case("host.a-childs-frame-replayed-is-refused", clause=HOSTS, kind=Kind.REFUSAL, needs=CARRIES)
async def a_replayed_frame_is_refused(scene: Scene) -> None:
    """A child's frame in a new frame of its host's is still the old one, and is not answered again."""
    host, [child] = await scene.family()
    record = child.stray_settlement()
    frame = child.seal(record)
    await child.publish(frame)
    check_equal("the answer", await child.settled(record.session_id), KEPT)
    for _ in range(2):
        await child.publish(frame)
    await child.fence()
    await host.fence()
    await child.hears_no(messages.SettlementAck)


@cases.case("host.there-is-one-level", clause=HOSTS, kind=Kind.REFUSAL, needs=CARRIES)
async def there_is_one_level(scene: Scene) -> None:
    """A child relays nothing: neither its sibling's frame nor its own is taken out of a relay within a relay."""
    _, [child, sibling] = await scene.family(2)
    await _expect_refused(child, sibling, sibling.relayed)
    await _expect_refused(child, child, child.relayed)


@cases.case("host.a-bad-child-harms-no-other", clause=HOSTS, kind=Kind.REFUSAL, needs=CARRIES)
async def a_bad_child_harms_no_other(scene: Scene) -> None:
    """Frames of a child that cannot be read leave its host and its sibling as they are."""
    host, [child, sibling] = await scene.family(2)
    for name in ("settlement", "heartbeat", "no_such_message"):
        await child.publish(Frame(child.topic(name), b"\xff" * 40))
        await child.say_body(name, b"\x80")
    for pile in (host, sibling, child):
        await pile.expect_settled(pile.stray_settlement(), KEPT)


@cases.case("host.longest-frame-of-a-child", clause=HOSTS, kind=Kind.NORMAL, needs=CARRIES)
async def longest_frame_of_a_child(scene: Scene) -> None:
    """A child's frame of 15360 bytes is taken; one byte more is not."""
    host, [child] = await scene.family()
    record = child.stray_settlement()
    await child.publish(_padded(child, record, LONGEST_FRAME_BYTES))
    check_equal("the answer", await child.settled(record.session_id), KEPT)
    late = child.stray_settlement()
    longer = _padded(child, late, LONGEST_FRAME_BYTES + 1)
    await host.say_map("relay", {1: child.pile_id, 2: "settlement", 3: longer.payload})
    await host.fence()
    await child.expect_settled(late, KEPT)


@cases.case("host.a-power-cut-of-a-child", clause=HOSTS, kind=Kind.POWER_FAIL, needs=SOLD)
async def a_power_cut_of_a_child(scene: Scene) -> None:
    """A child that loses its power in a charge boots through its host, and settles what it took."""
    _, [child] = await scene.family()
    charge = await scene.charge(child)
    await scene.wait_charging(charge.session_id)
    await child.cut_power()
    await child.comes_into_service()
    await child.expect_settled(charge.record(), SettlementResult.STORED)
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case("host.a-backlog-behind-a-host", clause=HOSTS, kind=Kind.OFFLINE, needs=SOLD)
async def a_backlog_behind_a_host(scene: Scene) -> None:
    """A host that was away brings what its child had to say meanwhile, readings and settlement in any order."""
    host, [child] = await scene.family()
    charge = await scene.charge(child)
    await scene.wait_charging(charge.session_id)
    await host.vanish()
    kept = [
        child.seal(message)
        for message in (
            charge.reading(after_s=20, energy_dwh=30),
            charge.record(),
            charge.reading(after_s=40, energy_dwh=60),
        )
    ]
    await host.connect()
    await host.say(host.heartbeat_message())
    await child.connect()
    await child.say(child.heartbeat_message())
    for frame in reversed(kept):
        await child.publish(frame)
    check_equal("the answer", await child.settled(charge.session_id), SettlementResult.STORED)
    await scene.expect_charged(charge.session_id, energy_dwh=records.ENERGY_DWH)


@cases.case(
    "host.gone-and-its-childrens-gone",
    clause=HOSTS,
    kind=Kind.OFFLINE,
    needs=(*CARRIES, Capability.PRESENCE),
)
async def gone_and_its_childrens(scene: Scene) -> None:
    """A child's will takes the child offline and nobody else; the host's takes its children along."""
    host, [child, sibling] = await scene.family(2)
    for pile in (host, child, sibling):
        await scene.wait_online(pile, True)
    await child.vanish()
    await scene.wait_online(child, False)
    for pile in (host, sibling):
        await scene.wait_online(pile, True, within_s=0)
    await child.connect()
    await child.say(child.heartbeat_message())
    await scene.wait_online(child, True)
    await host.vanish()
    for pile in (host, child, sibling):
        await scene.wait_online(pile, False)
