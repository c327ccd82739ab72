"""Frames as they may be, as they may not be, and what the bodies inside may hold.

The probe is the settlement of a session nobody sold: an accepted one is answered by its session id, and one that
was quietly stored would make the next a duplicate.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final
from uuid import uuid4

import cbor2

from conformance import clauses
from conformance.case import Catalogue, Failed, Kind, check, check_equal
from conformance.platform import records
from conformance.platform.bench import Capability
from conformance.platform.puppet import Frame, Puppet
from conformance.platform.scene import Scene
from conformance.platform.sealing import A128GCM, Recipe, flipped
from protocol import codec, messages
from protocol.envelope import MAX_FRAME_BYTES, Counter
from protocol.words import SettlementResult

cases: Final = Catalogue[Scene]()

AES_CCM_16_64_128: Final = 10
SESSION, STARTED_AT, SLOTS, TIERS, CLOCK = 1, 4, 10, 11, 18
"""Keys of `settlement`."""
KEPT: Final = SettlementResult.UNKNOWN_SESSION_KEPT
LATER_KEY: Final = 200
TIMES: Final = 20

Change = Callable[[Recipe], Recipe]


async def _expect_taken(pile: Puppet, change: Change) -> None:
    """A probe sealed another way is answered as any other."""
    record = pile.stray_settlement()
    recipe = change(pile.recipe("settlement"))
    check(await pile.publish(Frame(recipe.topic, recipe.seal(codec.encode(record)))), "the broker refuses it")
    check_equal("the answer", await pile.settled(record.session_id), KEPT)


async def _expect_refused(pile: Puppet, what: str, make: Callable[[messages.Settlement], Frame]) -> None:
    """A bad frame with a probe inside is not answered, and was not stored either."""
    record = pile.stray_settlement()
    await pile.publish(make(record))
    answer = await pile.settle(record)
    if answer is not KEPT:
        raise Failed(f"{what} was taken: the good frame after it is answered {answer.word}")
    await pile.hears_no(messages.SettlementAck, where=lambda ack: ack.session_id == record.session_id)


def _sealed(pile: Puppet, change: Change) -> Callable[[messages.Settlement], Frame]:
    def make(record: messages.Settlement) -> Frame:
        recipe = change(pile.recipe("settlement"))
        return Frame(pile.topic("settlement"), recipe.seal(codec.encode(record)))

    return make


def _spoiled(pile: Puppet, spoil: Callable[[bytes], bytes]) -> Callable[[messages.Settlement], Frame]:
    def make(record: messages.Settlement) -> Frame:
        frame = pile.seal(record)
        return Frame(frame.topic, spoil(frame.payload))

    return make


@cases.case("envelope.a128gcm-is-read", clause=clauses.ENVELOPE, kind=Kind.NORMAL)
async def a128gcm_is_read(scene: Scene) -> None:
    """A frame sealed with A128GCM is read; the answer comes with A256GCM."""
    await _expect_taken(await scene.pile(), lambda recipe: replace(recipe, algorithm=A128GCM))


@cases.case("envelope.tag-is-optional", clause=clauses.ENVELOPE, kind=Kind.NORMAL)
async def tag_is_optional(scene: Scene) -> None:
    """A frame without CBOR tag 16 is read."""
    await _expect_taken(await scene.pile(), lambda recipe: replace(recipe, tagged=False))


@cases.case("envelope.other-headers-are-ignored", clause=clauses.ENVELOPE, kind=Kind.NORMAL)
async def other_headers_are_ignored(scene: Scene) -> None:
    """Unprotected headers the contract does not name are ignored."""
    headers: dict[int | str, object] = {3: "application/cbor", 99: b"\x00", "maker": "KIT"}
    await _expect_taken(await scene.pile(), lambda recipe: replace(recipe, extra_headers=headers))


@cases.case("envelope.unknown-epoch-is-refused", clause=clauses.REFUSED, kind=Kind.REFUSAL)
async def unknown_epoch_is_refused(scene: Scene) -> None:
    """A frame under an epoch the platform has no secret of changes nothing."""
    pile = await scene.pile()
    epoch = pile.epoch + 7
    await _expect_refused(pile, "another epoch", _sealed(pile, lambda recipe: replace(recipe, epoch=epoch)))
    await _expect_refused(
        pile, "a frame that claims another epoch", _sealed(pile, lambda recipe: replace(recipe, kid=epoch))
    )


@cases.case("envelope.wrong-secret-is-refused", clause=clauses.REFUSED, kind=Kind.REFUSAL)
async def wrong_secret_is_refused(scene: Scene) -> None:
    """A frame sealed with another secret under the pile's epoch changes nothing."""
    pile = await scene.pile()
    await _expect_refused(
        pile, "another secret", _sealed(pile, lambda recipe: replace(recipe, secret=bytes(32)))
    )


@cases.case("envelope.moved-frame-is-refused", clause=clauses.ENVELOPE.on("External AAD"), kind=Kind.REFUSAL)
async def moved_frame_is_refused(scene: Scene) -> None:
    """A frame sealed for another message, direction, pile or shard does not open on this topic."""
    pile, other = await scene.pile(), await scene.pile()
    own = pile.topic("settlement")
    bound_elsewhere = {
        "another message": pile.topic("heartbeat"),
        "the other direction": own.replace("/up/", "/down/"),
        "another pile": other.topic("settlement"),
        "another shard": own.replace(f"v1/{pile.identity.shard}/", f"v1/{(pile.identity.shard + 1) % 64}/"),
    }
    for what, topic in bound_elsewhere.items():
        await _expect_refused(
            pile,
            f"a frame for {what}",
            _sealed(pile, lambda recipe, topic=topic: replace(recipe, topic=topic)),
        )


@cases.case("envelope.unsupported-algorithm-is-refused", clause=clauses.REFUSED, kind=Kind.REFUSAL)
async def unsupported_algorithm_is_refused(scene: Scene) -> None:
    """A protected header other than A256GCM or A128GCM is refused, the wrong one of the two as well."""
    pile = await scene.pile()
    for named in (AES_CCM_16_64_128, A128GCM, 0x7FFF_FFFF):
        await _expect_refused(
            pile,
            f"algorithm {named}",
            _sealed(pile, lambda recipe, named=named: replace(recipe, named=named)),
        )


@cases.case("envelope.damaged-frame-is-refused", clause=clauses.REFUSED, kind=Kind.REFUSAL, limit_s=60)
async def damaged_frame_is_refused(scene: Scene) -> None:
    """A frame cut short or with one bit turned over, wherever that is, changes nothing."""
    pile = await scene.pile()
    spoilers: dict[str, Callable[[bytes], bytes]] = {
        "no bytes": lambda _: b"",
        "one byte": lambda frame: frame[:1],
        "half a frame": lambda frame: frame[: len(frame) // 2],
        "a frame without its last byte": lambda frame: frame[:-1],
        "a frame with a byte more": lambda frame: frame + b"\x00",
        "a bit in the protected header": lambda frame: flipped(frame, at=5),
        "a bit in the epoch": lambda frame: flipped(frame, at=frame.index(b"\x04\x44") + 5),
        "a bit in the Partial IV": lambda frame: flipped(frame, at=frame.index(b"\x06\x48") + 2),
        "a bit in the ciphertext": lambda frame: flipped(frame, at=len(frame) // 2),
        "a bit in the tag": lambda frame: flipped(frame, at=-1),
    }
    for what, spoil in spoilers.items():
        await _expect_refused(pile, what, _spoiled(pile, spoil))


@cases.case("envelope.not-cose-is-refused", clause=clauses.REFUSED, kind=Kind.REFUSAL)
async def not_cose_is_refused(scene: Scene) -> None:
    """Text, JSON, plain CBOR, missing headers and deep nesting are refused, and the platform goes on."""
    pile = await scene.pile()
    topic = pile.topic("settlement")
    nest: Any = 0
    for _ in range(200):
        nest = [nest]
    bad = {
        "text": b"settlement please",
        "JSON": b'{"session_id": 1}',
        "the body without an envelope": codec.encode(pile.stray_settlement()),
        "two parts": cbor2.dumps([b"\xa1\x01\x03", b""]),
        "no kid": cbor2.dumps([b"\xa1\x01\x03", {6: bytes(8)}, bytes(32)]),
        "a short Partial IV": cbor2.dumps([b"\xa1\x01\x03", {4: bytes(4), 6: bytes(7)}, bytes(32)]),
        "two hundred arrays": cbor2.dumps(nest),
    }
    for payload in bad.values():
        await pile.publish(Frame(topic, payload))
    await pile.fence()


@cases.case("envelope.oversized-frame-is-refused", clause=clauses.REFUSED, kind=Kind.REFUSAL)
async def oversized_frame_is_refused(scene: Scene) -> None:
    """A frame of more than 16384 bytes changes nothing; the pile is heard as before."""
    pile = await scene.pile()

    def make(record: messages.Settlement) -> Frame:
        body = records.as_map(record) | {LATER_KEY: bytes(MAX_FRAME_BYTES)}
        recipe = pile.recipe("settlement")
        return Frame(recipe.topic, recipe.seal(cbor2.dumps(body, canonical=True)))

    await _expect_refused(pile, "an oversized frame", make)


@cases.case("replay.same-bytes-are-not-answered", clause=clauses.ORDER.on("Up"), kind=Kind.REFUSAL)
async def same_bytes_are_not_answered(scene: Scene) -> None:
    """The very same frame again is refused and not answered; sealed anew it is."""
    pile = await scene.pile()
    record = pile.stray_settlement()
    frame = await pile.say(record)
    check_equal("the first answer", await pile.settled(record.session_id), KEPT)
    for _ in range(3):
        await pile.publish(frame)
    await pile.fence()
    await pile.hears_no(messages.SettlementAck)
    await pile.expect_settled(record, SettlementResult.DUPLICATE)


@cases.case("replay.over-a-new-connection", clause=clauses.ORDER.on("Up"), kind=Kind.REFUSAL)
async def replay_over_a_new_connection(scene: Scene) -> None:
    """A stored frame is no less a replay after a reconnection and a power cut."""
    pile = await scene.pile()
    record = pile.stray_settlement()
    frame = await pile.say(record)
    check_equal("the first answer", await pile.settled(record.session_id), KEPT)
    await pile.cut_power()
    await pile.comes_into_service()
    await pile.publish(frame)
    await pile.fence()
    await pile.hears_no(messages.SettlementAck)


@cases.case("order.late-frame-is-heard", clause=clauses.ORDER.on("Up"), kind=Kind.OFFLINE)
async def late_frame_is_heard(scene: Scene) -> None:
    """A frame that is overtaken by later ones, of a later boot even, is heard all the same."""
    pile = await scene.pile()
    late, later = pile.stray_settlement(), pile.stray_settlement()
    kept_back = pile.seal(late)
    await pile.expect_settled(later, KEPT)
    await pile.cut_power()
    await pile.comes_into_service()
    await pile.publish(kept_back)
    check_equal("the answer to the late frame", await pile.settled(late.session_id), KEPT)


@cases.case("order.counters-may-have-gaps", clause=clauses.ENVELOPE.on("The counter"), kind=Kind.NORMAL)
async def counters_may_have_gaps(scene: Scene) -> None:
    """Sequence numbers that were sealed and never sent are not missed, up to the last one of a boot."""
    pile = await scene.pile()
    for seq in (1_000, 1_000_000, (1 << 32) - 3):
        pile.seq = seq
        await pile.expect_settled(pile.stray_settlement(), KEPT)


@cases.case("body.unknown-keys-are-ignored", clause=clauses.BODY.on("Growth"), kind=Kind.NORMAL)
async def unknown_keys_are_ignored(scene: Scene) -> None:
    """Keys of a later version are ignored."""
    pile = await scene.pile()
    record = pile.stray_settlement()
    await pile.say_map(
        "settlement", records.as_map(record) | {LATER_KEY: "later", LATER_KEY + 1: [1, {2: b"3"}]}
    )
    check_equal("the answer", await pile.settled(record.session_id), KEPT)


@cases.case("body.surplus-row-elements-are-ignored", clause=clauses.BODY.on("Growth"), kind=Kind.NORMAL)
async def surplus_row_elements_are_ignored(scene: Scene) -> None:
    """Elements of a row beyond those of this version are ignored."""
    pile = await scene.pile()
    record = pile.stray_settlement()
    body = records.as_map(record)
    grown = {key: [[*row, 7, "later"] for row in body[key]] for key in (SLOTS, TIERS)}
    await pile.say_map("settlement", body | grown)
    check_equal("the answer", await pile.settled(record.session_id), KEPT)


@cases.case("body.unknown-word-counts-as-unknown", clause=clauses.BODY.on("Growth"), kind=Kind.NORMAL)
async def unknown_word_counts_as_unknown(scene: Scene) -> None:
    """A boot for a reason of a later version is answered."""
    pile = await scene.enrol(await scene.claim())
    await pile.connect()
    await pile.say_map("boot", records.as_map(pile.boot_message()) | {3: 77})
    await pile.hear(messages.BootAck)


async def _say_bad_bodies(pile: Puppet, bodies: Callable[[Mapping[int, Any]], Mapping[str, bytes]]) -> None:
    """Each bad body of a probe is neither answered nor stored."""
    for what in bodies(records.as_map(pile.stray_settlement())):

        def make(record: messages.Settlement, what: str = what) -> Frame:
            recipe = pile.recipe("settlement")
            return Frame(recipe.topic, recipe.seal(bodies(records.as_map(record))[what]))

        await _expect_refused(pile, what, make)


@cases.case("body.not-the-contracts-cbor-is-refused", clause=clauses.BODY, kind=Kind.REFUSAL, limit_s=60)
async def not_the_contracts_cbor(scene: Scene) -> None:
    """Arrays, floats, tags, endless lengths, keys twice and bytes after the end are refused."""

    def bodies(body: Mapping[int, Any]) -> dict[str, bytes]:
        good = cbor2.dumps(dict(body), canonical=True)
        indefinite = b"\xbf" + b"".join(cbor2.dumps(k) + cbor2.dumps(v) for k, v in body.items()) + b"\xff"
        twice = bytes((good[0] + 1,)) + good[1:] + cbor2.dumps(SESSION) + cbor2.dumps(body[SESSION])
        return {
            "an array": cbor2.dumps(list(body.values())),
            "a number": cbor2.dumps(7),
            "nothing": b"",
            "a float": cbor2.dumps({**body, STARTED_AT: 1.5}),
            "a tag": cbor2.dumps({**body, STARTED_AT: cbor2.CBORTag(1, 7)}),
            "an indefinite length": indefinite,
            "a key twice": twice if len(body) < 23 else good + b"\x00",
            "a byte after the end": good + b"\x00",
        }

    await _say_bad_bodies(await scene.pile(), bodies)


@cases.case("body.bad-field-is-refused", clause=clauses.REFUSED, kind=Kind.REFUSAL, limit_s=60)
async def bad_field_is_refused(scene: Scene) -> None:
    """Missing fields, other types and impossible values are refused; so is a word where none may be unknown."""

    def bodies(body: Mapping[int, Any]) -> dict[str, bytes]:
        without = {key: value for key, value in body.items() if key != STARTED_AT}
        bad: dict[str, dict[int, Any]] = {
            "no start": without,
            "a text for a number": {**body, STARTED_AT: "noon"},
            "a yes for a number": {**body, STARTED_AT: True},
            "a session of 17 bytes": {**body, SESSION: bytes(17)},
            "an instant below 1970": {**body, STARTED_AT: -1},
            "port 21": {**body, 3: 21},
            "port 0": {**body, 3: 0},
            "an instant beyond all days": {**body, STARTED_AT: (1 << 43) + 1},
            "a slot that is no row": {**body, SLOTS: [7]},
            "a slot that is too short": {**body, SLOTS: [[1, 2]]},
            "401 slots": {**body, SLOTS: [[n, 0, 0] for n in range(401)]},
            "a clock nobody knows": {**body, CLOCK: 9},
        }
        return {what: cbor2.dumps(value, canonical=True) for what, value in bad.items()}

    await _say_bad_bodies(await scene.pile(), bodies)


@cases.case("message.unknown-name-is-ignored", clause=clauses.BODY, kind=Kind.NORMAL)
async def unknown_name_is_ignored(scene: Scene) -> None:
    """A message of a later version is taken by the broker, not answered, and disturbs nothing."""
    pile = await scene.pile()
    await pile.say_map("weather", {1: 7})
    await pile.fence()
    check_equal("what came", pile.unheard, [])


@cases.case(
    "message.unknown-name-is-counted", clause=clauses.REFUSED, kind=Kind.REFUSAL, needs=[Capability.REFUSALS]
)
async def unknown_name_is_counted(scene: Scene) -> None:
    """Frames with a name nobody knows are counted as `unknown_message`."""
    pile = await scene.pile()
    before = (await scene.ask(scene.bench.refused)).get("unknown_message", 0)
    for _ in range(TIMES):
        await pile.say_map("weather", {1: 7})
    await pile.fence()
    after = (await scene.ask(scene.bench.refused)).get("unknown_message", 0)
    check(after >= before + TIMES, f"{TIMES} unknown messages were counted as {after - before}")


@cases.case("down.counters-grow", clause=clauses.ORDER.on("Down"), kind=Kind.NORMAL)
async def down_counters_grow(scene: Scene) -> None:
    """Each frame down has a greater counter than the one before, from the first one on, and is well formed."""
    pile = await scene.pile()
    last = Counter(0, 0)
    for _ in range(TIMES):
        await pile.say(messages.TimeRequest(at_ms=pile.now_ms))
    for _ in range(TIMES):
        heard = await pile.hear_frame(messages.Time)
        check(heard.counter > last, f"counter {tuple(heard.counter)} after {tuple(last)}")
        last = heard.counter


@cases.case(
    "down.counters-never-repeat-over-a-crash",
    clause=clauses.ORDER.on("Down"),
    kind=Kind.POWER_FAIL,
    needs=[Capability.GATEWAY_CRASH],
    limit_s=90,
)
async def down_counters_over_a_crash(scene: Scene) -> None:
    """A gateway that dies and comes back goes on with greater counters: the pile takes its next frame."""
    pile = await scene.pile()
    await pile.fence()
    before = pile.last_counters[pile.epoch]
    await scene.ask(scene.bench.crash_gateway)
    await pile.say(messages.TimeRequest(at_ms=pile.now_ms))
    heard = await pile.hear_frame(messages.Time, within_s=60)
    check(heard.counter > before, f"counter {tuple(heard.counter)} after {tuple(before)}")


@cases.case("time.is-told", clause=clauses.CHARGE.on("Time"), kind=Kind.NORMAL)
async def time_is_told(scene: Scene) -> None:
    """`time_request` is answered with the platform's clock, which goes forward."""
    pile = await scene.pile()
    first, second = await pile.fence(), await pile.fence()
    check(second.time_ms >= first.time_ms, "the platform's clock goes backwards")


@cases.case("probe.answers-belong-to-their-session", clause=clauses.ORDER.on("Up"), kind=Kind.NORMAL)
async def answers_belong_to_their_session(scene: Scene) -> None:
    """Of many settlements said at once each is answered once, by its own session's id."""
    pile = await scene.pile()
    said = {uuid4() for _ in range(TIMES)}
    for session_id in said:
        await pile.say(records.changed(pile.stray_settlement(), session_id=session_id))
    heard = [(await pile.hear(messages.SettlementAck)).session_id for _ in said]
    check_equal("the sessions answered", sorted(heard), sorted(said))
    await pile.hears_no(messages.SettlementAck)
