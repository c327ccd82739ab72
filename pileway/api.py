"""The API process: riders' pages, the operator's API and payment notifications on one port, enrolment on another."""

from datetime import UTC, datetime

from fastapi import FastAPI
from psycopg_pool import ConnectionPool

from database.pool import Connection
from gateway import enrolment, renewal
from gateway.certificate_authority import CertificateAuthority
from gateway.enrolment import Enrolment
from gateway.renewal import Renewal
from operator_api import app as operator_app
from pileway import composition, web_server
from pileway.errors import SettingsInvalid
from pileway.rails import WECHAT_PAY
from pileway.settings import Settings, required
from pileway.web_server import Listener
from rider_web import app as rider_app
from rider_web.live_hub import LiveHub
from rider_web.session_facts import FactsReader, SessionFacts

CONNECTIONS = 12


def run(settings: Settings) -> None:
    """Serve until told to stop."""
    with composition.pool(settings, max_size=CONNECTIONS) as pool:
        facts = FactsReader(pool)
        with rider_app.create_hub(composition.database_url(settings), facts) as hub:
            web_server.serve(
                [
                    Listener(
                        app=_public_app(settings, pool, facts, hub), host=settings.host, port=settings.port
                    ),
                    Listener(
                        app=_device_app(settings, pool),
                        host=settings.host,
                        port=settings.enrolment_port,
                        certificate=required(
                            settings.server_certificate_path, "PILEWAY_SERVER_CERTIFICATE_PATH"
                        ),
                        key=required(settings.server_key_path, "PILEWAY_SERVER_KEY_PATH"),
                        client_authority=required(settings.device_ca_path, "PILEWAY_DEVICE_CA_PATH"),
                    ),
                ],
                on_stop=hub.close,
            )


def _public_app(
    settings: Settings,
    pool: ConnectionPool[Connection],
    facts: FactsReader,
    hub: LiveHub[SessionFacts],
) -> FastAPI:
    token = required(settings.operator_token, "PILEWAY_OPERATOR_TOKEN").get_secret_value()
    app = operator_app.create_app(pool=pool, clock=settings.clock.now, token=token)
    app.include_router(
        rider_app.create_router(
            desk=composition.rail_desk(settings, pool),
            waits=composition.waits(settings),
            rail_name=WECHAT_PAY,
            public_url=settings.web_url,
            facts=facts,
            hub=hub,
            payment_origins=[required(settings.wechat_pay_url, "PILEWAY_WECHAT_PAY_URL")],
        )
    )
    rider_app.prepare_app(app)
    return app


def _device_app(settings: Settings, pool: ConnectionPool[Connection]) -> FastAPI:
    certificate = required(settings.device_ca_path, "PILEWAY_DEVICE_CA_PATH")
    key = required(settings.device_ca_key_path, "PILEWAY_DEVICE_CA_KEY_PATH")
    try:
        authority = CertificateAuthority.from_pem(
            certificate_pem=certificate.read_bytes(), key_pem=key.read_bytes()
        )
    except ValueError as error:
        raise SettingsInvalid("PILEWAY_DEVICE_CA_KEY_PATH", str(error)) from None
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
    return app


def _wall_clock() -> datetime:
    """The machine's own clock: certificates are for TLS libraries, which know no other."""
    return datetime.now(UTC)
