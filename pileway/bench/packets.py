"""MQTT packets out of a stream of bytes, for the benchmark's own clients."""

import mqtt5

RECEIVE_BYTES = 65_536


class Packets:
    """Takes what a connection receives, in any pieces, and gives whole packets."""

    def __init__(self) -> None:
        self._received = b""

    def add(self, received: bytes) -> None:
        """Take the next piece."""
        self._received += received

    def next(self) -> mqtt5.Packet | None:
        """The next packet; None until all of it has come."""
        try:
            packet, length = mqtt5.read(memoryview(self._received))
        except IndexError:
            return None
        self._received = self._received[length:]
        return packet
