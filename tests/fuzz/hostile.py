"""What a fuzzer throws at the protocol, and what must hold whatever it throws. Pure.

The same three properties serve hypothesis in every `make test` and atheris for as long as somebody lets it run.
"""

import cbor2

from protocol import codec, fields, topics
from protocol.envelope import Counter, Opener, Sealer
from protocol.errors import ProtocolError
from protocol.fields import Message
from protocol.topics import Direction

PILE_ID = "PW-000001"
SECRET = bytes(range(32))
TOPIC = f"v1/{topics.shard_of(PILE_ID)}/{PILE_ID}/up/meter"
OPENER = Opener({1: SECRET, 2: SECRET[::-1]}, direction=Direction.UP)
SEALER = Sealer(SECRET, epoch=1, direction=Direction.UP)
KINDS = tuple(fields.catalogue())


def frame_is_opened_or_refused(frame: bytes) -> None:
    """Any bytes on a topic are a body or a ProtocolError, and nobody but the key's owner made the body."""
    try:
        OPENER.open(TOPIC, frame)
    except ProtocolError:
        return
    raise AssertionError("a frame that nobody sealed was opened")


def body_is_read_or_refused(kind: int, body: bytes) -> None:
    """Any bytes inside a genuine frame are a message or a ProtocolError; a message is written as it was read."""
    cls = KINDS[kind % len(KINDS)]
    if len(body) < 16_000:
        assert OPENER.open(TOPIC, SEALER.seal(TOPIC, body, counter=Counter(1, 1))).body == body
    try:
        message = codec.decode(cls.direction, cls.message, body)
    except ProtocolError:
        return
    assert isinstance(message, Message)
    again = codec.encode(message)
    assert codec.decode(cls.direction, cls.message, again) == message
    assert cbor2.dumps(cbor2.loads(again), canonical=True) == again


def topic_is_parsed_or_refused(topic: str) -> None:
    """Any topic is one of ours, which is written as it was read, or a ProtocolError."""
    try:
        parsed = topics.parse(topic)
    except ProtocolError:
        return
    assert str(parsed) == topic
