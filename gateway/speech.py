"""What a link says to the broker, by its own thread or by the one that brings it: one at a time, in the order it waits.

A command need not wait until the link's thread is awake, nor until that has delivered what it heard.
"""

from threading import Lock

from mqtt5 import DisconnectPacket, PingReqPacket

from gateway.acknowledgements import Acknowledgements
from gateway.connection import Connection
from gateway.errors import LinkLost
from gateway.keepalive import KeepAlive
from gateway.outgoing import Outgoing


class Speech:
    """The link's thread begins, ends and speaks; any other may ask to `publish_at_once`."""

    def __init__(self, *, acks: Acknowledgements, outgoing: Outgoing) -> None:
        self._acks = acks
        self._outgoing = outgoing
        self._connection: Connection | None = None
        self._lock = Lock()

    def begin(self, connection: Connection) -> None:
        """Others may speak over this connection, too, until `end`."""
        with self._lock:
            self._connection = connection

    def end(self) -> None:
        """Nobody but the link's thread speaks any more; who is speaking has finished."""
        with self._lock:
            self._connection = None

    def say(self, connection: Connection, alive: KeepAlive, *, now_s: float) -> None:
        """Send what the other threads left here, and a question when it is time. Raises LinkLost or OSError."""
        with self._lock:
            said = self._acks.take() + self._outgoing.next_packets()
            if alive.must_ask(now_s):
                said += PingReqPacket().write()
            if said:
                connection.wire.send(said)
                alive.sent(now_s)

    def publish_at_once(self) -> bool:
        """Send what waits to be published in the caller's thread; False when the link's has to do it."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._connection is None:
                return False
            said = self._outgoing.next_packets()
            if said:
                self._connection.wire.send(said)
        except (LinkLost, OSError):
            # What is open goes out again on the next connection.
            return False
        else:
            return True
        finally:
            self._lock.release()

    def take_leave(self, connection: Connection) -> None:
        """Say what is left to say, and that nothing more will come. Raises LinkLost or OSError."""
        with self._lock:
            self._connection = None
            connection.wire.send(
                self._acks.take() + self._outgoing.next_packets() + DisconnectPacket().write()
            )
