"""A database and a broker of one's own take the place of the embedded ones."""

from pathlib import Path

from charging.session_states import SessionState
from pileway import home
from tests.acceptance.stage import open_stage
from tests.conftest import Broker


def test_a_charge_on_servers_named_by_the_settings(empty_dsn: str, broker: Broker, work_folder: Path) -> None:
    authority = broker.folder / "secrets" / "device-ca"
    with open_stage(
        home=home.prepare(work_folder / "own-servers"),
        database_url=empty_dsn,
        broker_url=broker.service_url,
        device_broker_url=broker.device_url,
        broker_ca_path=broker.ca_path,
        gateway_certificate_path=broker.gateway_cert_path,
        gateway_key_path=broker.gateway_key_path,
        device_ca_path=authority.with_suffix(".crt"),
        device_ca_key_path=authority.with_suffix(".key"),
    ) as stage:
        running = {state.name for state in stage.platform.supervisor.states()}
        assert not running & {"database", "broker"}
        session_id = stage.charge(1)
        stage.wait_for(session_id, SessionState.CLOSED, SessionState.FAILED)
        stage.assert_settled_once(session_id)
