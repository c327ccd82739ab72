"""The gateway process, composed from settings."""

import os
import socket
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime

from psycopg_pool import ConnectionPool

from database.pool import Connection
from gateway import service
from gateway.flood_guard import FloodLimits
from gateway.link import TlsFiles
from gateway.service import Gateway, GatewayParts
from pileway import composition
from pileway.process import stop_event, tell_ready
from pileway.settings import Settings, required
from pileway.telemetry import registry, tracers
from pileway.telemetry.gateway_metrics import GatewayCollector, LaneQuestion
from pileway.telemetry.readiness import DatabaseCheck
from pileway.telemetry.server import OpsServer, turning

CONNECTIONS = 6
CALM_FRAMES_PER_S = 1.0
"""More than a pile with all its ports charging has to say in a second of its own clock."""


def run(settings: Settings) -> None:
    """Serve until told to stop."""
    stop = stop_event()
    with (
        composition.pool(settings, max_size=CONNECTIONS) as pool,
        tracers.opened(settings, "gateway") as tracing,
        ExitStack() as shown,
    ):

        def show(gateway: Gateway) -> None:
            shown.enter_context(ops_server(settings, pool, gateway))
            tell_ready()

        service.run(replace(parts(settings, pool), tracing=tracing), stop=stop, watch=show)


def ops_server(settings: Settings, pool: ConnectionPool[Connection], gateway: Gateway) -> OpsServer:
    """Where a running gateway shows itself."""
    database = DatabaseCheck(pool, question=LaneQuestion(gateway))
    return OpsServer(
        settings,
        "gateway",
        registry=registry.create(pool, GatewayCollector(gateway)),
        health=lambda: turning(gateway.health.turned_s, database=database),
        ready=database,
    )


def parts(settings: Settings, pool: ConnectionPool[Connection]) -> GatewayParts:
    """What the settings make a gateway of. Raises SettingsInvalid."""
    return GatewayParts(
        pool=pool,
        listen_dsn=composition.database_url(settings),
        broker_url=required(settings.broker_url, "PILEWAY_BROKER_URL"),
        tls=TlsFiles(
            broker_ca=required(settings.broker_ca_path, "PILEWAY_BROKER_CA_PATH"),
            certificate=required(settings.gateway_certificate_path, "PILEWAY_GATEWAY_CERTIFICATE_PATH"),
            key=required(settings.gateway_key_path, "PILEWAY_GATEWAY_KEY_PATH"),
        ),
        vault=composition.vault(settings),
        owner=f"{socket.gethostname()}-{os.getpid()}-{datetime.now(UTC):%H%M%S}",
        clock=settings.clock.now,
        waits=composition.waits(settings),
        speed=settings.clock_speed,
        # A pile on an accelerated clock says in a second what it has to say in so many.
        flood_limits=FloodLimits(
            frames_per_s=settings.flood_frames_per_s + CALM_FRAMES_PER_S * max(0.0, settings.clock_speed - 1)
        ),
    )
