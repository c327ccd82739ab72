"""A paho client whose events can be waited for."""

import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

LIMIT_S = 10.0
GRANTED = 1
SESSION_KEPT_S = 3_600


class Client:
    """What one connection heard so far."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.connected = False
        self.refused = False
        self.granted: list[int] = []
        self.published: list[str] = []
        self.changed = threading.Condition()
        self.inner: mqtt.Client

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait for something to be heard; raises `TimeoutError`."""
        with self.changed:
            if not self.changed.wait_for(condition, LIMIT_S):
                raise TimeoutError(
                    f"connected {self.connected}, granted {self.granted}, heard {len(self.messages)}"
                )

    def subscribe(self, pattern: str) -> int:
        """Subscribe at QoS 1 and return the broker's reason code."""
        before = len(self.granted)
        self.inner.subscribe(pattern, qos=1)
        self.wait_for(lambda: len(self.granted) > before)
        return self.granted[-1]

    def publish(self, topic: str, payload: bytes) -> str:
        """Publish at QoS 1 and return the broker's words for what became of it."""
        before = len(self.published)
        self.inner.publish(topic, payload, qos=1)
        self.wait_for(lambda: len(self.published) > before)
        return self.published[-1]


@contextmanager
def connected(
    url: str,
    *,
    ca_path: Path,
    certificate_path: Path,
    key_path: Path,
    client_id: str = "",
    keep: bool = False,
) -> Generator[Client]:
    """Connect, hand over the client, disconnect; raises `ConnectionRefusedError` when we may not come in."""
    client = Client()
    inner = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
    client.inner = inner
    context = ssl.create_default_context(cafile=ca_path)
    context.load_cert_chain(certificate_path, key_path)
    inner.tls_set_context(context)  # pyright: ignore[reportUnknownMemberType] - paho leaves its type open
    _listen(inner, client)
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = SESSION_KEPT_S if keep else 0
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    inner.connect(address.hostname, address.port, clean_start=not keep, properties=properties)
    inner.loop_start()
    try:
        client.wait_for(lambda: client.connected or client.refused)
        if client.refused:
            raise ConnectionRefusedError("the broker did not let us in")
        yield client
    finally:
        inner.disconnect()
        inner.loop_stop()


def _listen(inner: mqtt.Client, client: Client) -> None:
    def on_connect(
        _c: mqtt.Client, _u: Any, _f: mqtt.ConnectFlags, reason: ReasonCode, _p: Properties | None
    ) -> None:
        with client.changed:
            client.connected = not reason.is_failure
            client.changed.notify_all()

    def on_message(_c: mqtt.Client, _u: Any, message: mqtt.MQTTMessage) -> None:
        with client.changed:
            client.messages.append((message.topic, bytes(message.payload)))
            client.changed.notify_all()

    def on_subscribe(
        _c: mqtt.Client, _u: Any, _m: int, reasons: list[ReasonCode], _p: Properties | None
    ) -> None:
        with client.changed:
            client.granted.append(reasons[0].value)
            client.changed.notify_all()

    def on_publish(_c: mqtt.Client, _u: Any, _m: int, reason: ReasonCode, _p: Properties) -> None:
        with client.changed:
            client.published.append(str(reason))
            client.changed.notify_all()

    def on_disconnect(_c: mqtt.Client, _u: Any, _f: Any, _reason: ReasonCode, _p: Properties | None) -> None:
        with client.changed:
            client.refused = not client.connected
            client.changed.notify_all()

    inner.on_connect = on_connect
    inner.on_disconnect = on_disconnect
    inner.on_message = on_message
    inner.on_subscribe = on_subscribe
    inner.on_publish = on_publish
