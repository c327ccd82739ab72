"""A pile behind a host speaks and is spoken to through it, under its own keys, as if it had a connection."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from psycopg_pool import ConnectionPool

from charging import piles
from database.pool import Connection
from gateway.hearing import Heard
from gateway.inbound import Inbound, Refused
from gateway.link import Frame, Link
from gateway.pile_registry import PileRegistry
from gateway.replay_window import ReplayWindow
from gateway.service import GatewayParts
from protocol import codec, messages, topics
from protocol.envelope import Opener
from protocol.fields import Message
from protocol.topics import Direction, Topic
from protocol.words import FrameResult, ReceiptWish
from tests.integration.gateway.conftest import VAULT, HandPile, now

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import Street

    ConnectPile = Callable[..., HandPile]
    StartGateway = Callable[..., Any]
    Until = Callable[..., None]

HOST = "YQ-01"
CHILD = "YQ-01-A"


@pytest.fixture
def child(pool: ConnectionPool[Connection], laid_out: "Street") -> HandPile:
    """A pile behind YQ-01, enrolled; it has no connection of its own."""
    with pool.connection() as conn:
        piles.register(
            conn,
            pile_id=CHILD,
            site_id="yuquan",
            model="PW-2",
            port_count=2,
            power_limit_w=2000,
            parent_pile_id=HOST,
            now=now(),
        )
    return HandPile(CHILD, laid_out.enrol(CHILD), Client(CallbackAPIVersion.VERSION2))


@pytest.fixture
def host(connect_pile: "ConnectPile") -> HandPile:
    return connect_pile(HOST)


def carry(host: HandPile, child: HandPile, message: Message, *, child_id: str = CHILD) -> None:
    """The child seals, the host hands it on."""
    frame = child.seal(message)
    host.say(messages.RelayUp(child=child_id, name=message.message, frame=frame.payload))


def brought(host: HandPile, child: HandPile) -> Message:
    """What the next message to the host brings to the child."""
    carried = host.hears(messages.RelayDown)
    assert carried.child == CHILD
    topic = str(Topic(topics.shard_of(CHILD), CHILD, Direction.DOWN, carried.name))
    opened = Opener({child.epoch: child.secret}, direction=Direction.DOWN).open(topic, carried.frame)
    child.counters_down.append(opened.counter)
    message = codec.decode(Direction.DOWN, carried.name, opened.body)
    assert isinstance(message, Message)
    return message


def child_boots(host: HandPile, child: HandPile) -> None:
    child.boot += 1
    child.seq = 0
    carry(host, child, replace(child.boot_message(), port_count=2))
    assert isinstance(brought(host, child), messages.BootAck)


def test_a_child_boots_and_lives_through_its_host(
    host: HandPile, child: HandPile, start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    host.boots()
    child_boots(host, child)
    carry(host, child, child.heartbeat())
    until(lambda: laid_out.port(CHILD, 2).state == "plugged")
    known = laid_out.pile(CHILD)
    assert (known.state, known.online, known.boot) == ("active", True, 2)
    assert laid_out.pile(HOST).online
    assert laid_out.refusals() == {}


def test_a_session_on_a_child_is_ordered_and_settled_through_its_host(
    host: HandPile, child: HandPile, start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    host.boots()
    child_boots(host, child)
    session_id = laid_out.order(CHILD)
    start = brought(host, child)
    assert isinstance(start, messages.Start)
    assert start.session_id == session_id
    carry(host, child, replace(child.meter(session_id), receipt=ReceiptWish.NOW))
    until(lambda: laid_out.count("meter_sample") == 1)
    receipt = brought(host, child)
    assert isinstance(receipt, messages.MeterReceipt)
    assert receipt.frames == (messages.FrameReceipt(child.boot, child.seq, FrameResult.STORED),)
    assert child.counters_down == sorted(set(child.counters_down))


def test_a_pile_speaks_only_for_those_behind_it(
    child: HandPile,
    connect_pile: "ConnectPile",
    start_gateway: "StartGateway",
    laid_out: "Street",
    until: "Until",
) -> None:
    start_gateway()
    stranger = connect_pile("YQ-02")
    carry(stranger, child, child.heartbeat())
    until(lambda: laid_out.refusals() == {"not_this_hosts_child": 1})
    carry(stranger, child, child.heartbeat(), child_id="YQ-03")
    until(lambda: laid_out.refusals() == {"not_this_hosts_child": 2})
    assert laid_out.count("pile_telemetry") == 0


def _bit_flipped(payload: bytes) -> bytes:
    return payload[:-1] + bytes([payload[-1] ^ 1])


def _truncated(payload: bytes) -> bytes:
    return payload[:40]


@pytest.mark.parametrize(("frame", "reason"), [(_bit_flipped, "forged"), (_truncated, "malformed")])
def test_a_host_can_change_nothing_of_what_a_child_says(
    frame: Callable[[bytes], bytes],
    reason: str,
    host: HandPile,
    child: HandPile,
    start_gateway: "StartGateway",
    laid_out: "Street",
    until: "Until",
) -> None:
    start_gateway()
    sealed = child.seal(child.heartbeat())
    host.say(messages.RelayUp(child=CHILD, name="heartbeat", frame=frame(sealed.payload)))
    until(lambda: laid_out.refusals() == {reason: 1})
    assert laid_out.count("pile_telemetry") == 0


def test_a_childs_frame_under_another_name_or_twice_is_refused(
    host: HandPile, child: HandPile, start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    sealed = child.seal(child.heartbeat())
    host.say(messages.RelayUp(child=CHILD, name="meter", frame=sealed.payload))
    until(lambda: laid_out.refusals() == {"forged": 1})
    for _ in range(2):
        host.say(messages.RelayUp(child=CHILD, name="heartbeat", frame=sealed.payload))
    until(lambda: laid_out.refusals() == {"forged": 1, "replayed": 1})
    host.say(messages.RelayUp(child="a/b", name="heartbeat", frame=sealed.payload))
    until(lambda: laid_out.refusals().get("bad_topic") == 1)
    assert laid_out.count("pile_telemetry") == 1


class _NoWards:
    def heard_barred(self, pile_id: str) -> None:
        raise AssertionError(pile_id)

    def suspects(self, pile_id: str, signs: object) -> None:
        raise AssertionError(pile_id, signs)


def test_what_is_no_pile_s_id_is_never_looked_up(
    child: HandPile, laid_out: "Street", pool: ConnectionPool[Connection], parts: GatewayParts
) -> None:
    host = HandPile(HOST, laid_out.enrol(HOST), Client(CallbackAPIVersion.VERSION2))
    link = Link(
        client_id="gw-0",
        broker_url=parts.broker_url,
        tls=parts.tls,
        topic_filters=[],
        limits=parts.link_limits,
        clock=now,
        deliver=lambda _frames: (),
        resumed=lambda _link, _generation: None,
    )
    registry = PileRegistry(vault=VAULT)
    inbound = Inbound(registry=registry, window=ReplayWindow(), wards=_NoWards())
    sealed = host.seal(
        messages.RelayUp(child="a/b", name="heartbeat", frame=child.seal(child.heartbeat()).payload)
    )
    frame = Frame(link, 1, 1, 1, False, sealed.topic, sealed.payload, now())
    with pool.connection() as conn:
        carrier, carried = inbound.read(conn, [frame])
    assert isinstance(carrier, Heard)
    assert isinstance(carried, Refused)
    assert carried.reason == "bad_topic"
    assert registry.find("a/b") is None


def test_children_are_offline_when_their_host_is_gone(
    child: HandPile,
    connect_pile: "ConnectPile",
    start_gateway: "StartGateway",
    laid_out: "Street",
    until: "Until",
) -> None:
    start_gateway()
    host = connect_pile(HOST, will=messages.Gone(connection=1))
    host.boots()
    child_boots(host, child)
    assert laid_out.pile(CHILD).online
    host.say(messages.Gone(connection=1))
    until(lambda: not laid_out.pile(CHILD).online)
    assert laid_out.events(CHILD, "link_lost") == [{"by": "host_gone"}]
