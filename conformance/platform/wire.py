"""One MQTT 5 connection over TLS, as a pile has it, or as somebody has it who should not.

The client library's thread hands everything to the event loop; every wait has a limit.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from conformance.case import Failed

ANSWER_LIMIT_S: Final = 20.0
KEEP_ALIVE_S: Final = 60
SESSION_EXPIRY_S: Final = 86_400
RECEIVE_MAXIMUM: Final = 20
MAXIMUM_PACKET_BYTES: Final = 17_408
_REFUSED: Final = 0x80


class NotLetIn(Exception):
    """The broker did not take the connection."""


class Arrived(NamedTuple):
    """One message from the broker."""

    topic: str
    payload: bytes
    retained: bool
    again: bool


@dataclass(frozen=True)
class Door:
    """Where the broker is, and whom a client trusts and says to be."""

    host: str
    port: int
    trust: ssl.SSLContext
    client_id: str


def trust_of(broker_ca_pem: str, *, certificate_path: str | None, key_path: str | None) -> ssl.SSLContext:
    """A context that trusts this authority alone; without a certificate the client shows none."""
    context = ssl.create_default_context(cadata=broker_ca_pem)
    if certificate_path is not None:
        context.load_cert_chain(certificate_path, key_path)
    return context


class Wire:
    """A connection; `arrived` is called in the event loop for each message."""

    def __init__(self, door: Door, arrived: Callable[[Arrived], None]) -> None:
        self.lost = asyncio.Event()
        self._door = door
        self._arrived = arrived
        self._loop = asyncio.get_running_loop()
        self._let_in: asyncio.Future[None] = self._loop.create_future()
        self._waiting: dict[tuple[str, int], asyncio.Future[bool]] = {}
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=door.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        self._client.tls_set_context(door.trust)  # pyright: ignore[reportUnknownMemberType]  # paho's gap
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe

    async def open(self, *, will: tuple[str, bytes] | None = None) -> None:
        """Connect. Raises NotLetIn."""
        if will is not None:
            self._client.will_set(will[0], will[1], qos=1)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        properties.MaximumPacketSize = MAXIMUM_PACKET_BYTES
        try:
            await asyncio.to_thread(
                self._client.connect,
                self._door.host,
                self._door.port,
                KEEP_ALIVE_S,
                clean_start=False,
                properties=properties,
            )
        except OSError as error:
            raise NotLetIn(str(error)) from error
        self._client.loop_start()
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                await self._let_in
        except TimeoutError:
            await self.close()
            raise NotLetIn("the broker did not answer CONNECT") from None

    async def subscribe(self, topic_filter: str) -> bool:
        """Subscribe at QoS 1; whether the broker granted it."""
        code, number = self._client.subscribe(topic_filter, qos=1)
        return code == MQTTErrorCode.MQTT_ERR_SUCCESS and await self._answered("subscribe", number or 0)

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Publish at QoS 1; whether the broker took it. False, too, when it ends the connection instead."""
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return False
        return await self._answered("publish", info.mid)

    def vanish(self) -> None:
        """Lose the link without a word, so that the broker publishes the will."""
        link = self._client.socket()
        if isinstance(link, socket.socket):
            link.shutdown(socket.SHUT_RDWR)

    async def wait_lost(self, within_s: float = ANSWER_LIMIT_S) -> bool:
        """Whether the broker ends the connection within so long."""
        try:
            async with asyncio.timeout(within_s):
                await self.lost.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Leave in good order; no will is published."""
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    async def _answered(self, what: str, number: int) -> bool:
        answer = self._waiting.setdefault((what, number), self._loop.create_future())
        lost = asyncio.ensure_future(self.lost.wait())
        done, _ = await asyncio.wait(
            {answer, lost}, timeout=ANSWER_LIMIT_S, return_when=asyncio.FIRST_COMPLETED
        )
        lost.cancel()
        self._waiting.pop((what, number), None)
        if not done:
            raise Failed(f"the broker did not acknowledge a {what} within {ANSWER_LIMIT_S:.0f} s")
        return answer.done() and answer.result()

    def _tell(self, what: str, number: int, granted: bool) -> None:
        answer = self._waiting.setdefault((what, number), self._loop.create_future())
        if not answer.done():
            answer.set_result(granted)

    def _on_connect(self, _client: Client, _data: object, _flags: object, code: ReasonCode, *_: Any) -> None:
        self._call(self._settle_connect, None if code.value < _REFUSED else str(code))

    def _settle_connect(self, refusal: str | None) -> None:
        if self._let_in.done():
            return
        if refusal is None:
            self._let_in.set_result(None)
        else:
            self._let_in.set_exception(NotLetIn(refusal))

    def _on_disconnect(
        self, _client: Client, _data: object, _flags: object, code: ReasonCode, *_: Any
    ) -> None:
        self._call(self._settle_connect, f"the connection ended: {code}")
        self._call(self.lost.set)

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        arrived = Arrived(message.topic, bytes(message.payload), message.retain, message.dup)
        self._call(self._arrived, arrived)

    def _on_publish(self, _client: Client, _data: object, mid: int, code: ReasonCode, *_: Any) -> None:
        self._call(self._tell, "publish", mid, code.value < _REFUSED)

    def _on_subscribe(
        self, _client: Client, _data: object, mid: int, codes: list[ReasonCode], *_: Any
    ) -> None:
        self._call(self._tell, "subscribe", mid, all(code.value < _REFUSED for code in codes))

    def _call(self, told: Callable[..., object], *arguments: object) -> None:
        """Hand something from the library's thread to the event loop, while there is one."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(told, *arguments)
