"""The embedded Mosquitto keeps piles apart, the gateway's door shut, and its sessions over a restart."""

import ssl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pileway import certificates, home
from pileway.certificates import Authority
from tests.conftest import Broker
from tests.integration.embedded import mqtt_client
from tests.integration.embedded.mqtt_client import GRANTED, Client

NOT_AUTHORIZED = 135


@contextmanager
def _pile(
    broker: Broker, pile_id: str, *, client_id: str = "", authority: Authority | None = None
) -> Generator[Client]:
    files = broker.issue_pile(pile_id, authority=authority)
    with mqtt_client.connected(
        broker.device_url,
        ca_path=broker.ca_path,
        certificate_path=files.certificate_path,
        key_path=files.key_path,
        client_id=client_id or pile_id,
    ) as client:
        yield client


@contextmanager
def _gateway(broker: Broker, *, keep: bool = False) -> Generator[Client]:
    with mqtt_client.connected(
        broker.service_url,
        ca_path=broker.ca_path,
        certificate_path=broker.gateway_cert_path,
        key_path=broker.gateway_key_path,
        client_id="gw-0",
        keep=keep,
    ) as client:
        yield client


def test_gateway_hears_a_pile_and_a_pile_its_gateway(broker: Broker) -> None:
    with _gateway(broker) as gateway, _pile(broker, "p1") as pile:
        assert gateway.subscribe("v1/+/+/up/+") == GRANTED
        assert pile.subscribe("v1/7/p1/down/+") == GRANTED
        pile.publish("v1/7/p1/up/boot", b"hello")
        gateway.wait_for(lambda: gateway.messages == [("v1/7/p1/up/boot", b"hello")])
        gateway.publish("v1/7/p1/down/start", b"go")
        pile.wait_for(lambda: pile.messages == [("v1/7/p1/down/start", b"go")])


def test_pile_cannot_write_or_read_another_piles_topics(broker: Broker) -> None:
    with _gateway(broker) as gateway, _pile(broker, "p1") as pile, _pile(broker, "p2") as other:
        gateway.subscribe("v1/+/+/up/+")
        pile.subscribe("v1/+/+/down/+")
        other.subscribe("v1/7/p2/down/+")
        assert pile.publish("v1/7/p2/up/meter", b"forged") == "Not authorized"
        assert pile.publish("v1/7/p1/down/start", b"to myself") == "Not authorized"
        pile.publish("v1/7/p1/up/meter", b"mine")
        gateway.publish("v1/7/p2/down/stop", b"for p2")
        other.wait_for(lambda: len(other.messages) == 1)
        gateway.wait_for(lambda: len(gateway.messages) == 1)
        assert gateway.messages == [("v1/7/p1/up/meter", b"mine")]
        assert pile.messages == []


def test_client_id_is_the_certificates_name_whatever_is_asked_for(broker: Broker) -> None:
    with _pile(broker, "victim") as victim, _pile(broker, "rogue", client_id="victim") as rogue:
        victim.subscribe("v1/1/victim/down/+")
        rogue.publish("v1/1/rogue/up/boot", b"")
        assert victim.inner.is_connected()


def test_certificate_of_a_foreign_authority_is_refused(broker: Broker, tmp_path: Path) -> None:
    foreign = certificates.load_or_create_authority(home.private_folder(tmp_path / "foreign"), "device-ca")
    with pytest.raises((ssl.SSLError, ConnectionError)), _pile(broker, "p1", authority=foreign):
        pass


def test_pile_certificate_does_not_open_the_service_listener(broker: Broker) -> None:
    files = broker.issue_pile("gateway")
    with (
        pytest.raises((ssl.SSLError, ConnectionError)),
        mqtt_client.connected(
            broker.service_url,
            ca_path=broker.ca_path,
            certificate_path=files.certificate_path,
            key_path=files.key_path,
            client_id="gw-0",
        ),
    ):
        pass


def test_gateway_user_may_not_act_as_a_pile(broker: Broker) -> None:
    with _gateway(broker) as gateway:
        assert gateway.publish("v1/7/p1/up/meter", b"invented") == "Not authorized"


def test_what_waits_for_the_gateway_survives_a_restart_of_the_broker(broker: Broker) -> None:
    with _gateway(broker, keep=True) as gateway:
        gateway.subscribe("v1/+/+/up/+")
    with _pile(broker, "p1") as pile:
        for number in range(50):
            pile.publish("v1/7/p1/up/meter", b"%d" % number)
    broker.restart()
    with _gateway(broker, keep=True) as gateway:
        gateway.wait_for(lambda: len(gateway.messages) == 50)
        assert [payload for _, payload in gateway.messages] == [b"%d" % number for number in range(50)]


def test_killed_broker_comes_back_on_the_same_addresses(broker: Broker) -> None:
    before = broker.address
    broker.kill9()
    broker.restart()
    assert broker.address == before
    with _pile(broker, "p1") as pile:
        assert pile.inner.is_connected()
