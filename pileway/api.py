"""The API process: riders' pages, the operator's API and payment notifications on one port, enrolment on another."""

from datetime import UTC, datetime

from fastapi import FastAPI
from psycopg_pool import ConnectionPool

from charging.command_waits import CommandWaits
from database.pool import Connection
from gateway import enrolment, firmware_files, renewal, revocation_list
from gateway.certificate_authority import CertificateAuthority
from gateway.enrolment import Enrolment
from gateway.renewal import Renewal
from gateway.revocation_list import RevocationList
from operator_api import app as operator_app
from pileway import composition, firmware_desk, home, rails, web_server
from pileway.errors import SettingsInvalid
from pileway.settings import Settings, required
from pileway.telemetry import tracers
from pileway.telemetry.api_telemetry import ApiTelemetry
from pileway.web_server import Listener
from rider_web import app as rider_app
from rider_web.live_hub import LiveHub
from rider_web.session_facts import FactsReader, SessionFacts

CONNECTIONS = 12


def run(settings: Settings) -> None:
    """Serve until told to stop."""
    with composition.pool(settings, max_size=CONNECTIONS) as pool:
        facts = FactsReader(pool)
        dsn = composition.database_url(settings)
        revoked = _revocation_list(settings, pool)
        with (
            rider_app.create_hub(dsn, facts) as hub,
            CommandWaits(dsn, pool) as outcomes,
            revoked.kept(),
            tracers.opened(settings, "api") as tracing,
        ):
            telemetry = ApiTelemetry(live_watchers=lambda: hub.subscriber_count, tracing=tracing)

            def stop() -> None:
                telemetry.serving.clear()
                hub.close()
                outcomes.close()

            listeners = _listeners(
                settings,
                telemetry.watch(_public_app(settings, pool, facts, hub, outcomes), "public"),
                telemetry.watch(_device_app(settings, pool, revoked), "device"),
            )
            with telemetry.server(settings, pool):
                web_server.serve(listeners, on_ready=telemetry.serving.set, on_stop=stop)


def _listeners(settings: Settings, public_app: FastAPI, device_app: FastAPI) -> list[Listener]:
    return [
        Listener(app=public_app, host=settings.host, port=settings.port),
        Listener(
            app=device_app,
            host=settings.host,
            port=settings.enrolment_port,
            certificate=required(settings.server_certificate_path, "PILEWAY_SERVER_CERTIFICATE_PATH"),
            key=required(settings.server_key_path, "PILEWAY_SERVER_KEY_PATH"),
            client_authority=required(settings.device_ca_path, "PILEWAY_DEVICE_CA_PATH"),
        ),
    ]


def _public_app(
    settings: Settings,
    pool: ConnectionPool[Connection],
    facts: FactsReader,
    hub: LiveHub[SessionFacts],
    outcomes: CommandWaits,
) -> FastAPI:
    token = required(settings.operator_token, "PILEWAY_OPERATOR_TOKEN").get_secret_value()
    app = operator_app.create_app(
        pool=pool,
        clock=settings.clock.now,
        token=token,
        waits=composition.waits(settings),
        settings=composition.settings_table(),
        outcomes=outcomes,
        firmware=firmware_desk.open_desk(settings),
        vault=composition.vault(settings),
    )
    app.include_router(
        rider_app.create_router(
            desk=rails.rail_desk(settings, pool),
            waits=composition.waits(settings),
            rail_name=rails.WECHAT_PAY,
            public_url=settings.web_url,
            facts=facts,
            hub=hub,
            payment_origins=[required(settings.wechat_pay_url, "PILEWAY_WECHAT_PAY_URL")],
            codes=composition.code_desk(settings),
            clock_speed=settings.clock_speed,
        )
    )
    rider_app.prepare_app(app)
    return app


def _authority(settings: Settings) -> CertificateAuthority:
    certificate = required(settings.device_ca_path, "PILEWAY_DEVICE_CA_PATH")
    key = required(settings.device_ca_key_path, "PILEWAY_DEVICE_CA_KEY_PATH")
    try:
        return CertificateAuthority.from_pem(
            certificate_pem=certificate.read_bytes(), key_pem=key.read_bytes()
        )
    except ValueError as error:
        raise SettingsInvalid("PILEWAY_DEVICE_CA_KEY_PATH", str(error)) from None


def _revocation_list(settings: Settings, pool: ConnectionPool[Connection]) -> RevocationList:
    path = settings.device_crl_path

    def write(pem: bytes) -> None:
        if path is not None:
            home.write_private(path, pem)

    return RevocationList(
        pool=pool,
        authority=_authority(settings),
        wall_clock=_wall_clock,
        write=write,
        known_pem=path.read_bytes() if path is not None and path.exists() else None,
    )


def _device_app(settings: Settings, pool: ConnectionPool[Connection], revoked: RevocationList) -> FastAPI:
    authority = _authority(settings)
    broker_url = required(settings.device_broker_url, "PILEWAY_DEVICE_BROKER_URL")
    broker_ca_pem = required(settings.broker_ca_path, "PILEWAY_BROKER_CA_PATH").read_text()
    enrolling = Enrolment(
        pool=pool,
        clock=settings.clock.now,
        wall_clock=_wall_clock,
        authority=authority,
        vault=composition.vault(settings),
        broker_url=broker_url,
        broker_ca_pem=broker_ca_pem,
    )
    renewing = Renewal(
        pool=pool,
        clock=settings.clock.now,
        wall_clock=_wall_clock,
        authority=authority,
        broker_url=broker_url,
        broker_ca_pem=broker_ca_pem,
    )
    app = FastAPI(title="Pileway device enrolment", openapi_url=None)
    app.include_router(enrolment.router(enrolling))
    app.include_router(renewal.router(renewing))
    app.include_router(revocation_list.router(revoked))
    app.include_router(firmware_files.router(pool))
    return app


def _wall_clock() -> datetime:
    """The machine's own clock: certificates are for TLS libraries, which know no other."""
    return datetime.now(UTC)
