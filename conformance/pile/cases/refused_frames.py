"""Frames down that must change nothing: replayed, old, forged, misplaced, cut short, unknown."""

from typing import Any, Final

import cbor2

from conformance import clauses
from conformance.case import Catalogue, Kind, check_equal
from conformance.pile.bench import Ability
from conformance.pile.subject import Pile
from protocol import codec
from protocol.envelope import Counter, Sealer
from protocol.frames import Frame
from protocol.messages import Settlement, Start, StartAck
from protocol.topics import Direction
from protocol.words import StartResult

cases: Final = Catalogue[Pile]()

_DOWN: Final = clauses.ORDER.on("Down")
_UNKNOWN_KEY: Final = 4_000


def sealed_body(pile: Pile, name: str, body: bytes) -> Frame:
    """Any bytes as a body, sealed properly under the next counter."""
    epoch = pile.wire.epoch
    sealer = Sealer(pile.wire.register.secrets[epoch], epoch=epoch, direction=Direction.DOWN)
    topic = pile.wire.topic(name)
    return Frame(topic, sealer.seal(topic, body, counter=pile.wire.next_counter(epoch)))


async def changes_nothing(pile: Pile, start: Start, *frames: Frame, answers: int = 0) -> None:
    """Send frames, wait until the pile has dealt with them, and see that the start in them was not done."""
    for frame in frames:
        pile.wire.send(frame)
    await pile.caught_up()
    said = pile.wire.all(StartAck, lambda ack: ack.command_id == start.command_id)
    check_equal("the number of answers", len(said), answers)


@cases.case("down.replayed", clause=_DOWN, kind=Kind.REFUSAL)
async def replayed(pile: Pile) -> None:
    """The very frame of a start, delivered again after its session's end, is not answered and starts nothing."""
    await pile.in_service()
    start = pile.a_start()
    frame = pile.wire.say(start)
    await pile.answer_to(start)
    await pile.stopped(start)
    await changes_nothing(pile, start, frame, frame, answers=1)


@cases.case("down.old-counter", clause=_DOWN, kind=Kind.REFUSAL)
async def old_counter(pile: Pile) -> None:
    """A new command under a counter that is not greater than the last accepted one is not done."""
    await pile.in_service()
    await pile.caught_up()
    start = pile.a_start()
    last = pile.wire.counters[pile.wire.epoch]
    await changes_nothing(
        pile,
        start,
        pile.wire.sealed(start, counter=last),
        pile.wire.sealed(start, counter=Counter(0, 0)),
        pile.wire.sealed(start, counter=Counter(last.boot, last.seq - 1)),
    )


@cases.case("down.gap-and-new-boot", clause=_DOWN, kind=Kind.NORMAL)
async def gap_and_new_boot(pile: Pile) -> None:
    """The platform's counters have gaps and its boot number may grow; what is greater is accepted."""
    await pile.in_service()
    epoch = pile.wire.epoch
    last = pile.wire.counters[epoch]
    pile.wire.counters[epoch] = Counter(last.boot, last.seq + 100_000)
    await pile.stopped(await pile.accepted())
    pile.wire.counters[epoch] = Counter(last.boot + 5, 0)
    await pile.stopped(await pile.accepted())


@cases.case("down.out-of-order", clause=_DOWN, kind=Kind.REFUSAL)
async def out_of_order(pile: Pile) -> None:
    """Of two commands that arrive in the wrong order the older one is not done."""
    await pile.in_service()
    older, newer = pile.a_start(1), pile.a_start(2)
    first, second = pile.wire.sealed(older), pile.wire.sealed(newer)
    pile.wire.send(second)
    await pile.answer_to(newer)
    await changes_nothing(pile, older, first)


@cases.case("down.counter-survives-power-cut", clause=_DOWN, kind=Kind.POWER_FAIL, needs=(Ability.POWER,))
async def counter_survives_power_cut(pile: Pile) -> None:
    """The last accepted counter survives a power cut: an old frame delivered after it changes nothing."""
    await pile.in_service()
    unsent = pile.a_start()
    old = pile.wire.sealed(unsent)
    await pile.caught_up()
    after = pile.mark
    await pile.cut_power()
    await pile.ports_reported(after=after)
    await changes_nothing(pile, unsent, old)


@cases.case("down.forged", clause=clauses.ENVELOPE, kind=Kind.REFUSAL)
async def forged(pile: Pile) -> None:
    """A frame with one bit flipped, in tag, ciphertext or Partial IV, changes nothing."""
    await pile.in_service()
    start = pile.a_start()
    frames: list[Frame] = []
    for place in (-1, -20, 14):
        topic, payload = pile.wire.sealed(start)
        flipped = bytearray(payload)
        flipped[place] ^= 1
        frames.append(Frame(topic, bytes(flipped)))
    await changes_nothing(pile, start, *frames)


@cases.case("down.other-topic", clause=clauses.ENVELOPE.on("External AAD"), kind=Kind.REFUSAL)
async def other_topic(pile: Pile) -> None:
    """A frame moved to another message's topic changes nothing on either side."""
    await pile.in_service()
    start = await pile.accepted()
    moved = pile.wire.sealed(pile.a_stop(start))
    other = pile.a_start(2)
    await changes_nothing(
        pile,
        other,
        Frame(pile.wire.topic("start"), moved.payload),
        Frame(pile.wire.topic("stop"), pile.wire.sealed(other).payload),
    )
    check_equal("the settlements", pile.wire.all(Settlement), [])


@cases.case("down.other-key", clause=clauses.ENVELOPE.on("Keys"), kind=Kind.REFUSAL)
async def other_key(pile: Pile) -> None:
    """A frame sealed under another secret, or under an epoch the pile was never given, changes nothing."""
    await pile.in_service()
    start = pile.a_start()
    topic, body = pile.wire.topic("start"), codec.encode(start)
    frames: list[Frame] = []
    for epoch in (pile.wire.epoch, pile.wire.epoch + 1):
        sealer = Sealer(bytes(32), epoch=epoch, direction=Direction.DOWN)
        frames.append(Frame(topic, sealer.seal(topic, body, counter=Counter(9, 9))))
    await changes_nothing(pile, start, *frames)


@cases.case("down.up-key", clause=clauses.ENVELOPE.on("Keys"), kind=Kind.REFUSAL)
async def up_key(pile: Pile) -> None:
    """A frame sealed with the key of the other direction changes nothing."""
    await pile.in_service()
    start = pile.a_start()
    epoch, topic = pile.wire.epoch, pile.wire.topic("start")
    sealer = Sealer(pile.wire.register.secrets[epoch], epoch=epoch, direction=Direction.UP)
    await changes_nothing(
        pile, start, Frame(topic, sealer.seal(topic, codec.encode(start), counter=Counter(9, 9)))
    )


@cases.case("down.cut-short", clause=clauses.ENVELOPE, kind=Kind.REFUSAL)
async def cut_short(pile: Pile) -> None:
    """Frames cut short, empty or followed by more bytes change nothing, and the pile lives on."""
    await pile.in_service()
    start = pile.a_start()
    topic, payload = pile.wire.sealed(start)
    pieces = (b"", payload[:1], payload[:10], payload[:-1], payload + b"\x00", bytes(300), b"\xff" * 16_000)
    await changes_nothing(pile, start, *(Frame(topic, piece) for piece in pieces))


@cases.case("down.unknown-message", clause=clauses.BODY, kind=Kind.REFUSAL)
async def unknown_message(pile: Pile) -> None:
    """A message whose name the pile does not know is ignored."""
    await pile.in_service()
    await changes_nothing(pile, pile.a_start(), sealed_body(pile, "of_a_later_version", b"\xa1\x01\x01"))


@cases.case("down.unknown-key", clause=clauses.BODY.on("Growth"), kind=Kind.NORMAL)
async def unknown_key(pile: Pile) -> None:
    """A key the pile does not know in a message it knows is ignored, and the message is done."""
    await pile.in_service()
    start = pile.a_start()
    body: dict[int, Any] = cbor2.loads(codec.encode(start)) | {_UNKNOWN_KEY: "of a later version"}
    pile.wire.send(sealed_body(pile, "start", cbor2.dumps(body)))
    answer = await pile.answer_to(start)
    check_equal("the answer", answer.result, StartResult.PENDING_PLUG)


@cases.case("down.missing-field", clause=clauses.BODY, kind=Kind.REFUSAL)
async def missing_field(pile: Pile) -> None:
    """A start without one of its required fields is not done."""
    await pile.in_service()
    start = pile.a_start()
    whole: dict[int, Any] = cbor2.loads(codec.encode(start))
    frames = [
        sealed_body(
            pile, "start", cbor2.dumps({key: value for key, value in whole.items() if key != missing})
        )
        for missing in (2, 4, 11)
    ]
    await changes_nothing(pile, start, *frames)


@cases.case("down.impossible-values", clause=clauses.BODY, kind=Kind.REFUSAL)
async def impossible_values(pile: Pile) -> None:
    """A start with a field of another type or out of its range is not done."""
    await pile.in_service()
    start = pile.a_start()
    whole: dict[int, Any] = cbor2.loads(codec.encode(start))
    wrong: tuple[dict[int, Any], ...] = (
        {3: 0},
        {3: 21},
        {4: 0},
        {4: "600"},
        {5: 1.5},
        {7: 1},
        {2: b"short"},
        {6: None},
    )
    frames = [sealed_body(pile, "start", cbor2.dumps(whole | change)) for change in wrong]
    await changes_nothing(pile, start, *frames)


@cases.case("down.no-map", clause=clauses.BODY, kind=Kind.REFUSAL)
async def no_map(pile: Pile) -> None:
    """A body that is no map, is nested too deep, or has an indefinite length changes nothing."""
    await pile.in_service()
    start = pile.a_start()
    bodies = (
        b"\x80",
        b"\x81" * 200 + b"\x80",
        b"\xbf\x01\x01\xff",
        b"\xa2\x01\x01\x01\x02",
        b"\xc1\x00",
        b"",
    )
    await changes_nothing(pile, start, *(sealed_body(pile, "start", body) for body in bodies))
