"""More time or energy for a running session."""

import uuid
from typing import Any, Final

from conformance import clauses
from conformance.case import Catalogue, Kind, check_equal
from conformance.pile.bench import Ability, Load
from conformance.pile.subject import Pile
from protocol.messages import Extend, ExtendAck, Start
from protocol.words import ExtendResult, StopReason

cases: Final = Catalogue[Pile]()

_EXTEND: Final = clauses.CHARGE.on("Extend")
_HANDS: Final = (Ability.HANDS,)
_TOO_LATE_MS: Final = 60_000


def an_extend(pile: Pile, start: Start, **terms: Any) -> Extend:
    """An extend of a session to its own limits; ``terms`` replace any of its fields."""
    fields: dict[str, Any] = {
        "command_id": uuid.uuid4(),
        "session_id": start.session_id,
        "port": start.port,
        "limit_s": start.limit_s,
        "limit_dwh": start.limit_dwh,
        "expires_at_ms": pile.expiry_ms(),
    }
    return Extend(**(fields | terms))


async def ask(pile: Pile, extend: Extend, *, nth: int = 1) -> ExtendAck:
    """Send an extend and wait for its answer."""
    pile.wire.say(extend)
    return await pile.hear(ExtendAck, lambda ack: ack.command_id == extend.command_id, nth=nth)


@cases.case("extend.gives-more-time", clause=_EXTEND, kind=Kind.NORMAL, needs=_HANDS, physical_s=1_500)
async def gives_more_time(pile: Pile) -> None:
    """An extended session ends at its new limit_s, and the answer names the limits that hold."""
    await pile.in_service()
    start = await pile.charging(limit_s=900)
    answer = await ask(pile, an_extend(pile, start, limit_s=1_200))
    check_equal("the answer", answer.result, ExtendResult.EXTENDED)
    check_equal("the limits", (answer.limit_s, answer.limit_dwh), (1_200, start.limit_dwh))
    record = await pile.settlement(start, clock_s=1_500)
    check_equal("the reason", record.stop_reason, StopReason.PRESET_TIME)
    check_equal("the duration", record.duration_s, 1_200)


@cases.case("extend.gives-more-energy", clause=_EXTEND, kind=Kind.NORMAL, needs=_HANDS, physical_s=1_500)
async def gives_more_energy(pile: Pile) -> None:
    """A session extended in energy ends at its new limit_dwh."""
    await pile.in_service()
    start = await pile.charging(1, Load(500), limit_dwh=1_200)
    await ask(pile, an_extend(pile, start, limit_dwh=1_800))
    record = await pile.settlement(start, clock_s=1_500)
    check_equal("the reason", record.stop_reason, StopReason.PRESET_ENERGY)
    check_equal("the energy in Wh", record.energy_dwh // 10, 180)


@cases.case("extend.below-present", clause=_EXTEND, kind=Kind.REFUSAL, needs=_HANDS)
async def below_present(pile: Pile) -> None:
    """Limits below the present ones are refused with below_present and change nothing."""
    await pile.in_service()
    start = await pile.charging()
    answer = await ask(pile, an_extend(pile, start, limit_s=start.limit_s - 60))
    check_equal("the answer", answer.result, ExtendResult.BELOW_PRESENT)
    check_equal("the limits", (answer.limit_s, answer.limit_dwh), (start.limit_s, start.limit_dwh))
    await pile.stopped(start)


@cases.case("extend.another-session", clause=_EXTEND, kind=Kind.REFUSAL, needs=_HANDS)
async def another_session(pile: Pile) -> None:
    """An extend of a session the port does not have is answered session_mismatch, without limits."""
    await pile.in_service()
    start = await pile.charging()
    answer = await ask(pile, an_extend(pile, pile.a_start(start.port)))
    check_equal("the answer", answer.result, ExtendResult.SESSION_MISMATCH)
    check_equal("the limits", (answer.limit_s, answer.limit_dwh), (0, 0))


@cases.case("extend.after-the-end", clause=_EXTEND, kind=Kind.REFUSAL)
async def after_the_end(pile: Pile) -> None:
    """An extend of an ended session is answered session_ended and starts nothing."""
    await pile.in_service()
    start = await pile.accepted()
    await pile.stopped(start)
    answer = await ask(pile, an_extend(pile, start))
    check_equal("the answer", answer.result, ExtendResult.SESSION_ENDED)


@cases.case(
    "extend.expired-and-repeated", clause=clauses.ORDER.on("Commands"), kind=Kind.REFUSAL, needs=_HANDS
)
async def expired_and_repeated(pile: Pile) -> None:
    """An expired extend changes nothing; one repeated with the same id gets the same answer again."""
    await pile.in_service()
    start = await pile.charging()
    late = an_extend(pile, start, limit_s=40_000, expires_at_ms=pile.clock.now_ms() - _TOO_LATE_MS)
    check_equal("the answer", (await ask(pile, late)).result, ExtendResult.EXPIRED)
    extend = an_extend(pile, start, limit_s=start.limit_s + 600)
    first = await ask(pile, extend)
    check_equal("the limit", first.limit_s, start.limit_s + 600)
    check_equal("the answer repeated", await ask(pile, extend, nth=2), first)
