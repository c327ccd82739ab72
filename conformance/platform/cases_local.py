"""Sessions begun at the pile itself, told afterwards, in any order."""

from typing import Final
from uuid import UUID, uuid4

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.platform import records
from conformance.platform.puppet import Puppet
from conformance.platform.scene import Scene
from protocol import messages
from protocol.words import ClockState, LocalStartResult, SessionSource, SettlementResult

cases: Final = Catalogue[Scene]()

CARD: Final = "04A2B3C4D5E680"
ANSWERED: Final = (SettlementResult.STORED, SettlementResult.UNKNOWN_SESSION_KEPT)


def _told(
    pile: Puppet, session_id: UUID, *, source: SessionSource = SessionSource.CARD
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
        credential=CARD if source is SessionSource.CARD else None,
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


@cases.case("local.unknown-card-settles-all-the-same", clause=clauses.LOCAL.on("By card"), kind=Kind.REFUSAL)
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
