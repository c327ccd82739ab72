"""Sessions begun at the pile itself: by a code typed in, by a card."""

from typing import Final

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.pile.bench import Ability
from conformance.pile.cases.care import applied
from conformance.pile.cases.connection import cut_network
from conformance.pile.cases.settlement import check_consistent
from conformance.pile.subject import USUAL_LOAD, Pile
from protocol import start_code
from protocol.messages import Heartbeat, LocalStart, Started
from protocol.start_code import StartCode
from protocol.words import LocalStartResult, SessionSource, StopReason

cases: Final = Catalogue[Pile]()

_LOCAL: Final = clauses.LOCAL
_CODE: Final = clauses.LOCAL.on("By code")
_CARD: Final = clauses.LOCAL.on("By card")
_KEYPAD: Final = (Ability.HANDS, Ability.KEYPAD)
_READER: Final = (Ability.HANDS, Ability.CARD)
_LIMIT_DWH: Final = 1_500
_OFFLINE_S: Final = 1.0


def a_code(pile: Pile, port: int, *, windows_ago: int = 0) -> StartCode:
    """A code of the platform for a port, made so many windows of time ago."""
    epoch = pile.wire.epoch
    at_s = pile.clock.now_ms() // 1000 - windows_ago * start_code.WINDOW_S
    return start_code.make(
        pile.wire.register.secrets[epoch], epoch=epoch, port=port, limit_dwh=_LIMIT_DWH, at_s=at_s
    )


async def begins_nothing(pile: Pile, port: int, digits: str) -> None:
    """Type digits in that must not begin a session."""
    after = pile.mark
    await pile.bench.type_code(port, digits)
    await pile.caught_up()
    check_equal("the sessions begun", pile.wire.all(LocalStart, after=after), [])


@cases.case("code.starts-without-link", clause=_CODE, kind=Kind.OFFLINE, needs=_KEYPAD)
async def code_starts_without_link(pile: Pile) -> None:
    """A code typed in without link begins its session; local_start follows once there is one."""
    await pile.in_service()
    code = a_code(pile, 2)
    after = pile.mark
    pile.wire.tap.cut(_OFFLINE_S)
    await pile.bench.type_code(2, code.digits)
    await pile.bench.plug(2, USUAL_LOAD)
    told = await pile.hear(LocalStart, after=after, within_s=20)
    check_equal("session and port", (told.session_id, told.port), (code.session_id, 2))
    check_equal("source and energy", (told.source, told.limit_dwh), (SessionSource.CODE, _LIMIT_DWH))
    started = await pile.hear(Started, lambda said: said.session_id == code.session_id, within_s=20)
    check_equal("the register", started.register_dwh, told.register_dwh)


@cases.case("code.ends-at-its-energy", clause=_CODE, kind=Kind.NORMAL, needs=_KEYPAD, physical_s=3_600)
async def code_ends_at_its_energy(pile: Pile) -> None:
    """A session by code ends once the energy of the code is taken, and its settlement says code."""
    await pile.in_service()
    code = a_code(pile, 1)
    await pile.bench.plug(1, USUAL_LOAD)
    await pile.bench.type_code(1, code.digits)
    start = pile.a_start(session_id=code.session_id)
    record = await pile.settlement(start, clock_s=3_600)
    check_equal(
        "reason and source",
        (record.stop_reason, record.source),
        (StopReason.PRESET_ENERGY, SessionSource.CODE),
    )
    check_equal("the energy in Wh", record.energy_dwh // 10, _LIMIT_DWH // 10)
    check_consistent(record)


@cases.case("code.works-once", clause=_CODE, kind=Kind.REFUSAL, needs=_KEYPAD)
async def code_works_once(pile: Pile) -> None:
    """A code that was taken works no second time, while its session runs and after."""
    await pile.in_service()
    code = a_code(pile, 1)
    await pile.bench.plug(1, USUAL_LOAD)
    await pile.bench.type_code(1, code.digits)
    await pile.hear(LocalStart)
    await begins_nothing(pile, 1, code.digits)
    await pile.stopped(pile.a_start(1, session_id=code.session_id))
    await begins_nothing(pile, 1, code.digits)


@cases.case("code.wrong-foreign-or-old", clause=_CODE, kind=Kind.REFUSAL, needs=_KEYPAD)
async def code_wrong_foreign_or_old(pile: Pile) -> None:
    """A wrong code, one for another port and one that is too old begin nothing; one of two windows ago still works."""
    await pile.in_service()
    good = a_code(pile, 1)
    wrong = good.digits[:-1] + str((int(good.digits[-1]) + 1) % 10)
    await begins_nothing(pile, 1, wrong)
    await begins_nothing(pile, 2, good.digits)
    await begins_nothing(pile, 1, a_code(pile, 1, windows_ago=start_code.WINDOWS_AFTER + 2).digits)
    late = a_code(pile, 1, windows_ago=start_code.WINDOWS_AFTER)
    await pile.bench.type_code(1, late.digits)
    await pile.hear(LocalStart, lambda told: told.session_id == late.session_id)


@cases.case("code.locks-after-ten-wrong-ones", clause=_CODE, kind=Kind.REFUSAL, needs=_KEYPAD)
async def code_locks_after_ten_wrong_ones(pile: Pile) -> None:
    """After ten wrong codes the pile takes none, not even a good one."""
    await pile.in_service()
    good = a_code(pile, 1)
    for number in range(10):
        await pile.bench.type_code(1, f"0100{(int(good.digits[4:]) + 1 + number) % 1_000_000:06}")
    await begins_nothing(pile, 1, good.digits)


@cases.case("local_start.repeats-until-acked", clause=_LOCAL, kind=Kind.REFUSAL, needs=_KEYPAD, limit_s=60)
async def local_start_repeats_until_acked(pile: Pile) -> None:
    """local_start is repeated after 10 s, and at once on a new connection, until it is acknowledged."""
    pile.manners.local_start = None
    await pile.in_service()
    await pile.bench.type_code(1, a_code(pile, 1).digits)
    first = await pile.hear(LocalStart)
    again = await pile.hear(LocalStart, nth=2, within_s=15)
    check_equal("the repeated local_start", again, first)
    after = pile.mark
    await cut_network(pile, 0.2)
    pile.manners.local_start = LocalStartResult.ACCEPTED
    await pile.hear(LocalStart, after=after)
    await pile.caught_up()
    after = pile.mark
    await cut_network(pile, 0.2)
    await pile.hear(Heartbeat, after=after)
    await pile.caught_up()
    check_equal("the local starts told again", pile.wire.all(LocalStart, after=after), [])


@cases.case("local_start.refused-ends-the-session", clause=_LOCAL, kind=Kind.REFUSAL, needs=_KEYPAD)
async def local_start_refused_ends_the_session(pile: Pile) -> None:
    """A refused local start ends a session that still runs as platform_stop, and it is settled."""
    pile.manners.local_start = LocalStartResult.REFUSED
    await pile.in_service()
    await pile.bench.plug(1, USUAL_LOAD)
    code = a_code(pile, 1)
    await pile.bench.type_code(1, code.digits)
    record = await pile.settlement(pile.a_start(session_id=code.session_id))
    check_equal("the reason", record.stop_reason, StopReason.PLATFORM_STOP)


@cases.case(
    "local_start.survives-power-cut", clause=_LOCAL, kind=Kind.POWER_FAIL, needs=(*_KEYPAD, Ability.POWER)
)
async def local_start_survives_power_cut(pile: Pile) -> None:
    """A local start that nobody has acknowledged is told after a power cut, and its session settled."""
    pile.manners.local_start = None
    await pile.in_service()
    await pile.bench.plug(1, USUAL_LOAD)
    code = a_code(pile, 1)
    await pile.bench.type_code(1, code.digits)
    first = await pile.hear(LocalStart)
    after = pile.mark
    await pile.cut_power()
    again = await pile.hear(LocalStart, after=after)
    check_equal("the local start told again", again, first)
    record = await pile.settlement(pile.a_start(session_id=code.session_id), after=after)
    check_equal("the source", record.source, SessionSource.CODE)


@cases.case("card.only-where-allowed-and-offline", clause=_CARD, kind=Kind.REFUSAL, needs=_READER)
async def card_only_where_allowed_and_offline(pile: Pile) -> None:
    """A card begins nothing while card_mode is off, and nothing while there is a link."""
    await pile.in_service()
    await pile.bench.swipe(1, "04A1B2C3")
    await applied(pile, 1, {"card_mode": 1})
    await pile.bench.swipe(1, "04A1B2C3")
    await pile.caught_up()
    check_equal("the sessions begun", pile.wire.all(LocalStart), [])


@cases.case("card.starts-without-link", clause=_CARD, kind=Kind.OFFLINE, needs=_READER)
async def card_starts_without_link(pile: Pile) -> None:
    """Without link a card begins a session within the card's limits, under a random id, and its number is told."""
    await pile.in_service()
    await applied(pile, 1, {"card_mode": 1, "card_limit_s": 1_200, "card_limit_dwh": 2_000})
    pile.wire.tap.cut(_OFFLINE_S)
    await pile.wire.until(lambda: pile.wire.tap.calls[-1].over, lambda: "the connection did not end")
    await pile.bench.plug(3, USUAL_LOAD)
    for _ in range(5):
        await pile.bench.swipe(3, "04A1B2C3")
    told = await pile.hear(LocalStart, within_s=20)
    check_equal("source and credential", (told.source, told.credential), (SessionSource.CARD, "04A1B2C3"))
    check_equal("the limits", (told.limit_s, told.limit_dwh), (1_200, 2_000))
    check(told.session_id.version == 4, "the session id is no random UUID")
    check_equal(
        "the number of sessions begun", len({each.session_id for each in pile.wire.all(LocalStart)}), 1
    )
