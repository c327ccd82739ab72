"""The limits of a session, which the pile keeps to with no link at all."""

from typing import Final

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.pile.bench import Ability, Load
from conformance.pile.cases.settlement import check_consistent
from conformance.pile.subject import Pile
from protocol.messages import PortStateChanged, Settlement, Start
from protocol.words import PortState, StopReason

cases: Final = Catalogue[Pile]()

_LIMITS: Final = clauses.CHARGE.on("Limits need no link")
_HANDS: Final = (Ability.HANDS,)
_OFFLINE_S: Final = 7.0
"""How long the network is away, in real seconds: longer than the physical time of every case here takes."""


async def ended_offline(pile: Pile, start: Start, clock_s: float) -> Settlement:
    """Cut the network until after the session must have ended; gives the settlement that comes then."""
    after = pile.mark
    pile.wire.tap.cut(min(_OFFLINE_S, clock_s / pile.clock.speed + 0.5))
    record = await pile.settlement(start, clock_s=clock_s + _OFFLINE_S * pile.clock.speed, after=after)
    check_consistent(record)
    return record


@cases.case("limit.time-without-link", clause=_LIMITS, kind=Kind.OFFLINE, needs=_HANDS, physical_s=600)
async def time_without_link(pile: Pile) -> None:
    """A session ends limit_s after its first load, to the second, with no network."""
    await pile.in_service()
    start = await pile.charging(limit_s=600)
    record = await ended_offline(pile, start, 600)
    check_equal("the reason", record.stop_reason, StopReason.PRESET_TIME)
    check_equal("the duration", record.duration_s, 600)


@cases.case("limit.energy-without-link", clause=_LIMITS, kind=Kind.OFFLINE, needs=_HANDS, physical_s=900)
async def energy_without_link(pile: Pile) -> None:
    """A session ends when it has taken limit_dwh, with no network."""
    await pile.in_service()
    start = await pile.charging(1, Load(400), limit_dwh=1_000)
    record = await ended_offline(pile, start, 900)
    check_equal("the reason", record.stop_reason, StopReason.PRESET_ENERGY)
    check(
        1_000 <= record.energy_dwh <= 1_010, f"{record.energy_dwh / 10} Wh were given for a limit of 100 Wh"
    )


@cases.case("limit.full-then-float", clause=_LIMITS, kind=Kind.OFFLINE, needs=_HANDS, physical_s=1_800)
async def full_then_float(pile: Pile) -> None:
    """A full battery is told as float, stays on for float_s and ends the session as full, with no network."""
    await pile.in_service()
    start = await pile.charging(1, Load(200, full_after_s=300), float_s=300)
    record = await ended_offline(pile, start, 1_800)
    check_equal("the reason", record.stop_reason, StopReason.FULL)
    states = pile.wire.all(PortStateChanged, lambda state: state.port == 1)
    full = next((state for state in states if state.state is PortState.FLOAT), None)
    check(full is not None, "the port was never told as float")
    assert full is not None
    floated_s = (record.ended_at_ms - full.at_ms) / 1000
    check(299 <= floated_s <= 302, f"the port stayed on for {floated_s:.0f} s once full, not 300 s")
    last = await pile.hear(PortStateChanged, lambda state: state.state is PortState.FULL_PLUGGED)
    check(last.plugged, "the port is full_plugged without a plug")


@cases.case("limit.full-goes-on-when-told", clause=_LIMITS, kind=Kind.NORMAL, needs=_HANDS, physical_s=2_400)
async def full_goes_on_when_told(pile: Pile) -> None:
    """Without stop_when_full a full battery does not end the session; its time does."""
    await pile.in_service()
    start = await pile.charging(
        1, Load(200, full_after_s=300), stop_when_full=False, float_s=10, limit_s=2_000
    )
    record = await pile.settlement(start, clock_s=2_400)
    check_equal("the reason", record.stop_reason, StopReason.PRESET_TIME)
    check_equal("the duration", record.duration_s, 2_000)


@cases.case("limit.over-power", clause=_LIMITS, kind=Kind.OFFLINE, needs=_HANDS, physical_s=60)
async def over_power(pile: Pile) -> None:
    """A load of more than max_power_w for 3 s ends the session as port_over_power, with no network."""
    await pile.in_service()
    start = pile.a_start(1, max_power_w=300)
    await pile.ask_start(start)
    await pile.bench.plug(1, Load(700))
    record = await ended_offline(pile, start, 60)
    check_equal("the reason", record.stop_reason, StopReason.PORT_OVER_POWER)
    check(record.duration_s <= 30, f"the load was cut only after {record.duration_s} s")


@cases.case("limit.unplugged", clause=_LIMITS, kind=Kind.OFFLINE, needs=_HANDS, physical_s=100)
async def unplugged(pile: Pile) -> None:
    """A plug pulled for 10 s ends the session as unplugged, with no network, and the port is idle."""
    await pile.in_service()
    start = await pile.charging()
    pile.wire.tap.cut(3.0)
    await pile.bench.unplug(1)
    pulled_ms = pile.clock.now_ms()
    record = await pile.settlement(start, clock_s=100)
    check_equal("the reason", record.stop_reason, StopReason.UNPLUGGED)
    check_consistent(record)
    waited_s = (record.ended_at_ms - pulled_ms) / 1000
    check(5 <= waited_s <= 15, f"the session ended {waited_s:.0f} s after the plug was pulled, not 10 s")
    await pile.hear(PortStateChanged, lambda state: state.port == 1 and state.state is PortState.IDLE)


@cases.case(
    "limit.plugged-again-in-time",
    clause=_LIMITS,
    kind=Kind.NORMAL,
    needs=(*_HANDS, Ability.QUICK),
)
async def plugged_again_in_time(pile: Pile) -> None:
    """A plug pulled and put in again within 10 s does not end the session."""
    await pile.in_service()
    start = await pile.charging()
    await pile.bench.unplug(1)
    await pile.bench.plug(1, Load(200))
    await pile.caught_up()
    check_equal("the settlements", pile.wire.all(Settlement), [])
    await pile.stopped(start)


@cases.case("limit.no-load", clause=_LIMITS, kind=Kind.OFFLINE, needs=_HANDS, physical_s=200)
async def no_load(pile: Pile) -> None:
    """Without a load within plug_wait_s the session ends as no_load: no energy, no seconds, no slots, no tiers."""
    await pile.in_service()
    await pile.bench.plug(1, Load(2.0))
    start = await pile.accepted(plug_wait_s=120)
    record = await ended_offline(pile, start, 120)
    check_equal("the reason", record.stop_reason, StopReason.NO_LOAD)
    check_equal("energy and duration", (record.energy_dwh, record.duration_s), (0, 0))
    check_equal("slots and tiers", (record.slots, record.tiers), ((), ()))


@cases.case("limit.nobody-comes", clause=_LIMITS, kind=Kind.NORMAL, physical_s=200)
async def nobody_comes(pile: Pile) -> None:
    """A start nobody plugs in for ends as no_load after plug_wait_s, and the port is idle again."""
    await pile.in_service()
    start = await pile.accepted(2, plug_wait_s=120)
    record = await pile.settlement(start, clock_s=200)
    check_equal("the reason", record.stop_reason, StopReason.NO_LOAD)
    await pile.hear(PortStateChanged, lambda state: state.port == 2 and state.state is PortState.IDLE)


@cases.case(
    "limit.own-longest-session",
    clause=_LIMITS,
    kind=Kind.NORMAL,
    needs=(Ability.FRESH, Ability.HANDS),
    physical_s=45_000,
)
async def own_longest_session(pile: Pile) -> None:
    """A limit_s beyond the pile's own longest session ends at that one, as max_time."""
    pile.manners.heartbeat_s, pile.manners.sample_s = 3_600, 3_600
    await pile.in_service()
    start = await pile.charging(1, Load(100), limit_s=604_800, limit_dwh=1_000_000)
    record = await pile.settlement(start, clock_s=45_000)
    check_equal("the reason", record.stop_reason, StopReason.MAX_TIME)
    check_consistent(record)
