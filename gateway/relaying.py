"""Piles behind a host: their frames travel inside the host's, sealed by and for themselves on their own topics.

The host only carries: it has no key of a child's, and what it hands on is opened as if it had come on the child's
own topic. A pile speaks for those registered behind it and for nobody else.
"""

from database.pool import Connection
from gateway.hearing import Heard
from gateway.link import Frame
from protocol import messages, topics
from protocol.envelope import Counter, Sealer
from protocol.errors import BadTopic
from protocol.fields import Message
from protocol.frames import Frame as SealedFrame
from protocol.frames import seal
from protocol.messages import RelayUp
from protocol.topics import Direction, Topic


def carried(_conn: Connection, _heard: Heard) -> None:
    """A host handed on a frame; what it held was heard beside it, and the host lives."""


def inner_frame(heard: Heard) -> tuple[Frame, Topic] | None:
    """The child's frame on the child's topic; None when the host names no topic of a pile.

    It is acknowledged with the host's frame, whose place in the connection it keeps.
    """
    message = heard.message
    assert isinstance(message, RelayUp), "only a relayed frame holds another"
    if not topics.is_pile_id(message.child):
        return None
    try:
        topic = topics.parse(
            f"v1/{topics.shard_of(message.child)}/{message.child}/{Direction.UP}/{message.name}"
        )
    except BadTopic:
        return None
    return heard.frame._replace(topic=str(topic), payload=message.frame), topic


def wrap(message: Message, *, child: str, child_sealer: Sealer, child_counter: Counter) -> messages.RelayDown:
    """A message for a child, sealed for it, as its host is to carry it."""
    inner: SealedFrame = seal(message, sealer=child_sealer, pile_id=child, counter=child_counter)
    return messages.RelayDown(child=child, name=message.message, frame=inner.payload)
