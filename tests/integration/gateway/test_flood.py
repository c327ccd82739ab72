"""A pile that floods is quarantined within ten seconds; others are answered all the while, and memory stays."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from threading import Event, Thread
from typing import TYPE_CHECKING

import psutil
import pytest

from charging import pile_states
from gateway.flood_guard import FloodLimits
from gateway.service import Gateway
from protocol import messages

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import HandPile, Street

    ConnectPile = Callable[..., HandPile]
    StartGateway = Callable[..., Gateway]
    Until = Callable[..., None]
    Flood = Callable[[HandPile], None]

FLOODER = "YQ-01"
QUARANTINED_WITHIN_S = 10.0
FRAMES_PER_S = 400
MORE_MEMORY_BYTES = 40_000_000


@pytest.fixture
def flood() -> Iterator["Flood"]:
    """Has a pile say FRAMES_PER_S heartbeats a second until the test ends or the broker lets it go."""
    stop = Event()
    with ExitStack() as stack:
        stack.callback(stop.set)

        def begin(pile: "HandPile") -> None:
            def shout() -> None:
                while not stop.wait(0.1):
                    for _ in range(FRAMES_PER_S // 10):
                        frame = pile.seal(pile.heartbeat())
                        pile.client.publish(frame.topic, frame.payload, qos=1)

            thread = Thread(target=shout)
            thread.start()
            stack.callback(thread.join, 10)
            stack.callback(stop.set)

        yield begin


def test_a_flooding_pile_is_quarantined_within_ten_seconds_and_others_are_answered(
    connect_pile: "ConnectPile",
    start_gateway: "StartGateway",
    laid_out: "Street",
    until: "Until",
    flood: "Flood",
) -> None:
    gateway = start_gateway()
    flooder, other = connect_pile(FLOODER), connect_pile("YQ-02")
    flooder.boots()
    other.boots()
    before_bytes = psutil.Process().memory_info().rss
    flood(flooder)

    def quarantined() -> bool:
        other.say(messages.TimeRequest(at_ms=0))
        other.hears(messages.Time)
        return laid_out.pile(FLOODER).state == "quarantined"

    until(quarantined, within_s=QUARANTINED_WITHIN_S)
    assert psutil.Process().memory_info().rss - before_bytes < MORE_MEMORY_BYTES
    until(lambda: gateway.health.warden.turned_out > 0)
    until(lambda: laid_out.refusals().get("flooding", 0) > 0)
    with laid_out.pool.connection() as conn:
        [newest, *_] = pile_states.changes(conn, FLOODER, limit=10)
    assert (newest.changed_by, newest.reason, newest.to_state) == ("system", "flooding", "quarantined")
    assert laid_out.events(FLOODER, "state_changed")[-1]["to"] == "quarantined"
    other.say(messages.TimeRequest(at_ms=0))
    other.hears(messages.Time)
    assert laid_out.pile("YQ-02").state == "active"


def test_what_a_caught_pile_says_is_dropped_unread_and_acknowledged(
    connect_pile: "ConnectPile",
    start_gateway: "StartGateway",
    laid_out: "Street",
    until: "Until",
    flood: "Flood",
) -> None:
    gateway = start_gateway(flood_limits=FloodLimits(frames_per_s=50, seconds=1))
    pile = connect_pile(FLOODER)
    pile.boots()
    flood(pile)
    until(lambda: gateway.health.warden.dropped > 0)
    link = gateway.health.links[0]
    until(lambda: link.acks == link.frames)
    read_before = gateway.health.writer.frames
    dropped_before = gateway.health.warden.dropped
    # paho comes back by itself and goes on shouting, as no list of revoked certificates stops it here.
    until(lambda: gateway.health.warden.dropped > dropped_before)
    assert gateway.health.writer.frames == read_before
    assert laid_out.refusals()["flooding"] >= dropped_before


def test_a_released_pile_is_heard_again(
    connect_pile: "ConnectPile",
    start_gateway: "StartGateway",
    laid_out: "Street",
    until: "Until",
    flood: "Flood",
) -> None:
    gateway = start_gateway(flood_limits=FloodLimits(frames_per_s=100, seconds=1))
    pile = connect_pile(FLOODER)
    pile.boots()
    shouted = [pile.seal(pile.heartbeat()) for _ in range(101)]

    def caught() -> bool:
        for frame in shouted:
            pile.client.publish(frame.topic, frame.payload, qos=1)
        pile.pause(0.2)
        return laid_out.pile(FLOODER).state == "quarantined"

    until(caught)
    laid_out.change_state(FLOODER, pile_states.release)
    until(lambda: gateway.warden.guard.flooding == [])
    until(pile.client.is_connected)
    pile.say(pile.heartbeat())
    until(lambda: laid_out.pile(FLOODER).online)
