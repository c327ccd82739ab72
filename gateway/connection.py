"""MQTT 5 packets over a wire: the codec, and how a connection is opened.

The codec cuts what arrives into packets without copying anything but payloads. A message it cannot read although its
length is plain comes out as `Unreadable`, so that it can be acknowledged: cutting the link over it would bring it
again for ever.
"""

import ssl
from dataclasses import dataclass
from time import monotonic
from typing import Self

import mqtt5
from mqtt5 import ConnAckPacket, ConnAckReasonCode, ConnectPacket

from gateway.broker_address import BrokerAddress
from gateway.errors import BrokerRefused, LinkLost
from gateway.wire import Waker, Wire

BUFFER_BYTES = 256 * 1024
_PUBLISH = 3
_EXACTLY_ONCE = 2


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A PUBLISH that is no valid one: its topic is not UTF-8, or its properties are none. It counts as without topic.

    `payload` is what follows the topic.
    """

    packet_id: int
    qos: int
    duplicate: bool
    payload: bytes
    topic: str = ""


Incoming = mqtt5.Packet | Unreadable


class Connection:
    """A connection the broker has accepted. One thread opens, reads and closes it; others may send through its wire.

    Methods raise OSError or LinkLost when it is over.
    """

    def __init__(self, wire: Wire, *, maximum_packet_bytes: int) -> None:
        self.wire = wire
        self.accepted = ConnAckPacket()
        self._view = memoryview(bytearray(max(BUFFER_BYTES, 2 * maximum_packet_bytes)))
        self._filled = 0
        self._early: list[Incoming] = []

    @classmethod
    def open(
        cls,
        address: BrokerAddress,
        *,
        hello: ConnectPacket,
        context: ssl.SSLContext | None,
        within_s: float,
        waker: Waker | None = None,
    ) -> Self:
        """Connect, agree on keys and be accepted within `within_s` real seconds; `accepted` is the broker's answer.

        Raises OSError, LinkLost, and BrokerRefused when the broker does not want us.
        """
        deadline_s = monotonic() + within_s
        wire = Wire.open(address, context=context, deadline_s=deadline_s, waker=waker)
        connection = cls(wire, maximum_packet_bytes=hello.max_packet_size or 0)
        try:
            wire.send(hello.write())
            connection._be_accepted(deadline_s)
        except BaseException:
            wire.close()
            raise
        return connection

    def read(self) -> list[Incoming]:
        """The packets that have arrived whole, in order."""
        if self._early:
            early, self._early = self._early, []
            return early
        view = self._view
        start, end = 0, self._filled
        end += self.wire.read_into(view[end:])
        packets: list[Incoming] = []
        read = mqtt5.read
        while start < end:
            try:
                packet, size = read(view[start:end])
            except IndexError:
                break
            except BaseException as error:
                # The codec's own language ends in panics, which are no Exception and are told on standard error.
                # A broker that checks strings, as Mosquitto does ([MQTT-1.5.4-1]), lets no device cause one.
                if not isinstance(error, ValueError) and type(error).__name__ != "PanicException":
                    raise
                packet, size = _read_broken(view[start:end])
            packets.append(packet)
            start += size
        self._keep(start, end)
        return packets

    def close(self) -> None:
        """Let go of the connection."""
        self.wire.close()

    def _keep(self, start: int, end: int) -> None:
        """Move the packet that is not whole yet to the front."""
        self._filled = end - start
        if self._filled == len(self._view):
            raise LinkLost("a packet larger than agreed on")
        if start:
            self._view[: self._filled] = self._view[start:end]

    def _be_accepted(self, deadline_s: float) -> None:
        while True:
            self.wire.wait_until(deadline_s)
            packets = self.read()
            if packets:
                break
        answer, *self._early = packets
        if not isinstance(answer, ConnAckPacket):
            raise LinkLost("an answer that is none to CONNECT")
        if answer.reason_code is not ConnAckReasonCode.SUCCESS:
            raise BrokerRefused(answer.reason_code.name.lower())
        self.accepted = answer


def _read_broken(view: memoryview) -> tuple[Unreadable, int]:
    """What can be known of a PUBLISH the codec refuses (MQTT 5, 3.3). Raises LinkLost for anything else."""
    kind, flags = view[0] >> 4, view[0] & 0x0F
    qos = (flags >> 1) & 3
    length, start = _read_length(view)
    end = start + length
    topic_end = start + 2 + int.from_bytes(view[start : start + 2], "big")
    rest_start = topic_end + (2 if qos else 0)
    if kind != _PUBLISH or qos > _EXACTLY_ONCE or rest_start > end:
        raise LinkLost("a packet that is none")
    packet_id = int.from_bytes(view[topic_end:rest_start], "big")
    return Unreadable(packet_id, qos, bool(flags & 8), bytes(view[rest_start:end])), end


def _read_length(view: memoryview) -> tuple[int, int]:
    """A packet's remaining length and where that begins."""
    length = 0
    for position, byte in enumerate(view[1:5]):
        length |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return length, position + 2
    raise LinkLost("a packet without a length")
