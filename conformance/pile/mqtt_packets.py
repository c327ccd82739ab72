"""As much of MQTT as it takes to see what a pile says to its broker: CONNECT, SUBSCRIBE and PUBLISH. Pure.

Sources: OASIS MQTT Version 5.0 and Version 3.1.1, chapters 2 and 3.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

MAX_PACKET_BYTES: Final = 1 << 17

CONNECT: Final = 1
PUBLISH: Final = 3
SUBSCRIBE: Final = 8

_SESSION_EXPIRY: Final = 0x11
_RECEIVE_MAXIMUM: Final = 0x21
_PACKET_SIZE: Final = 0x27
# Sizes of the properties that may come in the packets read here: fixed, or 0 for a string with its length.
_FIXED: Final = {0x01: 1, 0x02: 4, 0x11: 4, 0x17: 1, 0x18: 4, 0x19: 1, 0x21: 2, 0x22: 2, 0x23: 2, 0x27: 4}
_STRINGS: Final = {0x03, 0x08, 0x09, 0x15, 0x16}
_VARIABLE: Final = 0x0B
_USER_PROPERTY: Final = 0x26


class NotMqtt(Exception):
    """Bytes that are no MQTT packet."""


@dataclass(frozen=True)
class Packet:
    """One control packet: its kind (1..14), its flags, its body, and the bytes as they came."""

    kind: int
    flags: int
    body: bytes
    raw: bytes


@dataclass(frozen=True)
class Connect:
    """What a client asks for when it connects; ``version`` is 5, or 4 for MQTT 3.1.1."""

    version: int
    client_id: str
    clean_start: bool
    keep_alive_s: int
    session_expiry_s: int
    receive_maximum: int
    packet_size: int | None
    will_topic: str | None
    will_payload: bytes
    will_qos: int
    will_retain: bool


@dataclass(frozen=True)
class Publish:
    """A message on its way to the broker."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    again: bool
    """The flag DUP: the client's own retransmission."""


@dataclass(frozen=True)
class Subscribe:
    """Filters and the QoS asked for each."""

    filters: tuple[tuple[str, int], ...]


async def read(reader: asyncio.StreamReader) -> Packet:
    """The next packet. Raises NotMqtt or IncompleteReadError."""
    head = await reader.readexactly(1)
    length, shift = 0, 0
    while True:
        digit = await reader.readexactly(1)
        head += digit
        length |= (digit[0] & 0x7F) << shift
        shift += 7
        if not digit[0] & 0x80:
            break
        if shift > 21:
            raise NotMqtt("a length of more than four bytes")
    if length > MAX_PACKET_BYTES:
        raise NotMqtt(f"a packet of {length} bytes")
    body = await reader.readexactly(length)
    return Packet(head[0] >> 4, head[0] & 0x0F, body, head + body)


def connect(packet: Packet) -> Connect:
    """Read a CONNECT. Raises NotMqtt."""
    body = _Bytes(packet.body)
    body.octets()
    version, flags, keep_alive_s = body.number(1), body.number(1), body.number(2)
    properties = body.properties() if version == 5 else {}
    client_id = body.text()
    will_topic, will_payload = None, b""
    if flags & 0x04:
        if version == 5:
            body.properties()
        will_topic, will_payload = body.text(), body.octets()
    return Connect(
        version=version,
        client_id=client_id,
        clean_start=bool(flags & 0x02),
        keep_alive_s=keep_alive_s,
        session_expiry_s=properties.get(_SESSION_EXPIRY, 0),
        receive_maximum=properties.get(_RECEIVE_MAXIMUM, 65_535),
        packet_size=properties.get(_PACKET_SIZE),
        will_topic=will_topic,
        will_payload=will_payload,
        will_qos=flags >> 3 & 0x03,
        will_retain=bool(flags & 0x20),
    )


def publish(packet: Packet, *, version: int) -> Publish:
    """Read a PUBLISH. Raises NotMqtt."""
    body, qos = _Bytes(packet.body), packet.flags >> 1 & 0x03
    topic = body.text()
    if qos:
        body.number(2)
    if version == 5:
        body.properties()
    return Publish(topic, body.rest(), qos, bool(packet.flags & 0x01), bool(packet.flags & 0x08))


def subscribe(packet: Packet, *, version: int) -> Subscribe:
    """Read a SUBSCRIBE. Raises NotMqtt."""
    body = _Bytes(packet.body)
    body.number(2)
    if version == 5:
        body.properties()
    filters: list[tuple[str, int]] = []
    while body.left:
        filters.append((body.text(), body.number(1) & 0x03))
    return Subscribe(tuple(filters))


class _Bytes:
    """Reads MQTT's data types off a packet's body, from the left."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._octets) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise NotMqtt("a packet that ends too early")
        self._at += count
        return self._octets[self._at - count : self._at]

    def rest(self) -> bytes:
        return self.take(self.left)

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def variable(self) -> int:
        value, shift = 0, 0
        while True:
            digit = self.number(1)
            value |= (digit & 0x7F) << shift
            if not digit & 0x80:
                return value
            shift += 7
            if shift > 21:
                raise NotMqtt("a number of more than four bytes")

    def octets(self) -> bytes:
        return self.take(self.number(2))

    def text(self) -> str:
        try:
            return self.octets().decode()
        except UnicodeDecodeError:
            raise NotMqtt("a text that is not UTF-8") from None

    def properties(self) -> dict[int, int]:
        """The properties that are numbers; the others are passed over."""
        inner = _Bytes(self.take(self.variable()))
        found: dict[int, int] = {}
        while inner.left:
            name = inner.number(1)
            if name in _FIXED:
                found[name] = inner.number(_FIXED[name])
            elif name in _STRINGS:
                inner.octets()
            elif name == _VARIABLE:
                found[name] = inner.variable()
            elif name == _USER_PROPERTY:
                inner.octets()
                inner.octets()
            else:
                raise NotMqtt(f"property {name:#x} has no place here")
        return found
