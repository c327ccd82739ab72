"""The simulated payment rails as a process."""

from payment_sim import keys
from payment_sim.app import SimConfig, create_app
from pileway import web_server
from pileway.settings import Settings, required
from pileway.web_server import Listener


def run(settings: Settings) -> None:
    """Serve the simulated WeChat Pay until told to stop."""
    folder = required(settings.payment_sim_folder, "PILEWAY_PAYMENT_SIM_FOLDER")
    config = SimConfig(
        directory=folder,
        keys=keys.load(folder),
        public_url=required(settings.wechat_pay_url, "PILEWAY_WECHAT_PAY_URL"),
    )
    app = create_app(config, settings.clock.now)
    web_server.serve([Listener(app=app, host=settings.host, port=settings.payment_sim_port)])
