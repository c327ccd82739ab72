"""One lane's connection to the broker: frames in through a callback, acknowledgements and commands out.

The broker keeps the lane's session under its client id, so what arrives while no gateway is there waits.
Frames are acknowledged by hand, after commit, and at most `receive_maximum` are open at once: a slow
database closes the tap at the broker and never fills memory here.

Packet ids belong to a connection. Every frame carries the generation of the connection that brought it, and
an acknowledgement for an older generation is dropped: its id may by now name another frame. The broker sends
an unacknowledged frame again on the next connection.

A thread of its own waits for the broker and hears it. What one read brings is delivered together, and what the other
threads have for the broker goes out together, or at once where nobody else is just speaking.
"""

import random
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from threading import Event, Thread
from time import monotonic
from typing import NamedTuple

import structlog
from mqtt5 import (
    ConnectPacket,
    DisconnectPacket,
    PingRespPacket,
    PubAckPacket,
    PubAckReasonCode,
    PublishPacket,
    PubRelPacket,
    QoS,
    RetainHandling,
    SubAckPacket,
    SubscribePacket,
    TopicFilter,
)

from gateway.acknowledgements import Acknowledgements
from gateway.arrivals import Arrivals
from gateway.broker_address import BrokerAddress, TlsFiles
from gateway.connection import Connection, Incoming, Unreadable
from gateway.errors import BrokerRefused, LinkLost
from gateway.keepalive import KeepAlive
from gateway.outgoing import SUBSCRIBE_PACKET_ID, Outgoing
from gateway.speech import Speech
from gateway.wire import Waker

FRAMES_PER_DELIVERY = 500
"""Between two of these the broker is told what there is to tell."""
LEAVE_TIMEOUT_S = 0.5
"""For the broker to hang up once it has heard that we leave."""
STOP_GRACE_S = 1.0
"""For the thread to take its leave; then the connection is cut."""
STOP_TIMEOUT_S = 3.0
_REFUSED = 0x80

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


Deliver = Callable[[Sequence[Frame]], Sequence[Frame]]


@dataclass(frozen=True, kw_only=True)
class LinkLimits:
    """Bounds of one connection."""

    receive_maximum: int = 1000
    """Frames the broker may have open with us: the most that waits here for a commit."""
    maximum_packet_bytes: int = 64 * 1024
    """Larger than any valid frame, so that an oversized one is seen, counted and kept."""
    inflight_messages: int = 20
    """Commands the broker has not taken yet, or fewer where it says so."""
    queued_messages: int = 10_000
    """Commands waiting for a place among those; more are refused to the caller."""
    session_expiry_s: int = 7 * 24 * 3600
    keepalive_s: int = 30
    """The broker drops a link that is silent for one and a half of this; it is asked for a sign of life in half."""
    ping_timeout_s: float = 15.0
    """A broker silent for so long after that question is gone."""
    connect_timeout_s: float = 5.0
    """For TCP, TLS and the broker's consent together."""
    reconnect_min_s: float = 1.0
    reconnect_max_s: float = 15.0


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


class Link:
    """The MQTT 5 client of one lane.

    `deliver` is called in the link's thread with the frames of one read and may hold it up for less than the
    keep-alive, which slows the broker down; it answers with those that found no room. `resumed` is called with the new
    generation when the broker kept the session, before any frame of it arrives.
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
        deliver: Deliver,
        resumed: "Callable[[Link, int], None]",
    ) -> None:
        """`tls` is not used for a broker on this machine that is spoken to without. Raises BrokerUrlInvalid."""
        self.client_id = client_id
        self.health = LinkHealth()
        self._address = BrokerAddress.parse(broker_url)
        self._tls = tls
        self._topic_filters = tuple(topic_filters)
        self._limits = limits
        self._clock = clock
        self._deliver = deliver
        self._resumed = resumed
        self._context: ssl.SSLContext | None = None
        self._thread: Thread | None = None
        self._waker: Waker | None = None
        self._stopping = Event()
        self._connection: Connection | None = None
        self._outgoing = Outgoing(inflight=limits.inflight_messages, queued=limits.queued_messages)
        self._acks = Acknowledgements()
        self._speech = Speech(acks=self._acks, outgoing=self._outgoing)
        self._arrivals = Arrivals()

    @property
    def connected(self) -> bool:
        """Whether frames and commands flow: connected, and the subscription granted."""
        return self.health.connected

    def start(self) -> None:
        """Begin connecting in a thread of its own, and reconnect with a bounded back-off until `stop`.

        Raises OSError or ssl.SSLError when the TLS files cannot be used.
        """
        if self._address.encrypted:
            self._context = self._tls.context()
        waker = self._waker = Waker()
        self._thread = Thread(target=self._run, args=(waker,), name=f"link-{self.client_id}", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Begin to disconnect, and do not wait for it: nothing is delivered or acknowledged any more."""
        self._lose_connection()
        self._stopping.set()
        if self._waker is not None:
            self._waker.stop()

    def stop(self) -> None:
        """Disconnect and end the thread; the broker keeps the session and what is not acknowledged."""
        self.leave()
        thread, connection = self._thread, self._connection
        if thread is None:
            return
        thread.join(STOP_GRACE_S)
        if thread.is_alive() and connection is not None:
            connection.wire.shut()
        thread.join(STOP_TIMEOUT_S)
        if thread.is_alive():
            log.warning("link_ends_late", client_id=self.client_id)

    def ack(self, frames: Sequence[Frame]) -> None:
        """Acknowledge committed frames in the order given; those of an older connection are dropped."""
        promised = sum(frame.qos > 0 for frame in frames)
        sent = self._acks.add(frames)
        self.health.acks += sent
        self.health.stale_acks += promised - sent
        self._wake()

    def publish(
        self, topic: str, payload: bytes, *, expiry_s: int, on_taken: Callable[[bool], None] | None = None
    ) -> bool:
        """Send at QoS 1 with a message expiry. False when there is no connection or no room.

        `on_taken` is called when the broker has taken the message, with False when it refused it, nobody is subscribed,
        or it could not be sent in time.
        """
        if not self._acks.open or not self._outgoing.put(
            topic, payload, expiry_s=expiry_s, on_taken=on_taken
        ):
            return False
        self.health.published += 1
        if not self._speech.publish_at_once():
            self._wake()
        return True

    def _run(self, waker: Waker) -> None:
        limits = self._limits
        pause_s = limits.reconnect_min_s
        while not self._stopping.is_set():
            held_s = self._live_once(waker)
            # Who is cut off again and again, by another under the same name, comes back ever later.
            if held_s > pause_s:
                pause_s = limits.reconnect_min_s
            self._stopping.wait(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause_s = min(2 * pause_s, limits.reconnect_max_s)
        waker.close()

    def _live_once(self, waker: Waker) -> float:
        """One connection from its attempt to its end; the seconds that it held."""
        began_s: float | None = None
        try:
            connection = self._connection = self._open(waker)
            began_s = monotonic()
            self._serve(connection)
        except BrokerRefused as refused:
            log.warning("broker_refused_link", client_id=self.client_id, reason=refused.reason)
        except (LinkLost, OSError) as error:
            self._note_loss(error, connected=began_s is not None)
        except BaseException:
            # A panic of the codec is no Exception either, and nothing may end this thread.
            log.exception("link_failed", client_id=self.client_id)
        finally:
            self._lose_connection()
            self._speech.end()
            if self._connection is not None:
                self._connection.close()
                self._connection = None
        return 0.0 if began_s is None else monotonic() - began_s

    def _open(self, waker: Waker) -> Connection:
        limits = self._limits
        hello = ConnectPacket(
            self.client_id,
            clean_start=False,
            keep_alive=limits.keepalive_s,
            session_expiry_interval=limits.session_expiry_s,
            receive_max=limits.receive_maximum,
            max_packet_size=limits.maximum_packet_bytes,
        )
        return Connection.open(
            self._address,
            hello=hello,
            context=self._context,
            within_s=limits.connect_timeout_s,
            waker=waker,
        )

    def _serve(self, connection: Connection) -> None:
        """Hear and speak until told to stop. Raises LinkLost or OSError when the connection ends before."""
        alive = KeepAlive(
            keepalive_s=connection.accepted.server_keep_alive or self._limits.keepalive_s,
            timeout_s=self._limits.ping_timeout_s,
            now_s=monotonic(),
        )
        self._begin(connection)
        while not self._stopping.is_set():
            if connection.wire.wait(alive.wait_s(monotonic())):
                self._hear(connection, alive)
            elif alive.silent(monotonic()):
                raise LinkLost("the broker is silent")
            self._speech.say(connection, alive, now_s=monotonic())
        self._take_leave(connection)

    def _take_leave(self, connection: Connection) -> None:
        """Say what is left to say, and let the broker hang up: who does it first may take his last words with him."""
        self._speech.take_leave(connection)
        deadline_s = monotonic() + LEAVE_TIMEOUT_S
        with suppress(LinkLost, OSError):
            while (left_s := deadline_s - monotonic()) > 0:
                if connection.wire.wait(left_s):
                    connection.read()

    def _begin(self, connection: Connection) -> None:
        self._acks.begin()
        self.health.connections += 1
        self._outgoing.connected(connection.accepted)
        if connection.accepted.session_present:
            self._resumed(self, self._acks.generation)
        filters = [
            TopicFilter(pattern, max_qos=QoS.AT_LEAST_ONCE, retain_handling=RetainHandling.SEND_NEVER)
            for pattern in self._topic_filters
        ]
        connection.wire.send(SubscribePacket(SUBSCRIBE_PACKET_ID, filters).write())
        self._speech.begin(connection)

    def _hear(self, connection: Connection, alive: KeepAlive) -> None:
        """Do what one read brought, in order; frames together."""
        packets = connection.read()
        alive.heard(monotonic())
        heard_at, stamp = self._clock(), self._arrivals.stamp
        generation = self._acks.generation
        frames: list[Frame] = []
        for packet in packets:
            if isinstance(packet, PublishPacket | Unreadable):
                frames.append(
                    Frame(
                        self,
                        generation,
                        packet.packet_id or 0,
                        # The codec's enumerations are no numbers, whatever its stubs say.
                        int(packet.qos),
                        packet.duplicate,
                        packet.topic,
                        packet.payload,
                        stamp(heard_at),
                    )
                )
            else:
                self._hand_over(frames, connection, alive)
                frames = []
                self._attend(packet, alive)
        self._hand_over(frames, connection, alive)

    def _hand_over(self, frames: list[Frame], connection: Connection, alive: KeepAlive) -> None:
        self._count(frames)
        for first in range(0, len(frames), FRAMES_PER_DELIVERY):
            if first:
                self._speech.say(connection, alive, now_s=monotonic())
            if self._stopping.is_set():
                return
            refused = self._deliver(frames[first : first + FRAMES_PER_DELIVERY])
            self.health.overflows += len(refused)
            if any(frame.qos for frame in refused):
                # Held back unacknowledged they would block the tap for ever; a new connection brings them again.
                raise LinkLost("no room for a frame")

    def _count(self, frames: list[Frame]) -> None:
        self.health.frames += len(frames)
        for frame in frames:
            self.health.redeliveries += frame.redelivered
            if frame.qos and not frame.mid:
                raise LinkLost("a message that cannot be acknowledged")

    def _attend(self, packet: Incoming, alive: KeepAlive) -> None:
        """Whatever the broker says that is no frame."""
        match packet:
            case PubAckPacket():
                taken = packet.reason_code is PubAckReasonCode.SUCCESS
                self.health.taken += self._outgoing.answered(packet.packet_id, taken=taken)
            case PingRespPacket():
                alive.answered()
            case SubAckPacket():
                self._subscribed(packet)
            case PubRelPacket():
                self._acks.complete(packet.packet_id)
            case DisconnectPacket():
                raise LinkLost(packet.reason_code.name.lower())
            case _:
                raise LinkLost("a packet out of place")

    def _subscribed(self, packet: SubAckPacket) -> None:
        refused = sum(int(code) >= _REFUSED for code in packet.reason_codes)
        if refused:
            log.error("subscription_refused", client_id=self.client_id, refused=refused)
            raise LinkLost("subscription refused")
        self.health.connected = self._acks.open
        log.info("link_up", client_id=self.client_id, generation=self._acks.generation)

    def _note_loss(self, error: Exception, *, connected: bool) -> None:
        if self._stopping.is_set():
            return
        why = str(error)
        if connected:
            log.info("link_down", client_id=self.client_id, reason=why)
            return
        host, port = self._address.host, self._address.port
        log.warning("broker_unreachable", client_id=self.client_id, host=host, port=port, reason=why)

    def _lose_connection(self) -> None:
        self._acks.end()
        self.health.connected = False

    def _wake(self) -> None:
        if self._waker is not None:
            self._waker.wake()
