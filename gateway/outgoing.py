"""Publishes on their way to the broker: a bounded queue, a window as wide as the broker allows, answers by packet id.

A message is in the window from its sending until the broker's PUBACK. What is in it when the connection is lost goes
out again first on the next one, under its packet id and marked as a repetition where the broker kept the session
(MQTT 5, 4.4). A message that expired meanwhile is given up.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from time import monotonic

import structlog
from mqtt5 import ConnAckPacket, PublishPacket, QoS

LAST_PACKET_ID = 65_534
SUBSCRIBE_PACKET_ID = 65_535
"""Never a publish's, so that the two cannot be taken for each other."""

OnTaken = Callable[[bool], None]

log = structlog.get_logger()


@dataclass(slots=True)
class _Message:
    topic: str
    payload: bytes
    expires_s: float
    on_taken: OnTaken | None
    packet_id: int = 0

    def packet(self, *, now_s: float, duplicate: bool) -> bytes:
        left_s = max(1, round(self.expires_s - now_s))
        return PublishPacket(
            self.topic,
            self.payload,
            qos=QoS.AT_LEAST_ONCE,
            packet_id=self.packet_id,
            duplicate=duplicate,
            message_expiry_interval=left_s,
        ).write()


class Outgoing:
    """`put` and `next_packets` may be called from any thread, the rest from the link's.

    `on_taken` is never called under the lock.
    """

    def __init__(self, *, inflight: int, queued: int, seconds: Callable[[], float] = monotonic) -> None:
        """At most `inflight` messages wait for the broker's answer, and `queued` for a place among those."""
        self._inflight = inflight
        self._queued = queued
        self._seconds = seconds
        self._window = 0
        self._largest_bytes: int | None = None
        self._repeats = False
        self._lock = Lock()
        self._again: deque[_Message] = deque()
        self._waiting: deque[_Message] = deque()
        self._open: dict[int, _Message] = {}
        self._used_ids: set[int] = set()
        self._last_id = 0

    def put(self, topic: str, payload: bytes, *, expiry_s: int, on_taken: OnTaken | None) -> bool:
        """Queue a message that expires in `expiry_s` real seconds; False when there is no room."""
        message = _Message(topic, payload, self._seconds() + max(1, expiry_s), on_taken)
        with self._lock:
            if len(self._waiting) >= self._queued:
                return False
            self._waiting.append(message)
        return True

    def connected(self, accepted: ConnAckPacket) -> None:
        """A connection begins: what was open goes first, and the broker's limits hold."""
        with self._lock:
            self._again.extendleft(reversed(self._open.values()))
            self._open.clear()
            self._window = min(self._inflight, accepted.receive_max)
            self._largest_bytes = accepted.max_packet_size
            self._repeats = accepted.session_present

    def next_packets(self) -> bytes:
        """What may be sent now."""
        packets: list[bytes] = []
        given_up: list[_Message] = []
        now_s = self._seconds()
        with self._lock:
            while (queue := self._again or self._waiting) and len(self._open) < self._window:
                message = queue.popleft()
                packet = self._packet(message, now_s)
                if packet is None:
                    self._used_ids.discard(message.packet_id)
                    given_up.append(message)
                else:
                    self._open[message.packet_id] = message
                    packets.append(packet)
        for message in given_up:
            _tell(message, taken=False)
        return b"".join(packets)

    def answered(self, packet_id: int, *, taken: bool) -> bool:
        """The broker took a message or refused it; False when none is open under this id."""
        with self._lock:
            message = self._open.pop(packet_id, None)
            self._used_ids.discard(packet_id)
        if message is not None:
            _tell(message, taken=taken)
        return message is not None

    def _packet(self, message: _Message, now_s: float) -> bytes | None:
        """The message as it goes out; None when it may not any more."""
        if message.expires_s <= now_s:
            return None
        duplicate = self._repeats and message.packet_id > 0
        message.packet_id = message.packet_id or self._free_id()
        try:
            packet = message.packet(now_s=now_s, duplicate=duplicate)
        except BaseException:
            # A panic of the codec is no Exception, and may end neither the thread that speaks nor the connection.
            log.exception("message_unwritable", topic=message.topic, bytes=len(message.payload))
            return None
        too_large = self._largest_bytes is not None and len(packet) > self._largest_bytes
        return None if too_large else packet

    def _free_id(self) -> int:
        """One of 65,534, of which no more than the window are used."""
        while True:
            self._last_id = self._last_id % LAST_PACKET_ID + 1
            if self._last_id not in self._used_ids:
                self._used_ids.add(self._last_id)
                return self._last_id


def _tell(message: _Message, *, taken: bool) -> None:
    if message.on_taken is not None:
        message.on_taken(taken)
