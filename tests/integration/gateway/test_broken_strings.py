"""Strings that are not UTF-8 end with the broker: the gateway's codec, which panics over one, never sees a device's."""

import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mqtt5 import ConnectPacket, PublishPacket, QoS, Will

from protocol import topics
from tests.integration.embedded import mqtt_client
from tests.integration.gateway.conftest import WAIT_S

if TYPE_CHECKING:
    from tests.conftest import Broker

PILE = "YQ-01"
TOPIC = f"v1/{topics.shard_of(PILE)}/{PILE}/up/heartbeat"
MARK, NOT_UTF8 = b"~", b"\xff"


def message(topic: str = TOPIC, **properties: Any) -> bytes:
    """A message whose marks are bytes no UTF-8 has."""
    packet = PublishPacket(topic, b"said", qos=QoS.AT_LEAST_ONCE, packet_id=1, **properties)
    return packet.write().replace(MARK, NOT_UTF8)


def hello(last_words: Will | None = None) -> bytes:
    """The beginning of a connection; marks in a will are replaced like those in a message."""
    return ConnectPacket(PILE, will=last_words).write().replace(MARK, NOT_UTF8)


def will(topic: str = TOPIC, **properties: Any) -> Will:
    """A message left with the broker for the end of the connection."""
    return Will(topic, **properties)


STRINGS: list[dict[str, Any]] = [
    {"topic": TOPIC + "~"},
    {"content_type": "~"},
    {"response_topic": "~"},
    {"user_properties": [("~", "value")]},
    {"user_properties": [("name", "~")]},
]


def test_the_broker_hangs_up_on_a_string_that_is_not_utf8_and_passes_nothing_on(broker: "Broker") -> None:
    with mqtt_client.connected(
        broker.service_url,
        ca_path=broker.ca_path,
        certificate_path=broker.gateway_cert_path,
        key_path=broker.gateway_key_path,
        client_id="gw-0",
    ) as gateway:
        gateway.subscribe("v1/+/+/up/+")
        context = _context(broker)
        for strings in STRINGS:
            _say_until_hung_up(broker, context, hello(), message(**strings))
            _say_until_hung_up(broker, context, hello(will(**strings)))
        _say_until_hung_up(broker, context, hello(), message(), b"\xe0\x00")
        gateway.wait_for(lambda: len(gateway.messages) > 0)
        assert gateway.messages == [(TOPIC, b"said")]


def _context(broker: "Broker") -> ssl.SSLContext:
    files = broker.issue_pile(PILE)
    context = ssl.create_default_context(cafile=broker.ca_path)
    context.load_cert_chain(files.certificate_path, files.key_path)
    return context


def _say_until_hung_up(broker: "Broker", context: ssl.SSLContext, *packets: bytes) -> None:
    """Raises TimeoutError where the broker does not hang up."""
    address = urlsplit(broker.device_url)
    where = (address.hostname or "", address.port or 0)
    with (
        socket.create_connection(where, timeout=WAIT_S) as plain,
        context.wrap_socket(plain, server_hostname=address.hostname) as sock,
        suppress(ConnectionError, ssl.SSLEOFError),
    ):
        sock.sendall(b"".join(packets))
        while sock.recv(4096):
            continue
