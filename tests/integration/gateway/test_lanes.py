"""A lane is served by the one gateway that holds its lease; losing the lease cuts the link."""

from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from psycopg_pool import ConnectionPool

from database import leases
from database.pool import Connection
from gateway import lanes
from gateway.errors import LaneRangeInvalid
from gateway.service import Gateway
from protocol import messages, topics

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import GatewayProcess, HandPile, Street

    ConnectPile = Callable[..., HandPile]
    StartGateway = Callable[..., Gateway]
    Until = Callable[[Callable[[], object]], None]


def test_a_second_gateway_waits_and_takes_over_when_the_first_stops(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    first = start_gateway()
    second = start_gateway(ready=False, owner="gateway-2")
    pile = connect_pile("YQ-01")
    pile.boots()
    assert second.health.links == {}
    first.stop()
    pile.say(pile.meter(uuid4()))
    until(lambda: second.health.ready)
    until(lambda: laid_out.count("meter_frame") == 1)


def test_a_second_gateway_takes_over_when_the_first_is_killed(
    connect_pile: "ConnectPile",
    spawn_gateway: "Callable[[], GatewayProcess]",
    start_gateway: "StartGateway",
    laid_out: "Street",
    until: "Until",
) -> None:
    first = spawn_gateway()
    second = start_gateway(ready=False, owner="gateway-2")
    pile = connect_pile("YQ-01")
    pile.boots()
    first.kill9()
    pile.say(pile.meter(uuid4()))
    until(lambda: laid_out.count("meter_frame") == 1)
    assert second.health.ready


def test_a_gateway_that_lost_its_lease_disconnects_and_stays_away(
    start_gateway: "StartGateway", pool: "ConnectionPool[Connection]", until: "Until"
) -> None:
    gateway = start_gateway()
    with pool.connection() as conn:
        leases.release(conn, 0, "gateway-1")
        assert leases.take(conn, 0, "gateway-2", 600)
    until(lambda: gateway.lanes.link_of(0) is None)
    assert gateway.health.links == {}
    assert gateway.lanes.serving() == []


def test_a_gateway_that_takes_its_lane_back_speaks_with_counters_above_the_others(
    connect_pile: "ConnectPile",
    start_gateway: "StartGateway",
    laid_out: "Street",
    pool: "ConnectionPool[Connection]",
    until: "Until",
) -> None:
    first = start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    with pool.connection() as conn:
        leases.release(conn, 0, "gateway-1")
        assert leases.take(conn, 0, "gateway-2", 600)
    until(lambda: first.lanes.link_of(0) is None)
    second = start_gateway(owner="gateway-2")
    pile.boots()
    second.stop()
    until(lambda: first.health.ready)
    laid_out.order("YQ-01")
    pile.hears(messages.Start)
    heard = [(counter.boot, counter.seq) for counter in pile.counters_down]
    assert len(heard) == 3
    assert heard == sorted(heard)


def test_a_link_that_an_intruder_without_a_lease_cut_comes_back(
    start_gateway: "StartGateway", broker_intruder: Callable[[], None], until: "Until"
) -> None:
    gateway = start_gateway()
    broker_intruder()
    until(lambda: gateway.health.links[0].connections == 2)
    until(lambda: gateway.health.ready)


def test_gateways_of_different_lanes_share_the_piles(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    first = start_gateway(lanes=(0,), lane_count=2)
    second = start_gateway(lanes=(1,), lane_count=2, owner="gateway-2")
    piles = [connect_pile(f"YQ-0{n}") for n in range(1, 5)] + [connect_pile(f"WT-0{n}") for n in range(1, 6)]
    for pile in piles:
        pile.boots()
        pile.say(pile.meter(uuid4()))
    until(lambda: laid_out.count("meter_frame") == len(piles))
    lower = sum(topics.shard_of(pile.pile_id) < 32 for pile in piles)
    assert 0 < lower < len(piles)
    assert first.health.writer.frames == 2 * lower
    assert second.health.writer.frames == 2 * (len(piles) - lower)


def test_lanes_divide_the_shards_without_gap_or_overlap() -> None:
    for lane_count in (1, 2, 64):
        covered = [
            shard for lane in range(lane_count) for shard in lanes.shards_of(lane, lane_count=lane_count)
        ]
        assert covered == list(range(topics.SHARD_COUNT))


@pytest.mark.parametrize(("lane", "lane_count"), [(0, 3), (0, 0), (2, 2), (-1, 2), (0, 128)])
def test_lanes_that_do_not_divide_the_shards_are_refused(lane: int, lane_count: int) -> None:
    with pytest.raises(LaneRangeInvalid):
        lanes.shards_of(lane, lane_count=lane_count)
