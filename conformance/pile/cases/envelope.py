"""The envelope and the body: what every frame of a pile is made of."""

import itertools
from collections.abc import Iterator
from typing import Any, Final

import cbor2

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.pile.bench import Ability
from conformance.pile.subject import Pile
from protocol.envelope import MAX_FRAME_BYTES, Counter, Opened

cases: Final = Catalogue[Pile]()

_COSE_ENCRYPT0: Final = 0xD0
_PROTECTED: Final = (bytes.fromhex("a10103"), bytes.fromhex("a10101"))


def sealed_by(pile: Pile) -> list[tuple[str, bytes]]:
    """Every frame the pile sealed, by topic, in order: each connection's will, then what it published.

    Retransmissions of the MQTT client (DUP) are left out: same packet, same frame.
    """
    frames: list[tuple[str, bytes]] = []
    for call in pile.wire.tap.calls:
        if call.connect is not None and call.connect.will_topic is not None:
            frames.append((call.connect.will_topic, call.connect.will_payload))
        frames += [(said.topic, said.payload) for said in call.publishes if not said.again]
    return frames


def opened_of(pile: Pile) -> list[Opened]:
    """The same, opened; one that does not open raises its ProtocolError."""
    return [pile.wire.opened(topic, payload) for topic, payload in sealed_by(pile)]


async def a_short_life(pile: Pile) -> None:
    """Power up, start, stop and settle: most kinds of messages."""
    await pile.in_service()
    await pile.stopped(await pile.accepted())


@cases.case("envelope.frames-are-cose-encrypt0", clause=clauses.ENVELOPE, kind=Kind.NORMAL)
async def frames_are_cose_encrypt0(pile: Pile) -> None:
    """Every frame is a tagged COSE_Encrypt0 with the exact protected header, kid and Partial IV."""
    await a_short_life(pile)
    for topic, payload in sealed_by(pile):
        check_equal(f"the first byte of {topic}", payload[0], _COSE_ENCRYPT0)
        check(len(payload) <= MAX_FRAME_BYTES, f"{topic} has {len(payload)} bytes")
        protected, unprotected, _ = cbor2.loads(payload[1:])
        check(protected in _PROTECTED, f"{topic}: the protected header is {protected.hex()}")
        check_equal(f"the size of the kid of {topic}", len(unprotected[4]), 4)
        check_equal(f"the size of the Partial IV of {topic}", len(unprotected[6]), 8)
    check_equal("the frames that do not open", [heard.error for heard in pile.wire.heard if heard.error], [])


@cases.case("envelope.bound-to-its-topic", clause=clauses.ENVELOPE.on("External AAD"), kind=Kind.NORMAL)
async def bound_to_its_topic(pile: Pile) -> None:
    """Every frame opens under the key of the epoch its kid names and the topic it was published to."""
    await a_short_life(pile)
    epochs = {opened.epoch for opened in opened_of(pile)}
    check_equal("the epochs sealed under", epochs, {pile.wire.epoch})


@cases.case("envelope.counter-grows", clause=clauses.ENVELOPE.on("The counter"), kind=Kind.NORMAL)
async def counter_grows(pile: Pile) -> None:
    """Within a boot the sequence number grows with each frame sealed, on every connection."""
    await a_short_life(pile)
    pile.wire.tap.cut(0.2)
    await pile.wire.until(
        lambda: len(pile.wire.tap.calls) > 1 and bool(pile.wire.tap.calls[-1].publishes),
        lambda: "the pile did not come back after its network was lost",
        within_s=20,
    )
    _check_growing([opened.counter for opened in opened_of(pile)])


@cases.case(
    "envelope.first-boot-is-number-one",
    clause=clauses.ENVELOPE.on("The counter"),
    kind=Kind.NORMAL,
    needs=(Ability.FRESH,),
)
async def first_boot_is_number_one(pile: Pile) -> None:
    """The first boot after enrolment is 1, and its first frame has the sequence number 1."""
    await pile.power_up()
    check_equal("the first counter", tuple(opened_of(pile)[0].counter), (1, 1))


@cases.case(
    "envelope.counter-never-repeats-over-power-cuts",
    clause=clauses.ENVELOPE.on("The counter"),
    kind=Kind.POWER_FAIL,
    needs=(Ability.POWER,),
)
async def counter_never_repeats_over_power_cuts(pile: Pile) -> None:
    """Each boot counts up before its first frame, so that no Partial IV is used twice over power cuts."""
    await pile.in_service()
    for _ in range(3):
        await pile.cut_power(0.1)
    counters = [opened.counter for opened in opened_of(pile)]
    _check_growing(counters)
    boots = sorted({counter.boot for counter in counters})
    check_equal("the boots", boots, list(range(boots[0], boots[0] + 4)))


@cases.case("body.deterministic-cbor", clause=clauses.BODY.on("Deterministic encoding"), kind=Kind.NORMAL)
async def deterministic_cbor(pile: Pile) -> None:
    """Every body is one deterministic CBOR map of small integers, without floats, tags or null."""
    await a_short_life(pile)
    for topic, opened in zip((topic for topic, _ in sealed_by(pile)), opened_of(pile), strict=True):
        item: Any = cbor2.loads(opened.body)
        check(isinstance(item, dict), f"{topic}: the body is no map")
        check_equal(f"the body of {topic}", opened.body, cbor2.dumps(item, canonical=True))
        for value in _values(item):
            allowed = value.__class__ in (int, bool, str, bytes, list, dict)
            check(allowed, f"{topic}: the body holds {value!r}")


def _check_growing(counters: list[Counter]) -> None:
    for before, following in itertools.pairwise(counters):
        check(following != before, f"the Partial IV {tuple(before)} was used twice")
        check(following > before, f"the Partial IV {tuple(following)} follows {tuple(before)}")


def _values(item: Any) -> Iterator[Any]:
    yield item
    if item.__class__ is dict:
        for key, value in item.items():
            yield key
            yield from _values(value)
    elif item.__class__ is list:
        for value in item:
            yield from _values(value)
