"""Frames as they may be and as they may not be, their repetition, and the counters of what comes down."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final
from uuid import uuid4

import cbor2

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.platform import probes, records
from conformance.platform.bench import Capability
from conformance.platform.probes import KEPT
from conformance.platform.puppet import Frame
from conformance.platform.scene import Scene
from conformance.platform.sealing import A128GCM, flipped
from protocol import codec, messages
from protocol.envelope import MAX_FRAME_BYTES, Counter
from protocol.words import SettlementResult

cases: Final = Catalogue[Scene]()

AES_CCM_16_64_128: Final = 10
LATER_KEY: Final = 200
TIMES: Final = 20


@cases.case("envelope.a128gcm-is-read", clause=clauses.ENVELOPE, kind=Kind.NORMAL)
async def a128gcm_is_read(scene: Scene) -> None:
    """A frame sealed with A128GCM is read; the answer comes with A256GCM."""
    await probes.expect_taken(await scene.pile(), lambda recipe: replace(recipe, algorithm=A128GCM))


@cases.case("envelope.tag-is-optional", clause=clauses.ENVELOPE, kind=Kind.NORMAL)
async def tag_is_optional(scene: Scene) -> None:
    """A frame without CBOR tag 16 is read."""
    await probes.expect_taken(await scene.pile(), lambda recipe: replace(recipe, tagged=False))


@cases.case("envelope.other-headers-are-ignored", clause=clauses.ENVELOPE, kind=Kind.NORMAL)
async def other_headers_are_ignored(scene: Scene) -> None:
    """Unprotected headers the contract does not name are ignored."""
    headers: dict[int | str, object] = {3: "application/cbor", 99: b"\x00", "maker": "KIT"}
    await probes.expect_taken(await scene.pile(), lambda recipe: replace(recipe, extra_headers=headers))


@cases.case("envelope.unknown-epoch-is-refused", clause=clauses.REFUSED, kind=Kind.REFUSAL)
async def unknown_epoch_is_refused(scene: Scene) -> None:
    """A frame under an epoch the platform has no secret of changes nothing."""
    pile = await scene.pile()
    epoch = pile.epoch + 7
    await probes.expect_refused(
        pile, "another epoch", probes.sealed(pile, lambda recipe: replace(recipe, epoch=epoch))
    )
    await probes.expect_refused(
        pile,
        "a frame that claims another epoch",
        probes.sealed(pile, lambda recipe: replace(recipe, kid=epoch)),
    )


@cases.case("envelope.wrong-secret-is-refused", clause=clauses.REFUSED, kind=Kind.REFUSAL)
async def wrong_secret_is_refused(scene: Scene) -> None:
    """A frame sealed with another secret under the pile's epoch changes nothing."""
    pile = await scene.pile()
    await probes.expect_refused(
        pile, "another secret", probes.sealed(pile, lambda recipe: replace(recipe, secret=bytes(32)))
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
        await probes.expect_refused(
            pile,
            f"a frame for {what}",
            probes.sealed(pile, lambda recipe, topic=topic: replace(recipe, topic=topic)),
        )


@cases.case("envelope.unsupported-algorithm-is-refused", clause=clauses.REFUSED, kind=Kind.REFUSAL)
async def unsupported_algorithm_is_refused(scene: Scene) -> None:
    """A protected header other than A256GCM or A128GCM is refused, the wrong one of the two as well."""
    pile = await scene.pile()
    for named in (AES_CCM_16_64_128, A128GCM, 0x7FFF_FFFF):
        await probes.expect_refused(
            pile,
            f"algorithm {named}",
            probes.sealed(pile, lambda recipe, named=named: replace(recipe, named=named)),
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
        await probes.expect_refused(pile, what, probes.spoiled(pile, spoil))


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

    await probes.expect_refused(pile, "an oversized frame", make)


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
