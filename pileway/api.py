"""The API process: riders' pages, the operator's API and payment notifications on one port, enrolment on another."""

from operator_api import app as operator_app
from pileway import composition, web_server
from pileway.rails import WECHAT_PAY
from pileway.settings import Settings, required
from pileway.web_server import Listener
from rider_web import app as rider_app
from rider_web.session_facts import FactsReader

CONNECTIONS = 12


def run(settings: Settings) -> None:
    """Serve until told to stop."""
    dsn = composition.database_url(settings)
    with composition.pool(settings, max_size=CONNECTIONS) as pool:
        desk = composition.rail_desk(settings, pool)
        facts = FactsReader(pool)
        with rider_app.create_hub(dsn, facts) as hub:
            public = operator_app.create_app(
                pool=pool,
                clock=settings.clock.now,
                token=required(settings.operator_token, "PILEWAY_OPERATOR_TOKEN").get_secret_value(),
            )
            public.include_router(
                rider_app.create_router(
                    desk=desk,
                    waits=composition.waits(settings),
                    rail_name=WECHAT_PAY,
                    public_url=settings.web_url,
                    facts=facts,
                    hub=hub,
                    payment_origins=_payment_origins(settings),
                )
            )
            rider_app.prepare_app(public)
            device = _device_app(composition_enrolment(settings, pool))
            web_server.serve(
                [
                    Listener(app=public, host=settings.host, port=settings.port),
                    Listener(
                        app=device,
                        host=settings.host,
                        port=settings.enrolment_port,
                        certificate=required(
                            settings.server_certificate_path, "PILEWAY_SERVER_CERTIFICATE_PATH"
                        ),
                        key=required(settings.server_key_path, "PILEWAY_SERVER_KEY_PATH"),
                    ),
                ]
            )
