"""A pile that sends nothing but meter frames is as present as any other, a moment later."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from protocol import messages

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import HandPile, Street

    ConnectPile = Callable[..., HandPile]
    StartGateway = Callable[..., Any]
    Until = Callable[..., None]

PILE = "YQ-01"
SESSION = UUID(int=5)


def test_meter_frames_alone_bring_a_pile_back_online(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile(PILE)
    pile.boots()
    laid_out.execute("UPDATE pile SET online = false")
    pile.say(pile.meter(SESSION))
    until(lambda: laid_out.pile(PILE).online)
    assert laid_out.count("meter_sample") == 1


def test_a_will_after_meter_frames_leaves_the_pile_offline(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile(PILE)
    pile.boots()
    pile.say(pile.meter(SESSION))
    until(lambda: laid_out.count("meter_sample") == 1)
    # The frame's presence is still to be noted: it must not come after the will.
    pile.say(messages.Gone(connection=1))
    until(lambda: not laid_out.pile(PILE).online)
    pile.pause(1.5)
    assert not laid_out.pile(PILE).online
