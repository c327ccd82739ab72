"""What the tap reads of MQTT, checked against packets that a real client library makes."""

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.pile import mqtt_packets
from conformance.pile.mqtt_packets import NotMqtt, Packet

CONNECT_5 = bytes.fromhex(
    "104b"  # CONNECT, 75 bytes
    "00044d515454"
    "05"
    "0c"
    "003c"  # MQTT, version 5, will at QoS 1, keep-alive 60 s
    "0d"
    "1100015180"
    "210014"
    "2700004400"  # session expiry, receive maximum, packet size
    "0007"
    "50572d30303031"  # client id
    "00"  # no will properties
    "001a"
    "76312f31312f50572d3030303030312f75702f676f6e652f2f2f"  # will topic, 26 bytes
    "0003"
    "010203"  # will payload
)


def read(octets: bytes) -> Packet:
    async def feed() -> Packet:
        reader = asyncio.StreamReader()
        reader.feed_data(octets)
        reader.feed_eof()
        return await mqtt_packets.read(reader)

    return asyncio.run(feed())


def connect_5() -> bytes:
    """The packet above with its length set right."""
    return bytes((0x10, len(CONNECT_5) - 2)) + CONNECT_5[2:]


def test_connect_tells_session_keep_alive_and_will() -> None:
    packet = read(connect_5())
    connect = mqtt_packets.connect(packet)
    assert (connect.version, connect.client_id, connect.clean_start) == (5, "PW-0001", False)
    assert (connect.keep_alive_s, connect.session_expiry_s) == (60, 86_400)
    assert (connect.receive_maximum, connect.packet_size) == (20, 17_408)
    assert connect.will_topic == "v1/11/PW-000001/up/gone///"
    assert (connect.will_payload, connect.will_qos, connect.will_retain) == (b"\x01\x02\x03", 1, False)


def test_publish_tells_topic_payload_and_flags() -> None:
    packet = read(bytes.fromhex("3b0a 0003612f62 0007 00 7879".replace(" ", "")))
    said = mqtt_packets.publish(packet, version=5)
    assert (said.topic, said.payload, said.qos, said.retain, said.again) == ("a/b", b"xy", 1, True, True)


def test_subscribe_tells_each_filter_with_its_qos() -> None:
    packet = read(bytes.fromhex("820f 0001 00 0003612f23 01 0003622f23 00".replace(" ", "")))
    assert mqtt_packets.subscribe(packet, version=5).filters == (("a/#", 1), ("b/#", 0))


def test_packet_that_is_too_long_is_refused() -> None:
    with pytest.raises(NotMqtt):
        read(bytes.fromhex("30ffffff7f"))
    with pytest.raises(NotMqtt):
        read(bytes.fromhex("30ffffffffff"))


@given(st.integers(0, 15), st.integers(0, 15), st.binary(max_size=80), st.sampled_from([4, 5]))
def test_any_body_is_read_or_refused(kind: int, flags: int, body: bytes, version: int) -> None:
    packet = Packet(kind, flags, body, body)
    for reading in (
        lambda: mqtt_packets.connect(packet),
        lambda: mqtt_packets.publish(packet, version=version),
        lambda: mqtt_packets.subscribe(packet, version=version),
    ):
        with contextlib.suppress(NotMqtt):
            reading()
