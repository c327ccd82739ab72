"""A publisher as lean as Python allows: packets are written beforehand, acknowledgements only counted.

What a benchmark measures should not be its load, and the load shares the processors with it.
"""

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from urllib.parse import urlsplit

import mqtt5

from pileway import logs
from pileway.bench.clients import Access
from pileway.bench.meter_fleet import Fleet
from pileway.bench.packets import RECEIVE_BYTES, Packets
from pileway.errors import PartFailed

CLIENT_ID = "bench-load"
SEALED = "sealed"
GO = "go"
WINDOW = 1000
"""Frames on their way at once."""
TIMEOUT_S = 30.0
CHUNK = 64
LAST_PACKET_ID = 65_535


@dataclass(frozen=True)
class Publish:
    """Publish the frames of these numbers: at once, or `per_s` of them a second once told to go."""

    access: Access
    numbers: range
    per_s: float | None = None


@dataclass(frozen=True)
class Published:
    """How long it took, and when each frame was due to leave, by the last eight bytes of its payload: monotonic ns.

    A frame that had to wait for the broker was due before it left: what it waited is part of its way.
    """

    seconds: float
    due_ns: dict[bytes, int] = field(default_factory=dict[bytes, int])


def serve(fleet: Fleet, log_path: Path, pipe: Pipe) -> None:
    """Publish what is asked for until the pipe closes.

    Says its process id first; then every `Publish` is answered with `Published`. A paced one is answered with SEALED
    before, when every packet is written and the broker connected, and begins at GO.
    """
    logs.set_up("bench-load", to=log_path)
    pipe.send(os.getpid())
    try:
        while True:
            pipe.send(_publish(fleet, pipe.recv(), pipe))
    except EOFError:
        return


def _publish(fleet: Fleet, wanted: Publish, pipe: Pipe) -> Published:
    packets: list[bytes] = []
    marks: list[bytes] = []
    for place, frame in enumerate(fleet.sealed(wanted.numbers)):
        packet_id = place % LAST_PACKET_ID + 1
        packet = mqtt5.PublishPacket(
            frame.topic, frame.payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id
        )
        packets.append(packet.write())
        marks.append(frame.payload[-8:])
    with _Connection(wanted.access) as connection:
        if wanted.per_s is None:
            begun_ns = time.monotonic_ns()
            connection.send_all(packets)
            return Published((time.monotonic_ns() - begun_ns) / 1e9)
        pipe.send(SEALED)
        pipe.recv()
        begun_ns = time.monotonic_ns()
        due_ns = connection.send_paced(packets, gap_ns=int(1e9 / wanted.per_s))
        seconds = (time.monotonic_ns() - begun_ns) / 1e9
    return Published(seconds, dict(zip(marks, due_ns, strict=True)))


class _Connection:
    """One MQTT 5 connection that only publishes at QoS 1."""

    def __init__(self, access: Access) -> None:
        address = urlsplit(access.broker_url)
        plain = socket.create_connection((address.hostname or "", address.port or 0), timeout=TIMEOUT_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = (
            plain
            if address.scheme == "mqtt"
            else access.trust().wrap_socket(plain, server_hostname=address.hostname or "")
        )
        self._packets = Packets()
        self._open = 0
        self._socket.sendall(mqtt5.ConnectPacket(CLIENT_ID, clean_start=True, keep_alive=0).write())
        answer = self._next_packet()
        if (
            not isinstance(answer, mqtt5.ConnAckPacket)
            or answer.reason_code != mqtt5.ConnAckReasonCode.SUCCESS
        ):
            raise PartFailed("the broker refused the benchmark's load")
        self._window = min(WINDOW, answer.receive_max)

    def __enter__(self) -> "_Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send_all(self, packets: Sequence[bytes]) -> None:
        """As fast as the broker takes them, until all are acknowledged."""
        for first in range(0, len(packets), CHUNK):
            chunk = packets[first : first + CHUNK]
            self._wait_until_open(self._window - len(chunk))
            self._socket.sendall(b"".join(chunk))
            self._open += len(chunk)
        self._wait_until_open(0)

    def send_paced(self, packets: Sequence[bytes], *, gap_ns: int) -> list[int]:
        """Each at its time, whatever became of those before; gives these times. Waits for the last answer."""
        sent = 0
        begun_ns = time.monotonic_ns()
        while sent < len(packets):
            now_ns = time.monotonic_ns()
            due = min(len(packets), (now_ns - begun_ns) // gap_ns + 1)
            if due == sent:
                time.sleep(max(0.0, (begun_ns + due * gap_ns - now_ns) / 1e9))
                continue
            # After a wait many are due at once, and the broker takes only so many on their way.
            chunk = packets[sent : min(due, sent + self._window)]
            self._wait_until_open(self._window - len(chunk))
            self._socket.sendall(b"".join(chunk))
            self._open += len(chunk)
            sent += len(chunk)
        self._wait_until_open(0)
        return [begun_ns + place * gap_ns for place in range(len(packets))]

    def _wait_until_open(self, most: int) -> None:
        while self._open > most:
            packet = self._next_packet()
            if isinstance(packet, mqtt5.PubAckPacket):
                self._open -= 1

    def _next_packet(self) -> mqtt5.Packet:
        while (packet := self._packets.next()) is None:
            received = self._socket.recv(RECEIVE_BYTES)
            if not received:
                raise PartFailed("the broker closed the benchmark's connection")
            self._packets.add(received)
        return packet
