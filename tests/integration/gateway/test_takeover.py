"""Gateways in processes of their own: one is killed under load, another serves its lane, nothing is lost or doubled."""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tests.integration.gateway.crowd import Crowd

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import GatewayProcess, HandPile, Street

    ConnectPile = Callable[..., HandPile]
    SpawnGateway = Callable[..., GatewayProcess]
    Until = Callable[..., None]

LONG_LEASE_S = 600.0
"""No takeover here may be the work of a lapse."""
TAKEN_WITHIN_S = 15.0
PAUSE_S = 0.05


def test_a_gateway_killed_under_load_is_followed_by_another_and_no_frame_is_lost_or_doubled(
    connect_pile: "ConnectPile",
    spawn_gateway: "SpawnGateway",
    laid_out: "Street",
    until: "Until",
) -> None:
    owner = spawn_gateway(lease_s=LONG_LEASE_S)
    spawn_gateway(lease_s=LONG_LEASE_S, ready=False)
    step = timedelta(seconds=1)
    with Crowd([connect_pile("YQ-01")], pause_s=PAUSE_S, begins_at=datetime.now(UTC), step=step) as load:
        until(lambda: laid_out.count("meter_frame") > 20)
        owner.kill9()
        died_s, stored = time.monotonic(), laid_out.count("meter_frame")
        until(lambda: laid_out.count("meter_frame") > stored, within_s=TAKEN_WITHIN_S)
        sys.stdout.write(f"the other gateway stores {time.monotonic() - died_s:.1f} s after the death\n")
        said = load.end()
    until(lambda: laid_out.count("meter_frame") == said)
    assert laid_out.count("meter_sample") == said
    assert laid_out.refusals() == {}
