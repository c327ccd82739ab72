"""What the bodies inside good frames may hold, and what not."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import cbor2

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.platform import probes, records
from conformance.platform.bench import Capability
from conformance.platform.probes import KEPT
from conformance.platform.puppet import Frame, Puppet
from conformance.platform.scene import Scene
from protocol import messages

cases: Final = Catalogue[Scene]()

SESSION, STARTED_AT, SLOTS, TIERS, CLOCK = 1, 4, 10, 11, 18
"""Keys of `settlement`."""
LATER_KEY: Final = 200
TIMES: Final = 20
CARE: Final = {"config_set", "tariff_set"}
"""What a platform may tell a pile at any time."""


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

        await probes.expect_refused(pile, what, make)


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
    answers = set(pile.unheard) - CARE
    check(not answers, f"what came: {', '.join(sorted(answers))}")


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
