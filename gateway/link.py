"""One lane's connection to the broker: frames in through a callback, acknowledgements and commands out.

The broker keeps the lane's session under its client id, so what arrives while no gateway is there waits.
Frames are acknowledged by hand, after commit, and at most `receive_maximum` are open at once: a slow
database closes the tap at the broker and never fills memory here.

Packet ids belong to a connection. Every frame carries the generation of the connection that brought it, and
an acknowledgement for an older generation is dropped: its id may by now name another frame. The broker sends
an unacknowledged frame again on the next connection.
"""

import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import structlog
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from gateway.errors import BrokerUrlInvalid

_DEFAULT_PORT = 8883
_RETAIN_DO_NOT_SEND = 2

log = structlog.get_logger()


class Frame(NamedTuple):
    """One message as the broker delivered it; `redelivered` is MQTT's DUP flag, `mid` the packet id."""

    link: "Link"
    generation: int
    mid: int
    qos: int
    redelivered: bool
    topic: str
    payload: bytes
    received_at: datetime


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """PEM files of the gateway's side of mutual TLS."""

    broker_ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, kw_only=True)
class LinkLimits:
    """Bounds of one connection."""

    receive_maximum: int = 1000
    """Frames the broker may have open with us: the most that waits here for a commit."""
    maximum_packet_bytes: int = 64 * 1024
    """Larger than any valid frame, so that an oversized one is seen, counted and kept."""
    inflight_messages: int = 20
    """Commands the broker has not taken yet."""
    queued_messages: int = 10_000
    """Commands waiting for a place among those; more are refused to the caller."""
    session_expiry_s: int = 7 * 24 * 3600
    keepalive_s: int = 30
    connect_timeout_s: float = 5.0
    reconnect_min_s: int = 1
    reconnect_max_s: int = 15


@dataclass
class LinkHealth:
    """Counters since the process began; written by the link's own thread."""

    connected: bool = False
    connections: int = 0
    frames: int = 0
    redeliveries: int = 0
    acks: int = 0
    stale_acks: int = 0
    overflows: int = 0
    published: int = 0
    taken: int = 0


@dataclass(frozen=True)
class _Address:
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> "_Address":
        try:
            parts = urlsplit(url)
            port = parts.port or _DEFAULT_PORT
        except ValueError:
            raise BrokerUrlInvalid(url) from None
        if parts.scheme != "mqtts" or not parts.hostname or parts.path not in ("", "/"):
            raise BrokerUrlInvalid(url)
        return cls(parts.hostname, port)


class Link:
    """The MQTT 5 client of one lane.

    `deliver` is called in the network thread for each frame and may hold it up for less than the keep-alive, which
    slows the broker down; it answers whether the frame found room. `resumed` is called with the new generation when
    the broker kept the session, before any frame of it arrives.
    """

    def __init__(
        self,
        *,
        client_id: str,
        broker_url: str,
        tls: TlsFiles,
        topic_filters: Sequence[str],
        limits: LinkLimits,
        clock: Callable[[], datetime],
        deliver: Callable[[Frame], bool],
        resumed: "Callable[[Link, int], None]",
    ) -> None:
        self.client_id = client_id
        self.health = LinkHealth()
        self._address = _Address.parse(broker_url)
        self._topic_filters = tuple(topic_filters)
        self._limits = limits
        self._clock = clock
        self._deliver = deliver
        self._resumed = resumed
        self._generation = 0
        self._connected = False
        self._ack_lock = Lock()
        self._taken = _Takings()
        self._tls = tls
        self._client = self._build_client()

    @property
    def connected(self) -> bool:
        """Whether frames and commands flow: connected, and the subscription granted."""
        return self.health.connected

    def start(self) -> None:
        """Begin connecting in a thread of its own, and reconnect with a bounded back-off until `stop`.

        Raises OSError or ssl.SSLError when the TLS files cannot be used.
        """
        context = ssl.create_default_context(cafile=str(self._tls.broker_ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(str(self._tls.certificate), str(self._tls.key))
        self._client.tls_set_context(context)  # pyright: ignore[reportUnknownMemberType]  # paho's gap
        self._client.connect_async(
            self._address.host,
            self._address.port,
            keepalive=self._limits.keepalive_s,
            clean_start=False,
            properties=self._connect_properties(),
        )
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect and end the thread; the broker keeps the session and what is not acknowledged."""
        self._lose_connection()
        self._client.disconnect()
        self._client.loop_stop()

    def ack(self, frames: Sequence[Frame]) -> None:
        """Acknowledge committed frames in the order given; those of an older connection are dropped."""
        with self._ack_lock:
            for frame in frames:
                if frame.qos == 0:
                    continue
                if not self._connected or frame.generation != self._generation:
                    self.health.stale_acks += 1
                    continue
                self._client.ack(frame.mid, frame.qos)
                self.health.acks += 1

    def publish(
        self, topic: str, payload: bytes, *, expiry_s: int, on_taken: Callable[[bool], None] | None = None
    ) -> bool:
        """Send at QoS 1 with a message expiry. False when there is no connection or no room.

        `on_taken` is called in the network thread when the broker has taken the message, with False when it
        refused it or nobody is subscribed.
        """
        if not self._connected:
            return False
        properties = Properties(PacketTypes.PUBLISH)
        properties.MessageExpiryInterval = max(1, expiry_s)
        info = self._client.publish(topic, payload, qos=1, properties=properties)
        if info.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            return False
        self.health.published += 1
        self._taken.expect(info.mid, on_taken)
        return True

    def _build_client(self) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        client.connect_timeout = self._limits.connect_timeout_s
        client.max_inflight_messages_set(self._limits.inflight_messages)
        client.max_queued_messages_set(self._limits.queued_messages)
        client.reconnect_delay_set(self._limits.reconnect_min_s, self._limits.reconnect_max_s)
        client.on_socket_open = _without_delay
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        return client

    def _connect_properties(self) -> Properties:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = self._limits.session_expiry_s
        properties.ReceiveMaximum = self._limits.receive_maximum
        properties.MaximumPacketSize = self._limits.maximum_packet_bytes
        return properties

    def _on_connect(
        self,
        client: Client,
        _userdata: Any,
        flags: ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            log.warning("broker_refused_link", client_id=self.client_id, reason=str(reason))
            return
        with self._ack_lock:
            self._generation += 1
            self._connected = True
        self.health.connections += 1
        if flags.session_present:
            self._resumed(self, self._generation)
        options = SubscribeOptions(qos=1, retainHandling=_RETAIN_DO_NOT_SEND)
        client.subscribe([(topic_filter, options) for topic_filter in self._topic_filters])

    def _on_connect_fail(self, _client: Client, _userdata: Any) -> None:
        log.warning(
            "broker_unreachable", client_id=self.client_id, host=self._address.host, port=self._address.port
        )

    def _on_subscribe(
        self,
        _client: Client,
        _userdata: Any,
        _mid: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        refused = sum(reason.is_failure for reason in reasons)
        if refused:
            log.error("subscription_refused", client_id=self.client_id, refused=refused)
            self._cut()
            return
        self.health.connected = True
        log.info("link_up", client_id=self.client_id, generation=self._generation)

    def _on_disconnect(
        self,
        _client: Client,
        _userdata: Any,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._lose_connection()
        log.info("link_down", client_id=self.client_id, reason=str(reason))

    def _on_message(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        health = self.health
        health.frames += 1
        if message.dup:
            health.redeliveries += 1
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        frame = Frame(
            self,
            self._generation,
            message.mid,
            message.qos,
            message.dup,
            topic,
            bytes(message.payload),
            self._clock(),
        )
        if not self._deliver(frame):
            health.overflows += 1
            if message.qos:
                # Held back unacknowledged it would block the tap for ever; a new connection brings it again.
                self._cut()

    def _on_publish(
        self, _client: Client, _userdata: Any, mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self.health.taken += 1
        self._taken.arrived(mid, taken=reason.value == 0)

    def _lose_connection(self) -> None:
        # paho reports the loss first and empties its outgoing queue when it reconnects: no ack slips between.
        with self._ack_lock:
            self._connected = False
        self.health.connected = False

    def _cut(self) -> None:
        sock = self._client.socket()
        if isinstance(sock, socket.socket):
            try:
                # A TLS socket's own way forgets the keys and would read what still arrives as if it were plain.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                log.debug("link_already_cut", client_id=self.client_id)


@dataclass
class _Takings:
    """Pairs a publish with the broker's answer, whichever thread comes first."""

    _lock: Lock = field(default_factory=Lock)
    _waiting: dict[int, Callable[[bool], None] | None] = field(
        default_factory=dict[int, Callable[[bool], None] | None]
    )
    _early: dict[int, bool] = field(default_factory=dict[int, bool])

    def expect(self, mid: int, on_taken: Callable[[bool], None] | None) -> None:
        with self._lock:
            taken = self._early.pop(mid, None)
            if taken is None:
                self._waiting[mid] = on_taken
                return
        if on_taken is not None:
            on_taken(taken)

    def arrived(self, mid: int, *, taken: bool) -> None:
        with self._lock:
            if mid not in self._waiting:
                self._early[mid] = taken
                return
            on_taken = self._waiting.pop(mid)
        if on_taken is not None:
            on_taken(taken)


def _without_delay(_client: Client, _userdata: Any, sock: Any) -> None:
    # Nagle's algorithm together with delayed acknowledgements costs 40 ms a round trip.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
