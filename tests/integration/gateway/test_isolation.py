"""Against the real broker a pile is held to its own name and topics, and needs a good certificate to be there at all.

What a frame may not do once it has got through is in test_inbound; revocation is in test_revocation.
"""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from pileway import certificates, home
from protocol import topics
from tests.integration.embedded import mqtt_client
from tests.integration.gateway.conftest import WAIT_S, HandPile, wait_until

if TYPE_CHECKING:
    from tests.conftest import Broker, PileFiles
    from tests.integration.gateway.conftest import Street

    ConnectPile = Callable[..., HandPile]
    StartGateway = Callable[..., Any]
    Until = Callable[..., None]
    Join = Callable[..., Client]

PILE = "YQ-01"
OTHER = "YQ-02"
VERSIONS = (MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311)


def up(pile_id: str, message: str = "heartbeat") -> str:
    return f"v1/{topics.shard_of(pile_id)}/{pile_id}/up/{message}"


def down(pile_id: str, message: str = "start") -> str:
    return f"v1/{topics.shard_of(pile_id)}/{pile_id}/down/{message}"


@pytest.fixture
def join(broker: "Broker") -> Iterator["Join"]:
    """Connects a pile as any client may, in either version, under any client id it asks for."""
    with ExitStack() as stack:

        def connect(pile_id: str, *, version: MQTTProtocolVersion, client_id: str | None = None) -> Client:
            client = Client(CallbackAPIVersion.VERSION2, client_id=client_id or pile_id, protocol=version)
            client.tls_set_context(_context(broker, broker.issue_pile(pile_id)))  # pyright: ignore[reportUnknownMemberType]  # paho's gap
            connected = Event()

            def on_connect(_client: Client, _userdata: Any, _flags: Any, reason: Any, _p: Any) -> None:
                if not reason.is_failure:
                    connected.set()

            client.on_connect = on_connect
            client.reconnect_delay_set(60, 60)
            address = urlsplit(broker.device_url)
            assert address.hostname is not None
            assert address.port is not None
            client.connect(address.hostname, address.port)
            client.loop_start()
            stack.callback(client.loop_stop)
            stack.callback(client.disconnect)
            assert connected.wait(WAIT_S)
            return client

        yield connect


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "topic",
    [
        up(OTHER),
        down(OTHER),
        down(PILE),
        "v1/0/YQ-01/up",
        "v1/0/YQ-01/up/a/b",
        "$SYS/broker/log",
        "elsewhere",
    ],
)
def test_what_a_pile_publishes_elsewhere_reaches_nobody(
    version: MQTTProtocolVersion, topic: str, broker: "Broker", join: "Join"
) -> None:
    with _gateway(broker) as gateway:
        gateway.subscribe("v1/+/+/up/+")
        victim = join(OTHER, version=version)
        heard: list[str] = []

        def on_message(_client: Client, _userdata: Any, message: MQTTMessage) -> None:
            heard.append(message.topic)

        victim.on_message = on_message
        victim.subscribe(down(OTHER, "+"), 1)
        rogue = join(PILE, version=version)
        rogue.publish(topic, b"forged", qos=1)
        rogue.publish(up(PILE), b"own", qos=1).wait_for_publish(WAIT_S)
        gateway.wait_for(lambda: len(gateway.messages) > 0)
        assert gateway.messages == [(up(PILE), b"own")]
        gateway.publish(down(OTHER, "stop"), b"real")
        wait_until(lambda: heard)
        assert heard == [down(OTHER, "stop")]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "pattern", ["#", "v1/#", "v1/+/+/down/+", down(OTHER, "+"), up(OTHER, "+"), "$SYS/#"]
)
def test_what_a_pile_subscribes_to_brings_it_its_own_only(
    version: MQTTProtocolVersion, pattern: str, broker: "Broker", join: "Join"
) -> None:
    with _gateway(broker) as gateway:
        rogue, other = join(PILE, version=version), join(OTHER, version=version)
        heard: list[str] = []
        subscribed = Event()

        def on_message(_client: Client, _userdata: Any, message: MQTTMessage) -> None:
            heard.append(message.topic)

        def on_subscribe(*_: Any) -> None:
            subscribed.set()

        rogue.on_message = on_message
        rogue.on_subscribe = on_subscribe
        rogue.subscribe([(pattern, 1), (down(PILE, "+"), 1)])
        assert subscribed.wait(WAIT_S)
        other.publish(up(OTHER), b"private", qos=1).wait_for_publish(WAIT_S)
        gateway.publish(down(OTHER), b"private")
        gateway.publish(down(PILE, "stop"), b"own")
        wait_until(lambda: heard)
        assert set(heard) == {down(PILE, "stop")}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_pile_that_asks_for_anothers_client_id_gets_its_own_and_disturbs_nobody(
    version: MQTTProtocolVersion, broker: "Broker", join: "Join"
) -> None:
    victim = join(OTHER, version=version)
    for wanted in (OTHER, "gw-0"):
        rogue = join(PILE, version=version, client_id=wanted)
        rogue.publish(up(PILE), b"own", qos=1).wait_for_publish(WAIT_S)
        rogue.disconnect()
    victim.publish(up(OTHER), b"still here", qos=1).wait_for_publish(WAIT_S)
    assert victim.is_connected()


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_a_pile_says_is_retained(
    version: MQTTProtocolVersion, broker: "Broker", join: "Join"
) -> None:
    rogue = join(PILE, version=version)
    lost = Event()

    def on_disconnect(*_: Any) -> None:
        lost.set()

    rogue.on_disconnect = on_disconnect
    rogue.publish(up(PILE), b"for ever", qos=1, retain=True)
    assert lost.wait(WAIT_S)
    with _gateway(broker) as gateway:
        gateway.subscribe("v1/+/+/up/+")
        join(OTHER, version=version).publish(up(OTHER), b"fresh", qos=1).wait_for_publish(WAIT_S)
        gateway.wait_for(lambda: len(gateway.messages) > 0)
        assert gateway.messages == [(up(OTHER), b"fresh")]


def test_a_retained_will_is_refused_with_its_connection(broker: "Broker") -> None:
    client = Client(CallbackAPIVersion.VERSION2, client_id=PILE, protocol=MQTTProtocolVersion.MQTTv5)
    client.tls_set_context(_context(broker, broker.issue_pile(PILE)))  # pyright: ignore[reportUnknownMemberType]  # paho's gap
    client.will_set(up(PILE, "gone"), b"for ever", qos=1, retain=True)
    refused = Event()

    def on_connect(_client: Client, _userdata: Any, _flags: Any, reason: Any, _p: Any) -> None:
        if reason.is_failure:
            refused.set()
        client.disconnect()

    client.on_connect = on_connect
    address = urlsplit(broker.device_url)
    assert address.hostname is not None
    assert address.port is not None
    client.connect(address.hostname, address.port)
    client.loop_start()
    assert refused.wait(WAIT_S)
    client.loop_stop()


def test_without_a_certificate_there_is_no_connection(broker: "Broker") -> None:
    context = ssl.create_default_context(cafile=broker.ca_path)
    assert not _answers(broker, context)


def test_without_tls_there_is_no_connection(broker: "Broker") -> None:
    assert not _answers(broker, None)


@pytest.mark.parametrize("case", ["expired", "foreign", "self_signed", "servers_own"])
def test_a_certificate_that_is_not_good_is_no_way_in(case: str, broker: "Broker", tmp_path: Path) -> None:
    assert _answers(broker, _context(broker, broker.issue_pile(PILE)))
    assert not _answers(broker, _context(broker, _bad_files(case, broker, tmp_path)))


@pytest.mark.parametrize("name", ["+", "#", "YQ-0+"])
def test_a_name_that_is_a_pattern_opens_no_other_topics(name: str, broker: "Broker", join: "Join") -> None:
    """The device authority signs no such name; the broker does not rely on that."""
    with _gateway(broker) as gateway:
        gateway.subscribe("v1/+/+/up/+")
        rogue = join(name, version=MQTTProtocolVersion.MQTTv5)
        rogue.publish(up(OTHER), b"forged", qos=1)
        rogue.publish(up(OTHER), b"forged again", qos=1)
        join(OTHER, version=MQTTProtocolVersion.MQTTv5).publish(up(OTHER), b"own", qos=1)
        gateway.wait_for(lambda: len(gateway.messages) > 0)
        assert gateway.messages == [(up(OTHER), b"own")]


def test_a_frame_of_one_pile_under_anothers_topic_changes_nothing(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    one, other = connect_pile(PILE), connect_pile(OTHER)
    stolen = one.seal(one.heartbeat())
    other.publish(other.topic("heartbeat"), stolen.payload)
    until(lambda: laid_out.refusals() == {"forged": 1})
    assert laid_out.count("pile_telemetry") == 0
    assert not laid_out.pile(OTHER).online


def _gateway(broker: "Broker") -> Any:
    return mqtt_client.connected(
        broker.service_url,
        ca_path=broker.ca_path,
        certificate_path=broker.gateway_cert_path,
        key_path=broker.gateway_key_path,
        client_id="gw-0",
    )


def _context(broker: "Broker", files: "PileFiles") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=broker.ca_path)
    context.load_cert_chain(files.certificate_path, files.key_path)
    return context


def _bad_files(case: str, broker: "Broker", folder: Path) -> "PileFiles":
    if case == "expired":
        identity = certificates.issue_client(broker.device_authority, PILE, life=timedelta(seconds=-1))
    elif case == "foreign":
        foreign = certificates.load_or_create_authority(home.private_folder(folder / "f"), "device-ca")
        identity = certificates.issue_client(foreign, PILE)
    elif case == "self_signed":
        own = certificates.load_or_create_authority(home.private_folder(folder / "s"), PILE)
        identity = certificates.issue_client(own, PILE)
    else:
        service = certificates.load_or_create_authority(broker.server.secrets, "service-ca")
        identity = certificates.issue_client(service, PILE)
    files = broker.issue_pile(f"{PILE}-{case}")
    home.write_private(files.certificate_path, identity.certificate_pem)
    home.write_private(files.key_path, identity.key_pem)
    return files


def _answers(broker: "Broker", context: ssl.SSLContext | None) -> bool:
    """Whether the broker answers an MQTT 3.1.1 CONNECT with an acceptance."""
    address = urlsplit(broker.device_url)
    assert address.hostname is not None
    connect = bytes([0x10, 17]) + b"\x00\x04MQTT" + bytes([4, 2, 0, 60, 0, 5]) + PILE.encode()
    with ExitStack() as stack:
        sock = stack.enter_context(
            socket.create_connection((address.hostname, address.port or 0), timeout=WAIT_S)
        )
        try:
            if context is not None:
                sock = stack.enter_context(context.wrap_socket(sock, server_hostname=address.hostname))
            sock.sendall(connect)
            return sock.recv(4) == b"\x20\x02\x00\x00"
        except (ssl.SSLError, ConnectionError):
            return False
