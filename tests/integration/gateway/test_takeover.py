"""Gateways in processes of their own: one is killed under load, another serves its lane, nothing is lost or doubled."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import GatewayProcess, HandPile, Street

    ConnectPile = Callable[..., HandPile]
    SpawnGateway = Callable[..., GatewayProcess]
    Until = Callable[..., None]

LONG_LEASE_S = 600.0
"""No takeover here may be the work of a lapse."""
TAKEN_WITHIN_S = 15.0
PAUSE_S = 0.05


class Load:
    """Piles that say a meter frame every PAUSE_S, and how many frames the broker has taken."""

    def __init__(self) -> None:
        self.said = 0
        self._stop = Event()
        self._threads: list[Thread] = []

    def begin(self, piles: "list[HandPile]") -> None:
        self._threads = [Thread(target=self._say, args=(pile,)) for pile in piles]
        for thread in self._threads:
            thread.start()

    def end(self) -> int:
        """Stop, and say how many frames there were."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return self.said

    def _say(self, pile: "HandPile") -> None:
        session_id, at = uuid4(), datetime.now(UTC)
        while not self._stop.wait(PAUSE_S):
            at += timedelta(seconds=1)
            pile.say(pile.meter(session_id, at=at))
            self.said += 1


@pytest.fixture
def load() -> Iterator[Load]:
    with ExitStack() as stack:
        load = Load()
        stack.callback(load.end)
        yield load


def test_a_gateway_killed_under_load_is_followed_by_another_and_no_frame_is_lost_or_doubled(
    connect_pile: "ConnectPile",
    spawn_gateway: "SpawnGateway",
    laid_out: "Street",
    until: "Until",
    load: Load,
) -> None:
    owner = spawn_gateway(lease_s=LONG_LEASE_S)
    spawn_gateway(lease_s=LONG_LEASE_S, ready=False)
    load.begin([connect_pile("YQ-01")])
    until(lambda: laid_out.count("meter_frame") > 20)
    owner.kill9()
    died_s, stored = time.monotonic(), laid_out.count("meter_frame")
    until(lambda: laid_out.count("meter_frame") > stored, within_s=TAKEN_WITHIN_S)
    sys.stdout.write(f"the other gateway stores {time.monotonic() - died_s:.1f} s after the death\n")
    said = load.end()
    until(lambda: laid_out.count("meter_frame") == said)
    assert laid_out.count("meter_sample") == said
    assert laid_out.refusals() == {}
