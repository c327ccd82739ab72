"""Which acknowledgements may go out: those of the connection that brought their frames, and of no other.

Packet ids belong to a connection. One that is late may by now name another frame, which would be lost with it.
"""

from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING

from mqtt5 import PubAckPacket, PubCompPacket, PubRecPacket

if TYPE_CHECKING:
    from gateway.link import Frame


class Acknowledgements:
    """What waits to be sent, in the order given. `add` may be called from any thread, the rest from the link's."""

    def __init__(self) -> None:
        self.generation = 0
        """Of the connection there is, or was last."""
        self.open = False
        """Whether there is a connection."""
        self._lock = Lock()
        self._packets = bytearray()

    def begin(self) -> None:
        """A connection begins, with nothing to acknowledge."""
        with self._lock:
            self.generation += 1
            self.open = True
            self._packets.clear()

    def end(self) -> None:
        """The connection is lost or about to be left: what was added before may still go out over it."""
        with self._lock:
            self.open = False

    def add(self, frames: "Sequence[Frame]") -> int:
        """Acknowledge frames; how many of them may be."""
        with self._lock:
            generation = self.generation if self.open else None
            packets = [_packet(frame) for frame in frames if frame.qos and frame.generation == generation]
            self._packets += b"".join(packets)
        return len(packets)

    def complete(self, packet_id: int) -> None:
        """Answer the broker's word that it has heard us about a message of QoS 2."""
        with self._lock:
            self._packets += PubCompPacket(packet_id).write()

    def take(self) -> bytes:
        """What is to go out now."""
        with self._lock:
            packets = bytes(self._packets)
            self._packets.clear()
        return packets


def _packet(frame: "Frame") -> bytes:
    # We ask for QoS 1; an older subscription under our name may have left messages of QoS 2.
    return (PubAckPacket if frame.qos == 1 else PubRecPacket)(frame.mid).write()
