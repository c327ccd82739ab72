"""What a gateway shows of the frames it took: each result counted, by reason where refused, and its lanes told."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry
from psycopg_pool import ConnectionPool

from database.pool import Connection
from gateway.service import Gateway
from pileway.telemetry import registry
from pileway.telemetry.gateway_metrics import GatewayCollector, LaneQuestion
from pileway.telemetry.readiness import DatabaseCheck
from pileway.telemetry.server import turning

if TYPE_CHECKING:
    from tests.conftest import Broker
    from tests.integration.gateway.conftest import HandPile, Street

    ConnectPile = Callable[..., HandPile]
    StartGateway = Callable[..., Gateway]
    Until = Callable[..., None]


class Shown:
    """A gateway's metrics as a scrape finds them."""

    def __init__(self, pool: ConnectionPool[Connection], gateway: Gateway) -> None:
        self._registry: CollectorRegistry = registry.create(pool, GatewayCollector(gateway))

    def value(self, name: str, **labels: Any) -> float:
        return self._registry.get_sample_value(name, labels) or 0.0

    def known(self, result: str, reason: str) -> float | None:
        return self._registry.get_sample_value("pileway_frames_total", {"result": result, "reason": reason})

    def frames(self, result: str, reason: str = "") -> float:
        return self.value("pileway_frames_total", result=result, reason=reason)


def test_frames_are_counted_by_result_and_refused_ones_by_reason(
    connect_pile: "ConnectPile",
    start_gateway: "StartGateway",
    pool: ConnectionPool[Connection],
    until: "Until",
) -> None:
    gateway = start_gateway()
    shown = Shown(pool, gateway)
    pile = connect_pile("YQ-01")
    pile.boots()
    before = shown.frames("stored")
    assert before >= 1
    for reason in ("replayed", "malformed", "forged", "handler_error"):
        assert shown.known("refused", reason) == 0, "shown before the first, or an alert on growth misses it"
    frame = pile.say(pile.heartbeat())
    pile.publish(frame.topic, frame.payload)
    pile.publish(pile.topic("heartbeat"), b"no envelope at all")
    until(lambda: shown.frames("refused", "replayed") == 1)
    until(lambda: shown.frames("refused", "malformed") == 1)
    assert shown.frames("stored") == before + 1
    assert shown.value("pileway_link_frames_total", lane="0") >= 4
    assert shown.value("pileway_batch_frames_sum") >= 4
    assert shown.value("pileway_batch_step_seconds_count", step="commit") >= 1


def test_samples_of_today_and_of_yesterday_are_timed_apart(
    connect_pile: "ConnectPile",
    start_gateway: "StartGateway",
    laid_out: "Street",
    pool: ConnectionPool[Connection],
    until: "Until",
) -> None:
    gateway = start_gateway()
    shown = Shown(pool, gateway)
    pile = connect_pile("YQ-01")
    pile.boots()
    session_id = laid_out.order("YQ-01")
    pile.say(pile.meter(session_id))
    until(lambda: shown.value("pileway_sample_lag_seconds_count") == 1)
    pile.say(pile.meter(session_id, at=datetime.now(UTC) - timedelta(days=1)))
    until(lambda: shown.value("pileway_replayed_sample_age_seconds_count") == 1)


def test_lanes_are_ready_where_served_and_where_another_serves_them(
    start_gateway: "StartGateway", pool: ConnectionPool[Connection], broker: "Broker", until: "Until"
) -> None:
    start_gateway(owner="gateway-2", lanes=(1,), lane_count=4)
    gateway = start_gateway(lanes=(0, 1), lane_count=4)
    check = DatabaseCheck(pool, question=LaneQuestion(gateway))
    until(lambda: check() == {"database": None, "migrations": None, "lane 0": None, "lane 1": None})
    shown = Shown(pool, gateway)
    assert [shown.value("pileway_lane_held", lane=lane) for lane in ("0", "1")] == [1, 0]
    broker.kill9()
    until(lambda: check().get("lane 0") == "is not connected to the broker")
    assert shown.value("pileway_link_connected", lane="0") == 0
    assert not any(turning(gateway.health.turned_s).values()), "its loops turn all the same"
    broker.restart()
    until(lambda: check().get("lane 0", "") is None)
    assert shown.value("pileway_link_connections_total", lane="0") >= 2
