"""What the tests of a link stand on: a broker without encryption, an owner of the link, and other clients."""

import os
import signal
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import mqtt5
from mqtt5 import ConnectPacket, PublishPacket, QoS

from gateway.broker_address import BrokerAddress
from gateway.connection import Connection
from gateway.link import Frame, Link
from pileway import home
from pileway.embedded_broker import EmbeddedBroker
from tests.waiting import wait_until

TOPIC = "v1/7/YQ-01/up/meter"
PLAIN_LISTENERS = """
listener {open_port} 127.0.0.1
allow_anonymous true

listener {shut_port} 127.0.0.1
allow_anonymous false
"""


class PlainBroker:
    """A Mosquitto with two more listeners, neither encrypted: one that lets everybody in and one nobody."""

    def __init__(self, root: Path) -> None:
        self.open_port, self.shut_port = home.free_port(), home.free_port()
        self.server = EmbeddedBroker(
            folder=root / "broker",
            secrets=root / "secrets",
            log_path=root / "log" / "broker.log",
            addition=PLAIN_LISTENERS.format(open_port=self.open_port, shut_port=self.shut_port),
        )

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.open_port}"

    def save(self) -> None:
        """Have all sessions and messages written down now."""
        saved = self.server.folder / "data" / "mosquitto.db"
        saved.unlink(missing_ok=True)
        self.signal(signal.SIGUSR1)
        wait_until(saved.exists)

    def signal(self, number: int) -> None:
        pid = self.server.pid
        assert pid is not None
        os.kill(pid, number)


class Listener:
    """What a link tells its owner. Frames are kept; `room` says how many more find some."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.told: list[str] = []
        self.room = 1_000_000
        self.fails = False

    def deliver(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        if self.fails:
            self.fails = False
            raise RuntimeError("an owner with a fault")
        kept, refused = frames[: self.room], frames[self.room :]
        self.room -= len(kept)
        self.frames += kept
        self.told += [f"frame {frame.generation}" for frame in kept]
        return refused

    def resumed(self, _link: Link, generation: int) -> None:
        self.told.append(f"resumed {generation}")

    @property
    def payloads(self) -> list[bytes]:
        return [frame.payload for frame in self.frames]


def publish(broker: PlainBroker, *payloads: bytes, qos: QoS = QoS.AT_LEAST_ONCE, topic: str = TOPIC) -> None:
    """Say so much as another client, and wait until the broker has it."""
    with joined(broker, "pile") as client:
        for number, payload in enumerate(payloads, 1):
            packet_id = None if qos is QoS.AT_MOST_ONCE else number
            client.wire.send(PublishPacket(topic, payload, qos=qos, packet_id=packet_id).write())
        if qos is not QoS.AT_MOST_ONCE:
            left = len(payloads)
            while left:
                left -= len(read(client))


def joined(broker: PlainBroker, client_id: str) -> "closing[Connection]":
    address = BrokerAddress.parse(broker.url)
    return closing(Connection.open(address, hello=ConnectPacket(client_id), context=None, within_s=10.0))


def read(client: Connection) -> list[Any]:
    """The next packets the broker has for a client."""
    assert client.wire.wait(10.0)
    return list(client.read())


def listen_until_the_end(client: Connection) -> None:
    """Raises LinkLost then."""
    while True:
        read(client)


def publishes(sent: bytearray) -> list[PublishPacket]:
    """Those among the packets a client sent."""
    found: list[PublishPacket] = []
    view = memoryview(sent)
    while view:
        packet, size = mqtt5.read(view)
        view = view[size:]
        if isinstance(packet, PublishPacket):
            found.append(packet)
    return found


def numbered(count: int) -> list[bytes]:
    """So many different payloads."""
    return [b"%d" % number for number in range(count)]
