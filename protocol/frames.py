"""A message on its topic in its envelope: all three layers in one call each way."""

from typing import NamedTuple

from protocol import codec, topics
from protocol.envelope import Counter, Opener, Sealer
from protocol.errors import BadTopic
from protocol.fields import Message
from protocol.messages import UnknownMessage
from protocol.topics import Topic


class Frame(NamedTuple):
    """What is published: topic and sealed payload."""

    topic: str
    payload: bytes


class Received(NamedTuple):
    """What a frame said, under which epoch and counter."""

    epoch: int
    counter: Counter
    message: Message | UnknownMessage


def seal(message: Message, *, sealer: Sealer, pile_id: str, counter: Counter) -> Frame:
    """Encode and seal a message from or to a pile.

    The caller never gives a counter twice to one sealer's key. Raises OutOfRange, WrongType or Oversized.
    """
    if message.direction is not sealer.direction:
        raise ValueError(f"{message.message} does not go {sealer.direction}")
    topic = str(Topic(topics.shard_of(pile_id), pile_id, message.direction, message.message))
    return Frame(topic, sealer.seal(topic, codec.encode(message), counter=counter))


def open_frame(opener: Opener, *, topic: Topic, payload: bytes) -> Received:
    """Open and decode a frame.

    Raises BadTopic for a foreign shard or direction, else what Opener.open and codec.decode raise.
    """
    if topic.shard != topics.shard_of(topic.pile_id):
        raise BadTopic(f"{topic.pile_id} is not in shard {topic.shard}")
    if topic.direction is not opener.direction:
        raise BadTopic(f"a frame going {topic.direction} cannot be opened as {opener.direction}")
    epoch, counter, body = opener.open(str(topic), payload)
    return Received(epoch, counter, codec.decode(topic.direction, topic.message, body))
