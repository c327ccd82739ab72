"""What every process shows of itself: its CPU and memory, its version and its pool of connections."""

from collections.abc import Iterable
from importlib.metadata import version

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from psycopg_pool import ConnectionPool

from database.pool import Connection
from pileway.telemetry.families import counter, gauge, gauges


def create(pool: ConnectionPool[Connection], *collectors: Collector) -> CollectorRegistry:
    """A registry of the process's own; nothing of it is global."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    for collector in (_Common(pool), *collectors):
        registry.register(collector)
    return registry


class _Common:
    def __init__(self, pool: ConnectionPool[Connection]) -> None:
        self._pool = pool
        self._version = version("pileway")

    def collect(self) -> Iterable[Metric]:
        stats = self._pool.get_stats()
        yield gauges("pileway_build_info", "The version that runs.", ("version",), {(self._version,): 1})
        yield gauge("pileway_database_connections", "Connections in the pool.", stats.get("pool_size", 0))
        yield gauge(
            "pileway_database_connections_idle",
            "Connections in the pool that nobody uses.",
            stats.get("pool_available", 0),
        )
        yield gauge(
            "pileway_database_connection_waiters",
            "Callers that wait for a connection.",
            stats.get("requests_waiting", 0),
        )
        yield counter(
            "pileway_database_connection_failures",
            "Callers that got no connection in time.",
            stats.get("requests_errors", 0),
        )
        yield counter(
            "pileway_database_connections_lost",
            "Connections found broken.",
            stats.get("connections_lost", 0),
        )
