"""Many MQTT clients in one thread, as lean as Python allows: what a benchmark measures should not be its clients."""

import selectors
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from urllib.parse import urlsplit

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from pileway.errors import PartFailed

KEEPALIVE_S = 60
MISC_EVERY_S = 5.0
SUBSCRIBE_LIMIT_S = 10.0
INFLIGHT_MESSAGES = 1000

Heard = Callable[[Client, str, bytes], None]


@dataclass(frozen=True, kw_only=True)
class Access:
    """How a client reaches the broker: address, and PEM files for mutual TLS."""

    broker_url: str
    broker_ca: Path
    certificate: Path
    key: Path

    def trust(self) -> ssl.SSLContext:
        """Believe the broker's authority, and show our certificate. Raises OSError or ssl.SSLError."""
        context = ssl.create_default_context(cafile=str(self.broker_ca))
        context.load_cert_chain(str(self.certificate), str(self.key))
        return context


class Clients:
    """Connected clients served by whoever calls `turn`; with `precise` the wait ends to the microsecond."""

    def __init__(self, *, precise: bool = False) -> None:
        self._selector = selectors.SelectSelector() if precise else selectors.DefaultSelector()
        self._clients: list[Client] = []
        self._misc_due_s = 0.0

    def connect(self, client_id: str, access: Access, *, topic: str, heard: Heard) -> Client:
        """A client that hears `topic` from now on. Raises OSError, and PartFailed for a silent broker."""
        client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv5)
        client.tls_set_context(access.trust())  # pyright: ignore[reportUnknownMemberType]  # paho leaves it untyped
        client.max_inflight_messages_set(INFLIGHT_MESSAGES)
        subscribed: list[bool] = []

        def on_connect(client: Client, *_: object) -> None:
            client.subscribe(topic, qos=1)

        def on_subscribe(*_: object) -> None:
            subscribed.append(True)

        def on_message(client: Client, _userdata: object, message: MQTTMessage) -> None:
            heard(client, message.topic, bytes(message.payload))

        client.on_connect = on_connect
        client.on_subscribe = on_subscribe
        client.on_message = on_message
        address = urlsplit(access.broker_url)
        client.connect(address.hostname or "", address.port or 0, keepalive=KEEPALIVE_S)
        connection = _socket(client)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(connection, selectors.EVENT_READ, client)
        self._clients.append(client)
        deadline_s = time.monotonic() + SUBSCRIBE_LIMIT_S
        while not subscribed:
            if time.monotonic() > deadline_s:
                raise PartFailed(f"the broker did not serve {client_id} within {SUBSCRIBE_LIMIT_S:.0f} s")
            self.turn(0.1)
        return client

    def turn(self, timeout_s: float) -> None:
        """Serve what arrives, waiting at most `timeout_s` for it. Raises PartFailed for a lost connection."""
        for key, _ in self._selector.select(timeout_s):
            self._serve(key.data)
        now_s = time.monotonic()
        if now_s >= self._misc_due_s:
            self._misc_due_s = now_s + MISC_EVERY_S
            for client in self._clients:
                client.loop_misc()

    def watch(self, pipe: Pipe) -> None:
        """Let `turn` return when the pipe can be read, too."""
        self._selector.register(pipe, selectors.EVENT_READ, None)

    def close(self) -> None:
        """Disconnect all."""
        for client in self._clients:
            client.disconnect()
        self._selector.close()

    def _serve(self, client: Client | None) -> None:
        if client is None:
            return
        connection = _socket(client)
        while True:
            if client.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise PartFailed("the broker closed a connection of the benchmark")
            if not connection.pending():
                break
        wants = selectors.EVENT_READ
        if client.want_write():
            client.loop_write()
            if client.want_write():
                wants |= selectors.EVENT_WRITE
        if self._selector.get_key(connection).events != wants:
            self._selector.modify(connection, wants, client)


def _socket(client: Client) -> ssl.SSLSocket:
    connection = client.socket()
    if not isinstance(connection, ssl.SSLSocket):
        raise PartFailed("the broker closed a connection of the benchmark")
    return connection
