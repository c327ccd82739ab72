"""A host hands on sealed frames it cannot read, and only to the children it has."""

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from device_sim.host import Relaying
from protocol import frames, topics
from protocol.envelope import Counter, Opener, Sealer
from protocol.errors import Forged
from protocol.messages import BootAck, MeterFrame, PortSample, RelayDown, RelayUp, Stop, TimeRequest
from protocol.topics import Direction
from protocol.words import ClockState, Phase

if TYPE_CHECKING:
    from tests.unit.device_sim.conftest import Bench

CHILD = "P-1-07"
CHILD_SECRET = bytes(range(32))
SAMPLE = PortSample(1, UUID(int=1), 0, 30, 2200, 0, 0, 1000, 0, 0, 0, 0, 250, Phase.IDLE)


def test_a_childs_frame_travels_in_the_hosts_relay_as_it_was_sealed(bench: "Bench") -> None:
    sealer = Sealer(CHILD_SECRET, epoch=1, direction=Direction.UP)
    said = TimeRequest(bench.now_ms)
    frame = frames.seal(said, sealer=sealer, pile_id=CHILD, counter=Counter(1, 1))
    bench.pile.part(Relaying).carry(frame)
    bench.listen()
    [relay] = bench.heard(RelayUp)
    assert (relay.child, relay.name, relay.frame) == (CHILD, "time_request", frame.payload)
    opener = Opener({1: CHILD_SECRET}, direction=Direction.UP)
    inner = frames.open_frame(opener, topic=topics.parse(frame.topic), payload=relay.frame)
    assert inner.message == said
    own_topic = frame.topic.replace(CHILD, "P-1")
    with pytest.raises(Forged):
        opener.open(own_topic, relay.frame)


def test_a_frame_for_a_child_reaches_it_on_the_childs_own_topic(bench: "Bench") -> None:
    heard: list[tuple[str, bytes]] = []
    relaying = bench.pile.part(Relaying)
    relaying.children[CHILD] = lambda topic, payload: heard.append((topic, payload))
    sealer = Sealer(CHILD_SECRET, epoch=1, direction=Direction.DOWN)
    said = BootAck(bench.now_ms, 60, 30, 0)
    frame = frames.seal(said, sealer=sealer, pile_id=CHILD, counter=Counter(1, 1))
    bench.tell(RelayDown(CHILD, "boot_ack", frame.payload))
    assert heard == [(frame.topic, frame.payload)]


def test_a_frame_for_a_stranger_goes_nowhere(bench: "Bench") -> None:
    heard: list[str] = []
    bench.pile.part(Relaying).children[CHILD] = lambda topic, _payload: heard.append(topic)
    bench.tell(RelayDown("P-1-08", Stop.message, b"whatever"))
    assert heard == []


def carried(bench: "Bench", seq: int) -> tuple[bytes, asyncio.Event]:
    """A child's frame that its host carries, and what tells when the broker has it."""
    sealer = Sealer(CHILD_SECRET, epoch=1, direction=Direction.UP)
    frame = frames.seal(TimeRequest(bench.now_ms), sealer=sealer, pile_id=CHILD, counter=Counter(1, seq))
    return frame.payload, bench.pile.part(Relaying).carry(frame)


def test_a_child_hears_that_the_broker_has_its_frame_and_no_other(bench: "Bench") -> None:
    _, first = carried(bench, 1)
    payload, second = carried(bench, 2)
    bench.pile.part(Relaying).said(RelayUp(CHILD, "time_request", payload))
    assert (first.is_set(), second.is_set()) == (False, True)


def test_with_the_hosts_link_its_children_have_to_say_again_what_was_under_way(bench: "Bench") -> None:
    payload, arrived = carried(bench, 1)
    bench.pile.link_changed(False, now_ms=bench.now_ms)
    bench.pile.link_changed(True, now_ms=bench.now_ms)
    bench.listen()
    assert bench.heard(RelayUp) == []
    bench.pile.part(Relaying).said(RelayUp(CHILD, "time_request", payload))
    assert not arrived.is_set()


def test_a_host_relays_nothing_before_its_own_boot_is_acknowledged(bench: "Bench") -> None:
    bench.power_up(acknowledged=False)
    carried(bench, 1)
    bench.listen()
    assert bench.heard(RelayUp) == []
    bench.acknowledge_boot()
    bench.listen()
    assert len(bench.heard(RelayUp)) == 1


def test_samples_of_children_take_turns_with_the_hosts_own(bench: "Bench") -> None:
    outbox = bench.pile.outbox
    for number in range(3):
        outbox.put(MeterFrame(bench.now_ms + number, (SAMPLE,), ClockState.SYNCED))
        outbox.put(RelayUp(CHILD, "meter", bytes([number])))
    outbox.put(RelayUp(CHILD, "start_ack", b"answer"))
    outbox.put(RelayUp(CHILD, "alarm", b"alarm"))
    bench.said.clear()
    bench.listen()
    names = [said.name if isinstance(said, RelayUp) else said.message for said in bench.said]
    assert names[:2] == ["alarm", "start_ack"]
    frames = [isinstance(said, RelayUp) for said in bench.said[2:] if said.message != "heartbeat"]
    assert frames == [True, False] * 3
