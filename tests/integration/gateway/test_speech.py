"""Who brings a command sends it, whatever the link's own thread does; the commands of one leave in their order."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest
from mqtt5 import ConnectPacket, PubAckPacket, PublishPacket, QoS, SubscribePacket, TopicFilter

from gateway.broker_address import BrokerAddress, TlsFiles
from gateway.connection import Connection
from gateway.link import Frame, Link, LinkLimits
from protocol import topics
from protocol.topics import Direction, Topic
from tests.integration.gateway.link_stage import read
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.conftest import Broker

PILE = "YQ-01"
SHARD = topics.shard_of(PILE)
DOWN = topics.subscription(Direction.DOWN, shard=SHARD, pile_id=PILE)
STOP = str(Topic(SHARD, PILE, Direction.DOWN, "stop"))
METER = str(Topic(SHARD, PILE, Direction.UP, "meter"))
PUBLISHERS = 4
EACH = 250


class Owner:
    """Hears frames, and is held up by them when told."""

    def __init__(self) -> None:
        self.hears, self.goes_on = Event(), Event()
        self.goes_on.set()

    def deliver(self, _frames: Sequence[Frame]) -> Sequence[Frame]:
        self.hears.set()
        assert self.goes_on.wait(20)
        return ()

    def resumed(self, _link: Link, _generation: int) -> None:
        """Nothing was kept before."""


@pytest.fixture
def pile(broker: "Broker") -> Iterator[Connection]:
    """A pile that hears what goes down to it, over TLS."""
    files = broker.issue_pile(PILE)
    tls = TlsFiles(broker_ca=broker.ca_path, certificate=files.certificate_path, key=files.key_path)
    address = BrokerAddress.parse(broker.device_url)
    hello = ConnectPacket(PILE, receive_max=PUBLISHERS * EACH)
    with closing(Connection.open(address, hello=hello, context=tls.context(), within_s=10.0)) as pile:
        pile.wire.send(SubscribePacket(1, [TopicFilter(DOWN, max_qos=QoS.AT_LEAST_ONCE)]).write())
        read(pile)
        yield pile


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def link(broker: "Broker", owner: Owner) -> Iterator[Link]:
    """A link of all lanes."""
    link = Link(
        client_id="gw-0",
        broker_url=broker.service_url,
        tls=TlsFiles(
            broker_ca=broker.ca_path, certificate=broker.gateway_cert_path, key=broker.gateway_key_path
        ),
        topic_filters=["v1/+/+/up/+"],
        limits=LinkLimits(),
        clock=lambda: datetime.now(UTC),
        deliver=owner.deliver,
        resumed=owner.resumed,
    )
    link.start()
    wait_until(lambda: link.connected)
    yield link
    owner.goes_on.set()
    link.stop()


def _heard(pile: Connection, count: int) -> list[bytes]:
    payloads: list[bytes] = []
    while len(payloads) < count:
        for packet in read(pile):
            if isinstance(packet, PublishPacket):
                assert packet.packet_id is not None
                pile.wire.send(PubAckPacket(packet.packet_id).write())
                payloads.append(bytes(packet.payload))
    return payloads


def test_a_command_goes_out_while_the_link_s_thread_is_held_up(
    pile: Connection, link: Link, owner: Owner
) -> None:
    owner.goes_on.clear()
    pile.wire.send(PublishPacket(METER, b"a frame").write())
    assert owner.hears.wait(10)
    assert link.publish(STOP, b"a command", expiry_s=60)
    assert _heard(pile, 1) == [b"a command"]
    assert not owner.goes_on.is_set()


def test_many_who_publish_at_once_are_heard_whole_and_each_in_its_order(pile: Connection, link: Link) -> None:
    def publish(name: int) -> None:
        for number in range(EACH):
            assert link.publish(STOP, b"%d %04d" % (name, number), expiry_s=60)

    threads = [Thread(target=publish, args=(name,)) for name in range(PUBLISHERS)]
    for thread in threads:
        thread.start()
    heard = _heard(pile, PUBLISHERS * EACH)
    for thread in threads:
        thread.join()
    for name in range(PUBLISHERS):
        own = [payload for payload in heard if payload.startswith(b"%d " % name)]
        assert own == [b"%d %04d" % (name, number) for number in range(EACH)]
    assert link.health.connections == 1


def test_what_is_published_after_the_leave_is_refused(link: Link) -> None:
    link.leave()
    assert not link.publish(STOP, b"too late", expiry_s=60)
