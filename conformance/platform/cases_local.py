"""Sessions begun at the pile itself, told afterwards, in any order."""

import secrets as randomness
from typing import Final
from uuid import UUID, uuid4

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.platform import records
from conformance.platform.bench import Capability
from conformance.platform.puppet import Puppet
from conformance.platform.scene import Scene
from protocol import messages
from protocol.words import ClockState, LocalStartResult, SessionSource, SettlementResult

cases: Final = Catalogue[Scene]()

CARD: Final = "04A2B3C4D5E680"
BY_CARD: Final = clauses.LOCAL.on("By card")
KNOWN_CARDS: Final = (Capability.CARDS, Capability.SESSIONS)
ANSWERED: Final = (SettlementResult.STORED, SettlementResult.UNKNOWN_SESSION_KEPT)


def _told(
    pile: Puppet, session_id: UUID, *, source: SessionSource = SessionSource.CARD, card: str = CARD
) -> messages.LocalStart:
    return messages.LocalStart(
        session_id=session_id,
        source=source,
        port=1,
        at_ms=pile.now_ms,
        register_dwh=pile.registers[1],
        limit_s=36_000,
        limit_dwh=30_000,
        clock=ClockState.SYNCED,
        credential=card if source is SessionSource.CARD else None,
    )


async def _answer(pile: Puppet, told: messages.LocalStart) -> LocalStartResult:
    await pile.say(told)
    ack = await pile.hear(messages.LocalStartAck, where=lambda ack: ack.session_id == told.session_id)
    return ack.result


def _record(pile: Puppet, session_id: UUID) -> messages.Settlement:
    record = records.settlement(
        session_id, port=1, started_at_ms=pile.now_ms, start_register_dwh=pile.registers[1]
    )
    return records.changed(record, source=SessionSource.CARD)


@cases.case("local.told-again-is-answered-alike", clause=clauses.LOCAL, kind=Kind.OFFLINE)
async def told_again_is_answered_alike(scene: Scene) -> None:
    """A card start whose answer was lost is answered again, the same way."""
    pile = await scene.pile()
    told = _told(pile, uuid4())
    first = await _answer(pile, told)
    for _ in range(2):
        check_equal("the answer told again", await _answer(pile, told), first)


@cases.case("local.unknown-card-settles-all-the-same", clause=BY_CARD, kind=Kind.REFUSAL)
async def unknown_card_settles(scene: Scene) -> None:
    """What a card nobody knows took is refused; readings are harmless, the settlement is kept and answered."""
    pile = await scene.pile()
    session_id = uuid4()
    check_equal("the answer", await _answer(pile, _told(pile, session_id)), LocalStartResult.REFUSED)
    await pile.say(
        records.reading(session_id, port=1, sampled_at_ms=pile.now_ms, elapsed_s=30, energy_dwh=40)
    )
    result = await pile.settle(_record(pile, session_id))
    check(result in ANSWERED, f"the settlement is answered {result.word}")


@cases.case("local.settlement-may-come-first", clause=clauses.LOCAL, kind=Kind.OFFLINE)
async def settlement_may_come_first(scene: Scene) -> None:
    """A settlement that overtakes its local_start is kept; both are answered, and then the pile may forget."""
    pile = await scene.pile()
    session_id = uuid4()
    record = _record(pile, session_id)
    result = await pile.settle(record)
    check(result in ANSWERED, f"the settlement is answered {result.word}")
    await _answer(pile, _told(pile, session_id))
    await pile.expect_settled(record, SettlementResult.DUPLICATE)


@cases.case("local.every-source-is-answered", clause=clauses.LOCAL, kind=Kind.NORMAL)
async def every_source_is_answered(scene: Scene) -> None:
    """Coin, button, Bluetooth, a code nobody sold and a source of a later version are answered, one way or another."""
    pile = await scene.pile()
    for source in (SessionSource.COIN, SessionSource.BUTTON, SessionSource.BLE, SessionSource.CODE):
        await _answer(pile, _told(pile, uuid4(), source=source))
    later = _told(pile, uuid4())
    await pile.say_map("local_start", records.as_map(later) | {2: 4_095})
    await pile.hear(messages.LocalStartAck, where=lambda ack: ack.session_id == later.session_id)


async def _known_card(scene: Scene, pile: Puppet) -> str:
    """The number of a card that may start charges at a pile."""
    number = f"04{randomness.token_hex(6).upper()}"
    await scene.ask(scene.bench.register_card, pile.pile_id, number)
    return number


@cases.case("card.known-is-taken-once", clause=BY_CARD, kind=Kind.NORMAL, needs=KNOWN_CARDS)
async def known_card_is_taken(scene: Scene) -> None:
    """A card the operator registered is accepted, each time it is told; readings count, and the charge settles."""
    pile = await scene.pile()
    told = _told(pile, uuid4(), card=await _known_card(scene, pile))
    for _ in range(2):
        check_equal("the answer", await _answer(pile, told), LocalStartResult.ACCEPTED)
    await scene.wait_charging(told.session_id)
    await pile.say(
        records.reading(told.session_id, port=1, sampled_at_ms=pile.now_ms, elapsed_s=30, energy_dwh=40)
    )
    await pile.expect_settled(_record(pile, told.session_id), SettlementResult.STORED)
    facts = await scene.wait_over(told.session_id)
    check_equal("the energy of the charge", facts.energy_dwh, records.ENERGY_DWH)
    check(not facts.failed, "the charge counts as failed")
    check_equal("the answer told again", await _answer(pile, told), LocalStartResult.ACCEPTED)


@cases.case("card.known-but-settled-first", clause=clauses.LOCAL, kind=Kind.OFFLINE, needs=KNOWN_CARDS)
async def known_card_settled_first(scene: Scene) -> None:
    """A settlement that overtook the start of a known card counts once the start is told, and once only."""
    pile = await scene.pile()
    told = _told(pile, uuid4(), card=await _known_card(scene, pile))
    record = _record(pile, told.session_id)
    result = await pile.settle(record)
    check(result in ANSWERED, f"the settlement is answered {result.word}")
    check_equal("the answer", await _answer(pile, told), LocalStartResult.ACCEPTED)
    await pile.expect_settled(record, SettlementResult.DUPLICATE)
    facts = await scene.wait_over(told.session_id)
    check_equal("the energy of the charge", facts.energy_dwh, records.ENERGY_DWH)


@cases.case("card.over-a-power-cut", clause=BY_CARD, kind=Kind.POWER_FAIL, needs=KNOWN_CARDS)
async def card_over_a_power_cut(scene: Scene) -> None:
    """A pile that began by card and lost its power tells start and settlement in its next boot; both count."""
    pile = await scene.pile()
    card = await _known_card(scene, pile)
    await pile.vanish()
    told = _told(pile, uuid4(), card=card)
    await pile.cut_power()
    await pile.comes_into_service()
    check_equal("the answer", await _answer(pile, told), LocalStartResult.ACCEPTED)
    await pile.expect_settled(_record(pile, told.session_id), SettlementResult.STORED)
    await scene.wait_over(told.session_id)


@cases.case("card.like-a-known-one-is-refused", clause=BY_CARD, kind=Kind.REFUSAL, needs=KNOWN_CARDS)
async def card_like_a_known_one(scene: Scene) -> None:
    """A number that only begins like a known card's, or lacks its end, is refused; the card itself is taken."""
    pile = await scene.pile()
    card = await _known_card(scene, pile)
    for number in (f"{card}0", card[:-1], ""):
        told = _told(pile, uuid4(), card=number)
        check_equal(f"the answer to {number!r}", await _answer(pile, told), LocalStartResult.REFUSED)
    good = _told(pile, uuid4(), card=card)
    check_equal("the answer to the card", await _answer(pile, good), LocalStartResult.ACCEPTED)
    await pile.expect_settled(_record(pile, good.session_id), SettlementResult.STORED)


@cases.case("card.session-of-another-pile", clause=clauses.LOCAL, kind=Kind.REFUSAL, needs=KNOWN_CARDS)
async def card_session_of_another_pile(scene: Scene) -> None:
    """Another pile that tells of this one's session is refused, and its settlement changes nothing."""
    pile, other = await scene.pile(), await scene.pile()
    told = _told(pile, uuid4(), card=await _known_card(scene, pile))
    check_equal("the answer", await _answer(pile, told), LocalStartResult.ACCEPTED)
    check_equal("the answer to another pile", await _answer(other, told), LocalStartResult.REFUSED)
    await other.settle(_record(other, told.session_id))
    await pile.expect_settled(_record(pile, told.session_id), SettlementResult.STORED)
    facts = await scene.wait_over(told.session_id)
    check_equal("the energy of the charge", facts.energy_dwh, records.ENERGY_DWH)
