"""A host hands on sealed frames it cannot read, and only to the children it has."""

from typing import TYPE_CHECKING

import pytest

from device_sim.host import Relaying
from protocol import frames, topics
from protocol.envelope import Counter, Opener, Sealer
from protocol.errors import Forged
from protocol.messages import BootAck, RelayDown, RelayUp, Stop, TimeRequest
from protocol.topics import Direction

if TYPE_CHECKING:
    from tests.unit.device_sim.conftest import Bench

CHILD = "P-1-07"
CHILD_SECRET = bytes(range(32))


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


def test_what_children_say_waits_for_the_hosts_link(bench: "Bench") -> None:
    bench.pile.link_changed(False, now_ms=bench.now_ms)
    sealer = Sealer(CHILD_SECRET, epoch=1, direction=Direction.UP)
    for seq in range(3):
        frame = frames.seal(
            TimeRequest(bench.now_ms), sealer=sealer, pile_id=CHILD, counter=Counter(1, seq + 1)
        )
        bench.pile.part(Relaying).carry(frame)
    assert bench.pile.outbox.unsent >= 3
    bench.pile.link_changed(True, now_ms=bench.now_ms)
    bench.listen()
    assert len(bench.heard(RelayUp)) == 3
