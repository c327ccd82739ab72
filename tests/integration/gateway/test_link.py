"""A link against a real broker, whatever becomes of the wire, the broker or the one beside it."""

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mqtt5 import ConnectPacket, PublishPacket, QoS
from structlog.testing import capture_logs

from gateway.broker_address import BrokerAddress, TlsFiles
from gateway.connection import Connection
from gateway.errors import LinkLost
from gateway.link import Link, LinkLimits
from pileway import home
from tests.conftest import Broker
from tests.integration.gateway.link_stage import (
    TOPIC,
    Listener,
    PlainBroker,
    joined,
    listen_until_the_end,
    numbered,
    publish,
    publishes,
    read,
)
from tests.integration.gateway.meddler import Meddler
from tests.waiting import wait_until

NAME = "gw-0"
LIMITS = LinkLimits(
    receive_maximum=100,
    connect_timeout_s=2.0,
    reconnect_min_s=0.1,
    reconnect_max_s=0.5,
    inflight_messages=100,
)


@pytest.fixture
def plain(work_folder: Path) -> Iterator[PlainBroker]:
    root = Path(tempfile.mkdtemp(prefix="broker-", dir=work_folder))
    home.prepare(root)
    broker = PlainBroker(root)
    broker.server.start()
    for port in (broker.open_port, broker.shut_port):
        wait_until(lambda port=port: not home.port_is_free(port))
    yield broker
    broker.server.stop()


@pytest.fixture
def meddler(plain: PlainBroker) -> Iterator[Meddler]:
    with closing(Meddler(plain.open_port)) as meddler:
        yield meddler


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def start(listener: Listener, tmp_path: Path) -> Iterator[Callable[..., Link]]:
    """Starts links, and stops them after the test."""
    with ExitStack() as stack:
        missing = tmp_path / "missing"

        def start(url: str, *, up: bool = True, tls: TlsFiles | None = None, **limits: Any) -> Link:
            link = Link(
                client_id=NAME,
                broker_url=url,
                tls=tls or TlsFiles(broker_ca=missing, certificate=missing, key=missing),
                topic_filters=["v1/+/+/up/+"],
                limits=replace(LIMITS, **limits),
                clock=lambda: datetime.now(UTC),
                deliver=listener.deliver,
                resumed=listener.resumed,
            )
            stack.callback(link.stop)
            link.start()
            if up:
                wait_until(lambda: link.connected)
            return link

        yield start


def test_frames_come_in_order_and_are_gone_once_acknowledged(
    plain: PlainBroker, listener: Listener, start: Callable[..., Link]
) -> None:
    link = start(plain.url)
    publish(plain, *numbered(300))

    def all_acknowledged() -> bool:
        link.ack(listener.frames[link.health.acks :])
        return link.health.acks == 300

    wait_until(all_acknowledged)
    assert listener.payloads == numbered(300)
    link.stop()
    publish(plain, b"last")
    again = start(plain.url)
    wait_until(lambda: len(listener.frames) == 301)
    assert (again.health.frames, again.health.redeliveries) == (1, 0)


def test_after_a_killed_broker_the_session_goes_on_and_tells_so_before_its_frames(
    plain: PlainBroker, listener: Listener, start: Callable[..., Link]
) -> None:
    link = start(plain.url)
    publish(plain, *numbered(3))
    wait_until(lambda: len(listener.frames) == 3)
    plain.save()
    plain.server.kill9()
    wait_until(lambda: not link.connected)
    plain.server.start()
    wait_until(lambda: len(listener.frames) == 6)
    assert listener.told == ["frame 1"] * 3 + ["resumed 2"] + ["frame 2"] * 3
    assert [frame.redelivered for frame in listener.frames] == [False] * 3 + [True] * 3
    assert listener.payloads == numbered(3) * 2


def test_acknowledgements_of_an_older_connection_go_nowhere(
    plain: PlainBroker, meddler: Meddler, listener: Listener, start: Callable[..., Link]
) -> None:
    link = start(meddler.url)
    publish(plain, *numbered(5))
    wait_until(lambda: len(listener.frames) == 5)
    old = list(listener.frames)
    link.ack(old[:2])
    wait_until(lambda: meddler.upward.count(b"\x40\x02") == 2)
    meddler.cut()
    wait_until(lambda: len(listener.frames) == 8)
    link.ack(old)
    assert (link.health.acks, link.health.stale_acks) == (2, 5)
    link.ack(listener.frames[5:])
    assert link.health.acks == 5
    assert listener.payloads == numbered(5) + numbered(5)[2:]


@pytest.mark.parametrize("passing_bytes", [1, 3, 40, 1_000, 60_000])
def test_a_connection_cut_in_the_middle_of_a_packet_costs_no_frame(
    passing_bytes: int,
    plain: PlainBroker,
    meddler: Meddler,
    listener: Listener,
    start: Callable[..., Link],
) -> None:
    link = start(meddler.url)
    payload = os.urandom(64_000)
    meddler.cut_down_after = passing_bytes
    publish(plain, payload)
    wait_until(lambda: listener.frames)
    assert listener.payloads == [payload]
    assert link.health.connections == 2


def test_a_frame_of_the_largest_packet_comes_whole(
    plain: PlainBroker, listener: Listener, start: Callable[..., Link]
) -> None:
    link = start(plain.url)
    head = len(PublishPacket(TOPIC, b"", qos=QoS.AT_LEAST_ONCE, packet_id=1).write()) + 2
    payloads = [os.urandom(LIMITS.maximum_packet_bytes - head) for _ in range(20)]
    publish(plain, *payloads)
    wait_until(lambda: len(listener.frames) == 20)
    assert listener.payloads == payloads
    assert link.health.connections == 1


def test_frames_nobody_promised_need_no_acknowledgement(
    plain: PlainBroker, listener: Listener, start: Callable[..., Link]
) -> None:
    link = start(plain.url)
    publish(plain, *numbered(3), qos=QoS.AT_MOST_ONCE)
    wait_until(lambda: len(listener.frames) == 3)
    link.ack(listener.frames)
    assert [frame.qos for frame in listener.frames] == [0, 0, 0]
    assert (link.health.acks, link.health.stale_acks) == (0, 0)


def test_a_frame_without_room_cuts_the_link_and_comes_again(
    plain: PlainBroker, listener: Listener, start: Callable[..., Link]
) -> None:
    listener.room = 2
    link = start(plain.url)
    publish(plain, *numbered(3))
    wait_until(lambda: link.health.overflows)
    listener.room = 1_000
    wait_until(lambda: listener.payloads[-3:] == numbered(3))
    assert link.health.connections >= 2


def test_one_who_takes_the_link_s_name_is_taken_it_from_again(
    plain: PlainBroker, start: Callable[..., Link]
) -> None:
    link = start(plain.url)
    with joined(plain, NAME) as thief:
        wait_until(lambda: link.health.connections == 2)
        wait_until(lambda: link.connected)
        with pytest.raises(LinkLost):
            listen_until_the_end(thief)


def test_a_broker_that_refuses_the_link_is_asked_again(
    plain: PlainBroker, start: Callable[..., Link]
) -> None:
    with capture_logs() as logs:
        link = start(f"mqtt://127.0.0.1:{plain.shut_port}", up=False)
        wait_until(lambda: [entry["event"] for entry in logs].count("broker_refused_link") >= 2)
    assert not link.connected
    assert logs[0]["reason"] == "not_authorized"


def test_a_refused_subscription_cuts_the_link(
    plain: PlainBroker, meddler: Meddler, start: Callable[..., Link]
) -> None:
    granted, refused = b"\x90\x04\xff\xff\x00\x01", b"\x90\x04\xff\xff\x00\x87"
    meddler.edit_down = lambda chunk: chunk.replace(granted, refused)
    link = start(meddler.url, up=False)
    wait_until(lambda: link.health.connections >= 2)
    assert not link.connected
    meddler.edit_down = lambda chunk: chunk
    wait_until(lambda: link.connected)


def test_a_broker_that_is_not_there_yet_is_found_when_it_comes(
    plain: PlainBroker, start: Callable[..., Link]
) -> None:
    plain.server.stop()
    with capture_logs() as logs:
        link = start(plain.url, up=False)
        wait_until(lambda: any(entry["event"] == "broker_unreachable" for entry in logs))
        plain.server.start()
        wait_until(lambda: link.connected)


def test_a_broker_of_a_foreign_authority_is_not_believed(
    broker: Broker, start: Callable[..., Link], tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign.crt"
    foreign.write_bytes(broker.device_authority.certificate_pem)
    own = TlsFiles(
        broker_ca=broker.ca_path, certificate=broker.gateway_cert_path, key=broker.gateway_key_path
    )
    with capture_logs() as logs:
        link = start(broker.service_url, tls=replace(own, broker_ca=foreign), up=False)
        wait_until(lambda: [entry["event"] for entry in logs].count("broker_unreachable") >= 2)
    assert link.health.connections == 0
    assert "CERTIFICATE_VERIFY_FAILED" in logs[0]["reason"]
    link.stop()
    start(broker.service_url, tls=own)


def test_a_link_without_a_good_certificate_is_turned_away(broker: Broker, start: Callable[..., Link]) -> None:
    pile = broker.issue_pile("YQ-01")
    tls = TlsFiles(broker_ca=broker.ca_path, certificate=pile.certificate_path, key=pile.key_path)
    with capture_logs() as logs:
        link = start(broker.service_url, tls=tls, up=False)
        wait_until(lambda: [entry["event"] for entry in logs].count("broker_unreachable") >= 2)
    assert link.health.connections == 0


def test_large_and_many_frames_come_whole_over_tls(
    broker: Broker, listener: Listener, start: Callable[..., Link]
) -> None:
    """The broker's records and our reads end nowhere near each other."""
    tls = TlsFiles(
        broker_ca=broker.ca_path, certificate=broker.gateway_cert_path, key=broker.gateway_key_path
    )
    link = start(broker.service_url, tls=tls, receive_maximum=1_000)
    payloads = [os.urandom(size) for size in (60_000, 1, 16_384, 0, 33_000) for _ in range(40)]
    address = BrokerAddress.parse(broker.device_url)
    files = broker.issue_pile("YQ-01")
    context = TlsFiles(
        broker_ca=broker.ca_path, certificate=files.certificate_path, key=files.key_path
    ).context()
    with closing(
        Connection.open(address, hello=ConnectPacket("YQ-01"), context=context, within_s=10.0)
    ) as pile:
        for number, payload in enumerate(payloads, 1):
            pile.wire.send(PublishPacket(TOPIC, payload, qos=QoS.AT_LEAST_ONCE, packet_id=number).write())
        left = len(payloads)
        while left:
            left -= len(read(pile))
    wait_until(lambda: len(listener.frames) == len(payloads))
    assert listener.payloads == payloads
    assert link.health.connections == 1


def test_no_more_publishes_are_open_than_the_broker_allows(
    plain: PlainBroker, meddler: Meddler, start: Callable[..., Link]
) -> None:
    def allow_three(chunk: bytes) -> bytes:
        return chunk.replace(b"\x21\x0f\xa0", b"\x21\x00\x03")

    meddler.edit_down = allow_three
    link = start(meddler.url)
    taken: list[bool] = []
    meddler.hold_down()
    for number in range(10):
        assert link.publish("v1/7/YQ-01/down/start", b"%d" % number, expiry_s=60, on_taken=taken.append)
    wait_until(lambda: len(publishes(meddler.upward)) >= 3)
    # A ping goes out after whatever else was allowed to.
    assert [packet.payload for packet in publishes(meddler.upward)] == [b"0", b"1", b"2"]
    assert taken == []
    meddler.release_down()
    wait_until(lambda: len(taken) == 10)
    assert [packet.payload for packet in publishes(meddler.upward)] == numbered(10)
    assert link.health.taken == 10


def test_a_publish_the_broker_did_not_answer_goes_out_again_as_a_repetition(
    plain: PlainBroker, meddler: Meddler, start: Callable[..., Link]
) -> None:
    link = start(meddler.url)
    taken: list[bool] = []
    meddler.hold_down()
    for payload in (b"first", b"second"):
        assert link.publish("v1/7/YQ-01/down/start", payload, expiry_s=60, on_taken=taken.append)
    wait_until(lambda: len(publishes(meddler.upward)) == 2)
    meddler.cut()
    wait_until(lambda: not link.connected)
    assert not link.publish("v1/7/YQ-01/down/start", b"third", expiry_s=60)
    meddler.release_down()
    wait_until(lambda: len(taken) == 2)
    sent = [(packet.packet_id, packet.payload, packet.duplicate) for packet in publishes(meddler.upward)]
    assert sent == [(1, b"first", False), (2, b"second", False), (1, b"first", True), (2, b"second", True)]


def test_a_broker_that_stops_answering_is_left_and_found_again(
    plain: PlainBroker, listener: Listener, start: Callable[..., Link]
) -> None:
    link = start(plain.url, keepalive_s=1, ping_timeout_s=0.5)
    plain.signal(signal.SIGSTOP)
    try:
        wait_until(lambda: not link.connected)
    finally:
        plain.signal(signal.SIGCONT)
    wait_until(lambda: link.connected)
    publish(plain, b"after")
    wait_until(lambda: b"after" in listener.payloads)


def test_an_idle_link_is_kept_by_pings(
    plain: PlainBroker, meddler: Meddler, start: Callable[..., Link]
) -> None:
    link = start(meddler.url, keepalive_s=1)
    wait_until(lambda: meddler.upward.count(b"\xc0\x00") >= 2)
    assert link.health.connections == 1


@pytest.mark.parametrize(
    "nonsense",
    [b"\x00\x00", b"\xff" * 8, b"\x20\x03\x00\x00\x00", b"\x36\x05\x00\x01a\x00\x01", b"\xe0\x01\x77"],
    ids=["no_packet", "no_length", "second_connack", "qos_3", "unknown_reason"],
)
def test_an_answer_that_breaks_the_protocol_costs_the_connection_and_nothing_else(
    nonsense: bytes, plain: PlainBroker, meddler: Meddler, listener: Listener, start: Callable[..., Link]
) -> None:
    link = start(meddler.url)
    meddler.inject_down(nonsense)
    wait_until(lambda: link.health.connections == 2)
    publish(plain, b"after")
    wait_until(lambda: listener.payloads == [b"after"])


# The codec's panic over such a topic is told to the hook for what nobody can catch, and then raised.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_message_whose_topic_cannot_be_read_comes_without_one(
    meddler: Meddler, listener: Listener, start: Callable[..., Link]
) -> None:
    """Cut off for it, the link would get it again for ever."""
    link = start(meddler.url)
    meddler.inject_down(b"\x32\x0a\x00\x03v\xff1\x00\x09\x00hi" + b"\x30\x06\x00\x01a\x00ok")
    wait_until(lambda: len(listener.frames) == 2)
    first, second = listener.frames
    assert (first.topic, first.mid, first.qos) == ("", 9, 1)
    assert (second.topic, second.payload) == ("a", b"ok")
    assert link.health.connections == 1


def test_an_owner_with_a_fault_does_not_end_the_link(
    plain: PlainBroker, listener: Listener, start: Callable[..., Link]
) -> None:
    link = start(plain.url)
    listener.fails = True
    with capture_logs() as logs:
        publish(plain, b"a frame")
        wait_until(lambda: listener.payloads == [b"a frame"])
    assert "link_failed" in [entry["event"] for entry in logs]
    assert link.health.connections == 2


def test_a_link_stops_while_it_connects_to_one_who_never_answers(start: Callable[..., Link]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        link = start(f"mqtt://127.0.0.1:{silent.getsockname()[1]}", up=False, connect_timeout_s=120.0)
        caller, _ = silent.accept()
        with caller:
            link.stop()
            assert f"link-{NAME}" not in [thread.name for thread in threading.enumerate()]
