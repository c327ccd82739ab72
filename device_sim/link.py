"""The pile's MQTT connection: mutual TLS, MQTT 5, a persistent session, a last will, reconnection with jitter."""

import asyncio
import contextlib
import random
import socket
import ssl
from collections.abc import Sequence
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import aiomqtt
import structlog
from paho.mqtt.client import Client
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from device_sim import tasks
from device_sim.enrolment import Identity
from protocol import topics
from protocol.envelope import MAX_FRAME_BYTES
from protocol.fields import Message
from protocol.frames import Frame
from protocol.topics import Direction

KEEPALIVE_S: Final = 60
SESSION_EXPIRY_S: Final = 24 * 3600
RECEIVE_MAXIMUM: Final = 20
PUBLISH_TIMEOUT_S: Final = 15.0
FIRST_RETRY_S: Final = 0.5
LONGEST_RETRY_S: Final = 60.0
RECEIVED_QUEUE_MAX: Final = 1_000
NOT_TAKEN: Final = 0x10
"""The least reason code of an acknowledgement that says that the message reached nobody, or was refused."""
NOT_TAKEN_PAUSE_S: Final = 5.0

log = structlog.get_logger()


class Device(Protocol):
    """What the link serves: the pile's mouth and ears."""

    def connecting(self) -> Frame:
        """A new connection begins; gives its last will."""
        ...

    def connected(self) -> None:
        """The broker has accepted the connection and the subscription."""
        ...

    def disconnected(self) -> None:
        """The connection is gone."""
        ...

    def received(self, topic: str, payload: bytes) -> None:
        """A frame has arrived."""
        ...

    async def next_message(self) -> Message:
        """Wait for the next thing to say."""
        ...

    def sealed(self, message: Message) -> Frame:
        """The message in an envelope with a fresh counter."""
        ...

    def said(self, message: Message) -> None:
        """The broker has acknowledged this message."""
        ...

    def unsent(self, message: Message) -> None:
        """The broker did not acknowledge this message."""
        ...

    def pause_after(self, message: Message) -> float:
        """Real seconds to wait before saying the next thing."""
        ...

    @property
    def reconnect_jitter_s(self) -> float:
        """Widest random wait before the first attempt to reconnect."""
        ...


class Link:
    """Keeps a device connected until cancelled."""

    def __init__(self, identity: Identity, device: Device) -> None:
        self._identity = identity
        self._device = device
        self._tls = _trust(identity)
        self._connection: _Connection | None = None
        self._barred_until_s = 0.0

    async def run(self) -> None:
        """Connect, serve, reconnect, for ever."""
        retry_s = FIRST_RETRY_S
        wait_s = 0.0
        while True:
            await self._pause(wait_s)
            try:
                await self._serve()
            except (aiomqtt.MqttError, OSError) as error:
                log.info("pile_link_lost", pile_id=self._identity.pile_id, error=str(error))
            served, self._connection = self._connection is not None, None
            if served:
                self._device.disconnected()
                retry_s = FIRST_RETRY_S
                wait_s = random.uniform(0.0, self._device.reconnect_jitter_s)  # noqa: S311 - jitter
            else:
                wait_s = retry_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
                retry_s = min(LONGEST_RETRY_S, retry_s * 2)

    def renew(self, identity: Identity) -> None:
        """Connect anew with another certificate."""
        self._identity = identity
        self._tls = _trust(identity)
        if self._connection is not None:
            self._connection.cut()

    def drop(self, for_s: float) -> None:
        """Lose the network for so many real seconds; the broker hears nothing but the silence of the socket."""
        self._barred_until_s = asyncio.get_running_loop().time() + for_s
        if self._connection is not None:
            self._connection.cut()

    def shout(self, messages: Sequence[Message]) -> None:
        """Say all this at once and heed nobody (QoS 0), which no decent pile does; nothing without a connection."""
        if self._connection is not None:
            for message in messages:
                self._connection.blurt(self._device.sealed(message))

    async def _pause(self, wait_s: float) -> None:
        loop = asyncio.get_running_loop()
        until_s = max(loop.time() + wait_s, self._barred_until_s)
        while loop.time() < until_s:
            await asyncio.sleep(until_s - loop.time())
            until_s = max(until_s, self._barred_until_s)

    async def _serve(self) -> None:
        pile_id = self._identity.pile_id
        tls = self._tls
        connection = _Connection(self._identity, tls, self._device.connecting())
        async with connection as client:
            shard = topics.shard_of(pile_id)
            await client.subscribe(topics.subscription(Direction.DOWN, shard=shard, pile_id=pile_id), qos=1)
            self._connection = connection
            self._device.connected()
            log.debug("pile_link_up", pile_id=pile_id)
            if tls is not self._tls:
                # The certificate was renewed in the meantime.
                connection.cut()
            await tasks.first_ends(self._listen(client), self._talk(client, connection))

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            self._device.received(str(message.topic), message.payload)

    async def _talk(self, client: aiomqtt.Client, connection: "_Connection") -> None:
        while True:
            message = await self._device.next_message()
            frame = self._device.sealed(message)
            try:
                await client.publish(frame.topic, frame.payload, qos=1, timeout=PUBLISH_TIMEOUT_S)
            except BaseException:
                self._device.unsent(message)
                raise
            if connection.untaken:
                self._device.unsent(message)
                await asyncio.sleep(NOT_TAKEN_PAUSE_S)
                continue
            self._device.said(message)
            await asyncio.sleep(self._device.pause_after(message))


def _trust(identity: Identity) -> ssl.SSLContext:
    """The pile's own certificate, and the one authority it believes."""
    tls = ssl.create_default_context(cafile=identity.broker_ca)
    tls.sslsocket_class = _TidySocket
    tls.load_cert_chain(identity.certificate, identity.private_key)
    return tls


class _TidySocket(ssl.SSLSocket):
    """Closes itself when the handshake fails, which the MQTT client leaves to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands, or close and raise."""
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


class _Connection(aiomqtt.Client):
    """One connection, with its will."""

    def __init__(self, identity: Identity, tls: ssl.SSLContext, will: Frame) -> None:
        broker = urlsplit(identity.broker_url)
        assert broker.hostname is not None, "enrolment gave a broker URL"
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        properties.MaximumPacketSize = MAX_FRAME_BYTES + 1024
        super().__init__(
            broker.hostname,
            broker.port or 8883,
            identifier=identity.pile_id,
            protocol=aiomqtt.ProtocolVersion.V5,
            will=aiomqtt.Will(will.topic, will.payload, qos=1),
            clean_start=False,
            keepalive=KEEPALIVE_S,
            properties=properties,
            tls_context=tls,
            socket_options=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
            max_queued_incoming_messages=RECEIVED_QUEUE_MAX,
        )

        self.untaken = False
        """Whether the last message acknowledged reached nobody, or was refused."""
        heed: Any = self._client.on_publish

        def note(client: Client, userdata: Any, mid: int, reason: ReasonCode, properties: Properties) -> None:
            self.untaken = reason.value >= NOT_TAKEN
            heed(client, userdata, mid, reason, properties)

        self._client.on_publish = note

    def blurt(self, frame: Frame) -> None:
        """Send a frame that nobody acknowledges."""
        self._client.publish(frame.topic, frame.payload, qos=0)

    def cut(self) -> None:
        """Break the TCP connection without a word, as a lost network does."""
        broken = self._client.socket()
        if isinstance(broken, socket.socket):
            # A TLS socket's own way forgets the keys and would read what still arrives as if it were plain.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(broken, socket.SHUT_RDWR)
