"""Plugs and what is said of them."""

from typing import Final

from conformance import clauses
from conformance.case import Catalogue, Kind, check, check_equal
from conformance.pile.bench import Ability, Load
from conformance.pile.cases.connection import cut_network
from conformance.pile.subject import Pile
from protocol.messages import Heartbeat, PortStateChanged
from protocol.words import PortState, StateCause

cases: Final = Catalogue[Pile]()

_STATES: Final = clauses.CHARGE.on("Port states")
_HANDS: Final = (Ability.HANDS,)


@cases.case("port_state.tells-a-plug", clause=clauses.STATES, kind=Kind.NORMAL, needs=_HANDS)
async def tells_a_plug(pile: Pile) -> None:
    """A plug put in makes an idle port plugged, a plug pulled makes it idle again."""
    await pile.in_service()
    await pile.bench.plug(4, Load(200))
    plugged = await pile.hear(PortStateChanged, lambda state: state.cause is StateCause.PLUG)
    check_equal("the port", plugged.port, 4)
    check_equal("the state", (plugged.previous, plugged.state), (PortState.IDLE, PortState.PLUGGED))
    check(plugged.plugged, "the port does not count as plugged")
    await pile.bench.unplug(4)
    pulled = await pile.hear(PortStateChanged, lambda state: state.cause is StateCause.UNPLUG)
    check_equal("the state", (pulled.previous, pulled.state), (PortState.PLUGGED, PortState.IDLE))
    check(not pulled.plugged, "the port still counts as plugged")


@cases.case(
    "port_state.waits-for-a-plug-to-be-still",
    clause=_STATES,
    kind=Kind.NORMAL,
    needs=(*_HANDS, Ability.QUICK),
)
async def waits_for_a_plug_to_be_still(pile: Pile) -> None:
    """A plug that goes in and out within 2 s is not reported; one that stays is, after 2 s."""
    await pile.in_service()
    await pile.bench.plug(5, Load(200))
    await pile.bench.unplug(5)
    put_in_ms = pile.clock.now_ms()
    await pile.bench.plug(6, Load(200))
    state = await pile.hear(PortStateChanged, lambda state: state.cause is StateCause.PLUG)
    check_equal("the port reported first", state.port, 6)
    waited_s = (state.at_ms - put_in_ms) / 1000
    check(waited_s >= 1.9, f"the plug was reported {waited_s:.1f} s after it went in")
    told = {state.port for state in pile.wire.all(PortStateChanged) if state.cause is not StateCause.BOOT}
    check_equal("the ports reported", told, {6})


@cases.case("port_state.waits-while-offline", clause=_STATES, kind=Kind.OFFLINE, needs=_HANDS)
async def waits_while_offline(pile: Pile) -> None:
    """Changes of state while offline come later, oldest first, with the instants at which they happened."""
    await pile.in_service()
    after = pile.mark
    pile.wire.tap.cut(2.0)
    left_ms = pile.clock.now_ms()
    for port in (7, 8, 9):
        await pile.bench.plug(port, Load(200))
    await cut_network(pile, 0.5)
    back_ms = pile.clock.now_ms()
    await pile.hear(Heartbeat, after=after)
    await pile.hear(PortStateChanged, nth=3, after=after)
    states = pile.wire.all(PortStateChanged, after=after)
    check_equal("the ports", [state.port for state in states], [7, 8, 9])
    for state in states:
        check(left_ms - 2_000 <= state.at_ms <= back_ms, "a change made offline has the instant it was sent")
