"""Sections 3 to 7 of docs/protocol.md, with paho-mqtt: one connection after the other, frames in and out."""

import queue
import random
import ssl
import time
from collections.abc import Callable
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import cbor2
import paho.mqtt.client as mqtt
from identity import Identity
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from sealing import Direction

Body = dict[int, Any]
Counter = tuple[int, int]

CONNECT_LIMIT_S = 10.0
LONGEST_RETRY_S = 60.0
REPEATED_BY_ITSELF = frozenset({"boot", "heartbeat", "meter", "settlement", "time_request"})


class Wire:
    """Numbers connections and frames of one boot. ``received`` holds (name, body) of frames that were accepted."""

    def __init__(self, identity: Identity, *, boot: int) -> None:
        self.received: queue.Queue[tuple[str, Body]] = queue.Queue()
        self.connection = 0
        self.reconnect_jitter_s = 0.0
        self.unopened = 0
        self.stale = 0
        self._identity = identity
        self._prefix = f"v1/{identity.shard}/{identity.pile_id}"
        self._up = Direction(identity.secret, epoch=identity.epoch, way="up")
        self._down = Direction(identity.secret, epoch=identity.epoch, way="down")
        self._boot = boot
        self._seq = 0
        self._last_down = (0, 0)
        self._lost = Event()
        self._client: mqtt.Client | None = None
        self._said: list[tuple[mqtt.MQTTMessageInfo, str, Body]] = []

    @property
    def connected(self) -> bool:
        """Whether frames flow."""
        return self._client is not None and not self._lost.is_set()

    def connect(self, first: Callable[[], tuple[str, Body]]) -> None:
        """Connect, however long it takes; say `first`, then what the broker did not acknowledge before."""
        if self.connection:
            time.sleep(random.uniform(0.0, self.reconnect_jitter_s))
        retry_s = 0.5
        while not self._connect_once():
            time.sleep(retry_s * random.uniform(0.5, 1.0))
            retry_s = min(LONGEST_RETRY_S, retry_s * 2)
        said, self._said = self._said, []
        self.say(*first())
        for info, name, body in said:
            if name not in REPEATED_BY_ITSELF and not _taken(info):
                self.say(name, body)

    def say(self, name: str, body: Body) -> Counter:
        """Seal and publish; kept until the broker has it. Gives the counter it was sealed under."""
        assert self._client is not None
        topic, frame = self._sealed(name, body)
        self._said = [one for one in self._said if not _taken(one[0])]
        self._said.append((self._client.publish(topic, frame, qos=1), name, body))
        return self._boot, self._seq

    def leave(self) -> None:
        """Disconnect in good order."""
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()

    def _sealed(self, name: str, body: Body) -> tuple[str, bytes]:
        self._seq += 1
        topic = f"{self._prefix}/up/{name}"
        plain = cbor2.dumps(body, canonical=True)
        return topic, self._up.seal(topic, plain, boot=self._boot, seq=self._seq)

    def _connect_once(self) -> bool:
        if self._client is not None:
            self._client.loop_stop()
        self.connection += 1
        self._lost = lost = Event()
        ready = Event()
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._identity.pile_id,
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
        )
        context = ssl.create_default_context(cafile=self._identity.broker_ca)
        context.load_cert_chain(self._identity.certificate, self._identity.private_key)
        client.tls_set_context(context)  # pyright: ignore[reportUnknownMemberType]  # paho leaves it untyped
        topic, will = self._sealed("gone", {1: self.connection})
        client.will_set(topic, will, qos=1)
        client.on_connect = self._subscribe
        client.on_subscribe = _setter(ready)
        client.on_disconnect = _setter(lost)
        client.on_message = self._hear
        broker = urlsplit(self._identity.broker_url)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 86_400
        properties.ReceiveMaximum = 20
        properties.MaximumPacketSize = 17_408
        try:
            client.connect(
                broker.hostname or "", broker.port or 8883, 60, clean_start=False, properties=properties
            )
        except OSError:
            return False
        client.loop_start()
        self._client = client
        return ready.wait(CONNECT_LIMIT_S)

    def _subscribe(self, client: mqtt.Client, *_: object) -> None:
        client.subscribe(f"{self._prefix}/down/+", qos=1)

    def _hear(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        """Anything that does not open, or is not newer than what came before, changes nothing."""
        try:
            counter, plain = self._down.open(message.topic, bytes(message.payload))
            body: Body = cbor2.loads(plain)
        except Exception:  # noqa: BLE001 - pycose has many, and all mean the same here
            self.unopened += 1
            return
        if counter <= self._last_down:
            self.stale += 1
            return
        self._last_down = counter
        self.received.put((message.topic.rpartition("/")[2], body))


def _taken(info: mqtt.MQTTMessageInfo) -> bool:
    """Whether the broker has it; paho raises for what was said while the connection was breaking."""
    return info.rc == mqtt.MQTT_ERR_SUCCESS and info.is_published()


def _setter(event: Event) -> Callable[..., None]:
    def set_it(*_: object) -> None:
        event.set()

    return set_it
