"""Relayed frames that must change nothing: for strangers, under other names, forged, replayed, nested, too long."""

import uuid
from typing import Any, Final

import cbor2

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.pile.bench import Ability
from conformance.pile.cases import household
from conformance.pile.cases.refused_frames import sealed_body
from conformance.pile.subject import Pile
from protocol import codec
from protocol.envelope import Counter, Sealer
from protocol.frames import Frame
from protocol.messages import CommandAck, Locate, RelayDown, Start, StartAck
from protocol.messages.ranges import RELAYED_BYTES
from protocol.topics import Direction
from protocol.words import StartResult

cases: Final = Catalogue[Pile]()

_STRANGER: Final = "NOBODYS-CHILD"
_PADDING_KEY: Final = 4_000
_LOCATE_S: Final = 1


def relay(host: Pile, child: str, name: str, frame: bytes) -> None:
    """Send any bytes as a frame for a child."""
    host.wire.say(RelayDown(child, name, frame))


async def changes_nothing(host: Pile, *starts: Start, answers: int = 0) -> None:
    """Wait until host and children have dealt with everything; none has done a start beyond so many answers."""
    for pile in (host, *host.children):
        await pile.caught_up()
    for start in starts:
        said = [
            pile.pile_id
            for pile in (host, *host.children)
            for _ in pile.wire.all(StartAck, lambda ack, start=start: ack.command_id == start.command_id)
        ]
        check_equal("the answers to a start that nobody should do", said[answers:], [])


@cases.case("relay.for-a-stranger", clause=clauses.HOSTS, kind=Kind.REFUSAL)
async def for_a_stranger(pile: Pile) -> None:
    """A relayed frame for a pile that is not behind this one, or for this one itself, is ignored; the pile lives on."""
    await pile.in_service()
    start = pile.a_start()
    for child in (_STRANGER, pile.pile_id, "", "a/b"):
        relay(pile, child, "start", pile.wire.sealed(start).payload)
    relay(pile, _STRANGER, "start", b"\xff")
    await changes_nothing(pile, start)
    await pile.stopped(await pile.accepted())


@household.case(cases, "relay.for-a-stranger-beside-children", kind=Kind.REFUSAL)
async def for_a_stranger_beside_children(host: Pile, first: Pile, _: Pile) -> None:
    """A frame of a child's under a stranger's name, or the host's, reaches neither that child nor any other."""
    start = first.a_start()
    for child in (_STRANGER, host.pile_id, f"{first.pile_id}x", first.pile_id.lower()):
        relay(host, child, "start", first.wire.sealed(start).payload)
    await changes_nothing(host, start)


@household.case(cases, "relay.for-the-other-child", kind=Kind.REFUSAL)
async def for_the_other_child(host: Pile, first: Pile, second: Pile) -> None:
    """A frame sealed for one child and relayed to another is done by neither."""
    start, other = first.a_start(), second.a_start()
    relay(host, second.pile_id, "start", first.wire.sealed(start).payload)
    relay(host, first.pile_id, "start", second.wire.sealed(other).payload)
    await changes_nothing(host, start, other)


@household.case(cases, "relay.under-another-name", kind=Kind.REFUSAL)
async def under_another_name(host: Pile, first: Pile, _: Pile) -> None:
    """A child's frame relayed under another message's name changes nothing."""
    running, start = await first.accepted(1), first.a_start(2)
    relay(host, first.pile_id, "start", first.wire.sealed(first.a_stop(running)).payload)
    relay(host, first.pile_id, "stop", first.wire.sealed(start).payload)
    relay(host, first.pile_id, "of_a_later_version", first.wire.sealed(start).payload)
    relay(host, first.pile_id, "", first.wire.sealed(start).payload)
    await changes_nothing(host, start)
    await first.stopped(running)


@household.case(cases, "relay.bound-to-the-childs-topic", kind=Kind.REFUSAL)
async def bound_to_the_childs_topic(host: Pile, first: Pile, _: Pile) -> None:
    """A frame under the child's key but sealed for a topic of its host's changes nothing."""
    start, epoch = first.a_start(), first.wire.epoch
    sealer = Sealer(first.wire.register.secrets[epoch], epoch=epoch, direction=Direction.DOWN)
    for name in ("relay", "start"):
        counter = first.wire.next_counter(epoch)
        frame = sealer.seal(host.wire.topic(name), codec.encode(start), counter=counter)
        relay(host, first.pile_id, "start", frame)
    await changes_nothing(host, start)


@household.case(cases, "relay.under-another-key", kind=Kind.REFUSAL)
async def under_another_key(host: Pile, first: Pile, second: Pile) -> None:
    """A child does nothing that is sealed with the secret of its host or of another child."""
    start, topic = first.a_start(), first.wire.topic("start")
    for pile in (host, second):
        epoch = pile.wire.epoch
        sealer = Sealer(pile.wire.register.secrets[epoch], epoch=epoch, direction=Direction.DOWN)
        first.wire.send(Frame(topic, sealer.seal(topic, codec.encode(start), counter=Counter(9, 9))))
    await changes_nothing(host, start)


@household.case(cases, "relay.forged", kind=Kind.REFUSAL)
async def forged(host: Pile, first: Pile, _: Pile) -> None:
    """Inner frames with a bit flipped, cut short, or that are none change nothing at host and children."""
    start = first.a_start()
    payload = first.wire.sealed(start).payload
    for place in (-1, -20, 14):
        flipped = bytearray(payload)
        flipped[place] ^= 1
        relay(host, first.pile_id, "start", bytes(flipped))
    for piece in (payload[:1], payload[:-1], payload + b"\x00", bytes(300), b"\xff" * RELAYED_BYTES):
        relay(host, first.pile_id, "start", piece)
    await changes_nothing(host, start)


@household.case(cases, "relay.replayed", kind=Kind.REFUSAL)
async def replayed(host: Pile, first: Pile, _: Pile) -> None:
    """A child's frame once done is not done again: in the same relay, in a new one, or behind a newer frame."""
    start, late = first.a_start(), first.a_start(2)
    old = first.wire.sealed(late)
    frame = first.wire.say(start)
    outer = host.wire.said[-1]
    await first.answer_to(start)
    await first.stopped(start)
    host.wire.send(outer)
    first.wire.send(frame)
    first.wire.send(old)
    await changes_nothing(host, start, answers=1)
    await changes_nothing(host, late)


@household.case(cases, "relay.replayed-after-a-power-cut", kind=Kind.POWER_FAIL, needs=(Ability.POWER,))
async def replayed_after_a_power_cut(host: Pile, first: Pile, _: Pile) -> None:
    """Host and child keep their own last counters over power cuts: what was passed over before is done by neither."""
    start = first.a_start()
    old = first.wire.sealed(start)
    outer = host.wire.sealed(RelayDown(first.pile_id, "start", first.wire.sealed(start).payload))
    for pile in (first, host):
        await pile.caught_up()
        after = pile.mark
        await pile.cut_power()
        await pile.ports_reported(after=after)
    await first.caught_up()
    host.wire.send(outer)
    first.wire.send(old)
    await changes_nothing(host, start)


@household.case(cases, "relay.nested", kind=Kind.REFUSAL)
async def nested(host: Pile, first: Pile, second: Pile) -> None:
    """A relay inside a relay is handed on to nobody: not to another child, to the host, or to the child itself."""
    starts: list[Start] = []
    for pile in (second, host, first):
        starts.append(pile.a_start())
        frame = pile.wire.sealed(starts[-1])
        first.wire.say(RelayDown(pile.pile_id, "start", frame.payload))
        relay(
            host,
            host.pile_id,
            "relay",
            host.wire.sealed(RelayDown(pile.pile_id, "start", frame.payload)).payload,
        )
    await changes_nothing(host, *starts)


@household.case(cases, "relay.longest-frame", kind=Kind.NORMAL)
async def longest_frame(_host: Pile, first: Pile, _: Pile) -> None:
    """A frame of 15360 bytes is handed on and done."""
    start = first.a_start()
    frame = _padded(first, start, RELAYED_BYTES)
    check_equal("the size of the frame", len(frame.payload), RELAYED_BYTES)
    first.wire.send(frame)
    answer = await first.answer_to(start)
    check(answer.result is not StartResult.REFUSED, f"the start was refused: {answer.cause}")


@household.case(cases, "relay.impossible-values", kind=Kind.REFUSAL)
async def impossible_values(host: Pile, first: Pile, _: Pile) -> None:
    """A relay with a field missing, of another type, or with a frame over 15360 bytes is handed on to nobody."""
    start = first.a_start()
    whole: dict[int, Any] = {1: first.pile_id, 2: "start", 3: first.wire.sealed(start).payload}
    bodies = [{key: value for key, value in whole.items() if key != missing} for missing in whole]
    bodies += [whole | change for change in ({1: 7}, {2: b"start"}, {3: "frame"}, {3: b""})]
    bodies.append(whole | {3: _padded(first, start, RELAYED_BYTES + 1).payload})
    for body in bodies:
        host.wire.send(sealed_body(host, "relay", cbor2.dumps(body)))
    await changes_nothing(host, start)


@household.case(cases, "relay.later-fields", clause=clauses.BODY.on("Growth"), kind=Kind.NORMAL)
async def later_fields(host: Pile, first: Pile, _: Pile) -> None:
    """A key of `relay` that the host does not know is ignored, and the frame is handed on and done once."""
    command = Locate(uuid.uuid4(), _LOCATE_S, first.expiry_ms())
    frame = first.wire.sealed(command)
    body = {1: first.pile_id, 2: "locate", 3: frame.payload, _PADDING_KEY: "of a later version"}
    host.wire.send(sealed_body(host, "relay", cbor2.dumps(body)))
    await first.hear(CommandAck, lambda ack: ack.command_id == command.command_id)


def _padded(pile: Pile, start: Start, size: int) -> Frame:
    """A start whose frame has exactly so many bytes, filled up by a key of a later version."""
    body: dict[int, Any] = cbor2.loads(codec.encode(start))
    bare = sealed_body(pile, "start", cbor2.dumps(body | {_PADDING_KEY: bytes(1_000)}))
    return sealed_body(
        pile, "start", cbor2.dumps(body | {_PADDING_KEY: bytes(1_000 + size - len(bare.payload))})
    )
