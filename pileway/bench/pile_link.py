"""A pile's connection to the broker, as the benchmarks' own piles have it: MQTT 5 over mutual TLS, nothing more."""

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import Generic, Self, TypeVar
from urllib.parse import SplitResult

import mqtt5

from pileway.bench.packets import RECEIVE_BYTES, Packets

Mark = TypeVar("Mark")


@dataclass
class PileLink(Generic[Mark]):
    """One connection, and what its owner knows messages by that the broker has not taken, by packet id."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    open: dict[int, Mark] = field(default_factory=dict[int, Mark])
    _packet_id: int = 0
    _packets: Packets = field(default_factory=Packets)

    @classmethod
    async def connect(
        cls,
        pile_id: str,
        address: SplitResult,
        trust: ssl.SSLContext | None,
        *,
        keepalive_s: int,
        down: mqtt5.TopicFilter | None = None,
    ) -> Self:
        """Connect without a session, and subscribe to `down` in the same breath. Raises OSError."""
        reader, writer = await asyncio.open_connection(address.hostname, address.port, ssl=trust)
        link = cls(reader, writer)
        try:
            hello = mqtt5.ConnectPacket(pile_id, clean_start=True, keep_alive=keepalive_s).write()
            writer.write(hello + (link.subscription(down) if down is not None else b""))
            answer = await link.next_packet()
            if (
                not isinstance(answer, mqtt5.ConnAckPacket)
                or answer.reason_code != mqtt5.ConnAckReasonCode.SUCCESS
            ):
                raise ConnectionRefusedError("the broker does not want this pile")
        except BaseException:
            writer.transport.abort()
            raise
        return link

    async def next_packet(self) -> mqtt5.Packet:
        """Wait for the next packet. Raises OSError when the broker is gone."""
        while (packet := self._packets.next()) is None:
            received = await self.reader.read(RECEIVE_BYTES)
            if not received:
                raise ConnectionResetError("the broker is gone")
            self._packets.add(received)
        return packet

    def next_id(self) -> int:
        """A packet id after the last one."""
        self._packet_id = self._packet_id % 65_535 + 1
        return self._packet_id

    def subscription(self, down: mqtt5.TopicFilter) -> bytes:
        """The packet that subscribes to it."""
        return mqtt5.SubscribePacket(self.next_id(), [down]).write()
