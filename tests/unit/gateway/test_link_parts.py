"""What a link is made of, without a broker: addresses, signs of life, outgoing messages, and packets cut anywhere."""

import socket
from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mqtt5 import ConnAckPacket, PublishPacket, QoS

from gateway.acknowledgements import Acknowledgements
from gateway.broker_address import BrokerAddress
from gateway.connection import Connection, Unreadable
from gateway.errors import BrokerUrlInvalid, LinkLost
from gateway.keepalive import KeepAlive
from gateway.link import Frame
from gateway.outgoing import Outgoing
from gateway.wire import Wire


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtts://broker", BrokerAddress("broker", 8883, encrypted=True)),
        ("mqtts://broker:1/", BrokerAddress("broker", 1, encrypted=True)),
        ("mqtt://localhost", BrokerAddress("localhost", 1883, encrypted=False)),
        ("mqtt://127.9.9.9:7", BrokerAddress("127.9.9.9", 7, encrypted=False)),
        ("mqtt://[::1]:7", BrokerAddress("::1", 7, encrypted=False)),
    ],
)
def test_a_broker_has_a_host_and_a_port(url: str, address: BrokerAddress) -> None:
    assert BrokerAddress.parse(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "mqtt://10.0.0.1",
        "mqtt://broker:1883",
        "mqtt://0.0.0.0",
        "mqtt://[::]",
        "mqtt://127.0.0.1.example",
        "mqtt://localhost.example",
        "tcp://localhost",
        "mqtts://:8883",
        "mqtts://broker?x=1",
    ],
)
def test_nobody_but_this_machine_is_spoken_to_in_the_clear(url: str) -> None:
    with pytest.raises(BrokerUrlInvalid, match="only to"):
        BrokerAddress.parse(url)


def _alive() -> KeepAlive:
    return KeepAlive(keepalive_s=10.0, timeout_s=3.0, now_s=100.0)


def test_a_link_that_says_nothing_asks_in_half_its_time() -> None:
    alive = _alive()
    alive.heard(104.0)
    assert not alive.must_ask(104.9)
    assert alive.wait_s(104.0) == 1.0
    assert alive.must_ask(105.0)
    assert not alive.must_ask(105.1)


def test_a_broker_is_silent_only_after_a_question_and_no_word_since() -> None:
    alive = _alive()
    assert not alive.silent(1_000.0)
    assert alive.must_ask(105.0)
    assert not alive.silent(107.9)
    alive.heard(107.0)
    assert not alive.silent(109.9)
    assert alive.wait_s(109.0) == 1.0
    assert alive.silent(110.0)
    alive.answered()
    assert not alive.silent(110.0)


class Seconds:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def _put(outgoing: Outgoing, payload: bytes, told: list[bool], *, expiry_s: int = 60) -> bool:
    return outgoing.put("v1/0/p/down/start", payload, expiry_s=expiry_s, on_taken=told.append)


def _sent(outgoing: Outgoing) -> list[PublishPacket]:
    packets: list[PublishPacket] = []
    view = memoryview(outgoing.next_packets())
    while view:
        packet, size = mqtt5.read(view)
        assert isinstance(packet, PublishPacket)
        packets.append(packet)
        view = view[size:]
    return packets


def _payloads(packets: list[PublishPacket]) -> list[bytes]:
    return [packet.payload for packet in packets]


def test_messages_wait_for_a_place_and_beyond_the_queue_for_nothing() -> None:
    outgoing, told = Outgoing(inflight=2, queued=3), list[bool]()
    outgoing.connected(ConnAckPacket())
    assert [_put(outgoing, b"%d" % n, told) for n in range(4)] == [True, True, True, False]
    first, second = _sent(outgoing)
    assert _payloads(_sent(outgoing)) == []
    assert outgoing.answered(second.packet_id or 0, taken=False)
    assert _payloads(_sent(outgoing)) == [b"2"]
    assert outgoing.answered(first.packet_id or 0, taken=True)
    assert not outgoing.answered(first.packet_id or 0, taken=True)
    assert told == [False, True]


def test_the_broker_s_receive_maximum_narrows_the_window() -> None:
    outgoing = Outgoing(inflight=20, queued=20)
    outgoing.connected(ConnAckPacket(receive_max=1))
    for number in range(3):
        _put(outgoing, b"%d" % number, [])
    assert _payloads(_sent(outgoing)) == [b"0"]


def test_what_is_larger_than_the_broker_takes_is_given_up_and_harms_no_other() -> None:
    outgoing, told = Outgoing(inflight=20, queued=20), list[bool]()
    outgoing.connected(ConnAckPacket(max_packet_size=100))
    _put(outgoing, b"x" * 200, told)
    _put(outgoing, b"small", told)
    assert _payloads(_sent(outgoing)) == [b"small"]
    assert told == [False]


def test_what_the_codec_panics_over_is_given_up_and_harms_no_other() -> None:
    outgoing, told = Outgoing(inflight=1, queued=20), list[bool]()
    outgoing.connected(ConnAckPacket())
    _put(outgoing, bytes(1 << 28), told)
    _put(outgoing, b"sound", told)
    assert _payloads(_sent(outgoing)) == [b"sound"]
    assert told == [False]


def test_a_message_travels_with_what_is_left_of_its_time_or_not_at_all() -> None:
    seconds = Seconds()
    outgoing, told = Outgoing(inflight=20, queued=20, seconds=seconds), list[bool]()
    _put(outgoing, b"short", told, expiry_s=5)
    _put(outgoing, b"long", told, expiry_s=30)
    seconds.now_s += 10
    outgoing.connected(ConnAckPacket())
    [packet] = _sent(outgoing)
    assert (packet.payload, packet.message_expiry_interval) == (b"long", 20)
    assert told == [False]


def test_what_was_open_goes_first_on_the_next_connection_in_order_under_its_number() -> None:
    outgoing = Outgoing(inflight=3, queued=20)
    outgoing.connected(ConnAckPacket())
    for number in range(4):
        _put(outgoing, b"%d" % number, [])
    before = _sent(outgoing)
    outgoing.answered(before[0].packet_id or 0, taken=True)
    outgoing.connected(ConnAckPacket(session_present=True, receive_max=1))
    again = _sent(outgoing)
    # Lost once more, with only the first of them sent.
    outgoing.connected(ConnAckPacket(session_present=True))
    again += _sent(outgoing)
    assert _payloads(again) == [b"1", b"1", b"2", b"3"]
    assert [packet.duplicate for packet in again] == [True, True, True, False]
    assert [packet.packet_id for packet in again[:3]] == [2, 2, 3]
    assert again[3].packet_id == 4


def test_a_broker_that_forgot_the_session_hears_no_repetitions() -> None:
    outgoing = Outgoing(inflight=3, queued=20)
    outgoing.connected(ConnAckPacket())
    _put(outgoing, b"0", [])
    assert len(_sent(outgoing)) == 1
    outgoing.connected(ConnAckPacket(session_present=False))
    [packet] = _sent(outgoing)
    assert not packet.duplicate


def test_numbers_are_used_again_only_when_they_are_free() -> None:
    outgoing = Outgoing(inflight=2, queued=1)
    outgoing.connected(ConnAckPacket())
    _put(outgoing, b"kept open", [])
    [kept] = _sent(outgoing)
    used: list[int] = []
    for _ in range(65_540):
        _put(outgoing, b"", [])
        [packet] = _sent(outgoing)
        used.append(packet.packet_id or 0)
        outgoing.answered(used[-1], taken=True)
    assert kept.packet_id not in used
    assert (min(used), max(used)) == (2, 65_534)


def _frame(generation: int, mid: int, qos: int = 1) -> Frame:
    link: Any = None
    return Frame(link, generation, mid, qos, False, "", b"", datetime(2026, 3, 2, tzinfo=UTC))


def test_only_frames_of_the_connection_there_is_are_acknowledged() -> None:
    acks = Acknowledgements()
    assert acks.add([_frame(0, 1)]) == 0
    acks.begin()
    assert acks.add([_frame(1, 3), _frame(1, 2, qos=0), _frame(1, 1)]) == 2
    assert acks.take() == b"\x40\x02\x00\x03\x40\x02\x00\x01"
    assert acks.add([_frame(1, 4)]) == 1
    acks.end()
    assert acks.add([_frame(1, 5)]) == 0
    acks.begin()
    assert acks.add([_frame(1, 6), _frame(2, 7)]) == 1
    assert acks.take() == b"\x40\x02\x00\x07"


def test_a_message_of_qos_2_is_answered_in_two_steps() -> None:
    acks = Acknowledgements()
    acks.begin()
    assert acks.add([_frame(1, 3, qos=2)]) == 1
    acks.complete(3)
    assert acks.take() == b"\x50\x02\x00\x03\x70\x02\x00\x03"


@contextmanager
def _pair() -> Generator[tuple[Connection, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with closing(Connection(Wire(ours, None), maximum_packet_bytes=1_000)) as connection, theirs:
        yield connection, theirs


def test_a_machine_without_ipv6_is_connected_by_the_next_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = server.getsockname()
        # As the C library resolves a name whose first address is of a family the kernel does not know.
        found = [(99, socket.SOCK_STREAM, 0, "", where), (socket.AF_INET, socket.SOCK_STREAM, 0, "", where)]

        def resolve(*_asked: object, **_kind: object) -> list[Any]:
            return found

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        address = BrokerAddress("broker.example", where[1], encrypted=False)
        with closing(Wire.open(address, context=None, deadline_s=monotonic() + 5.0)):
            server.settimeout(5.0)
            server.accept()[0].close()


_PUBLISHES = st.lists(
    st.tuples(st.text(max_size=20), st.binary(max_size=3_000), st.integers(0, 65_535)), max_size=8
)


@given(messages=_PUBLISHES, cuts=st.lists(st.integers(1, 2_000), min_size=1, max_size=5))
def test_packets_come_whole_wherever_the_wire_cuts_them(
    messages: list[tuple[str, bytes, int]], cuts: list[int]
) -> None:
    stream = b"".join(
        PublishPacket(
            "t" + topic.replace("#", "").replace("+", "").replace("\0", ""),
            payload,
            qos=QoS.AT_LEAST_ONCE if mid else QoS.AT_MOST_ONCE,
            packet_id=mid or None,
        ).write()
        for topic, payload, mid in messages
    )
    heard: list[Any] = []
    with _pair() as (connection, theirs):
        position = turn = 0
        while position < len(stream):
            size = cuts[turn % len(cuts)]
            theirs.sendall(stream[position : position + size])
            position, turn = position + size, turn + 1
            heard += connection.read()
    assert [(packet.payload, packet.packet_id or 0) for packet in heard] == [
        (payload, mid) for _, payload, mid in messages
    ]


def test_a_publish_with_broken_properties_is_unreadable_but_has_its_number() -> None:
    with _pair() as (connection, theirs):
        theirs.sendall(b"\x3b\x08\x00\x01a\x00\x07\x7f\x01x" + b"\xd0\x00")
        broken, ping = connection.read()
    assert broken == Unreadable(packet_id=7, qos=1, duplicate=True, payload=b"\x7f\x01x")
    assert isinstance(ping, mqtt5.PingRespPacket)


@pytest.mark.parametrize(
    "nonsense", [b"\x00\x00", b"\x32\x03\x00\x09a", b"\x30\xff\xff\xff\xff\x01", b"\x40\x01\x00"]
)
def test_what_is_no_packet_loses_the_connection(nonsense: bytes) -> None:
    with _pair() as (connection, theirs):
        theirs.sendall(nonsense)
        with pytest.raises(LinkLost):
            connection.read()


def test_a_packet_without_end_is_not_waited_for() -> None:
    with _pair() as (connection, theirs):
        theirs.sendall(b"\x30\xff\xff\xff\x7f\x00\x01a\x00")
        with pytest.raises(LinkLost, match="larger"):
            _read_on(connection, theirs)


def _read_on(connection: Connection, theirs: socket.socket) -> None:
    for _ in range(1_000):
        theirs.sendall(b"x" * 1_024)
        assert connection.read() == []
