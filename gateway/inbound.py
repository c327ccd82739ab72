"""From a frame to what charging should hear: who speaks, may they, is it theirs, is it new, what does it say.

Nothing here changes the database, and no frame raises: each becomes Heard, Refused with a reason, or Repeated.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from charging.piles import PileState
from charging.rejections import Rejection
from charging.waits import Waits
from database.pool import Connection
from gateway import hearing, hearing_care
from gateway.errors import Refusal
from gateway.hearing import USUAL_WAITS, Heard, Reply
from gateway.link import Frame
from gateway.pile_registry import KnownPile, PileRegistry
from gateway.replay_window import ReplayWindow
from protocol import codec, messages, topics
from protocol.envelope import Opened
from protocol.errors import BadTopic, ProtocolError, UnknownEpoch
from protocol.fields import Message
from protocol.messages import UnknownMessage
from protocol.topics import Direction, Topic

Handler = Callable[[Connection, Heard], Reply | None]

HANDLERS: dict[type[Message], Handler] = {
    messages.Boot: hearing.boot,
    messages.Heartbeat: hearing.heartbeat,
    messages.Gone: hearing.gone,
    messages.PortStateChanged: hearing.port_state,
    messages.StartAck: hearing.start_ack,
    messages.Started: hearing.started,
    messages.Settlement: hearing.settlement,
    messages.TimeRequest: hearing_care.time_request,
    messages.Config: hearing_care.config,
    messages.Tariff: hearing_care.tariff,
    messages.ExtendAck: hearing_care.extend_ack,
    messages.LogLines: hearing_care.log_lines,
}
"""What is done with each message but meter frames and plain answers, which the writer stores together."""

_MAY_SPEAK = frozenset({PileState.PROVISIONED, PileState.ACTIVE})
_MAY_NOT_SPEAK = {
    PileState.MANUFACTURED: Refusal.PILE_NOT_ENROLLED,
    PileState.QUARANTINED: Refusal.PILE_QUARANTINED,
    PileState.REVOKED: Refusal.PILE_REVOKED,
}


class Refused(NamedTuple):
    """A frame that changes nothing; `reason` is one of ours or the protocol's words."""

    frame: Frame
    reason: str

    @property
    def rejection(self) -> Rejection:
        """The frame as it is kept."""
        frame = self.frame
        return Rejection(frame.topic, self.reason, frame.payload, frame.received_at)


class Repeated(NamedTuple):
    """The broker delivered a committed frame once more because our acknowledgement was lost."""

    frame: Frame


Reading = Heard | Refused | Repeated


class Inbound:
    """Reads frames with the piles' keys, and knows which were committed. One thread uses it: the writer's."""

    def __init__(self, *, registry: PileRegistry, window: ReplayWindow, waits: Waits = USUAL_WAITS) -> None:
        """`waits` fit the clock by which frames are stamped."""
        self._waits = waits
        self._registry = registry
        self._window = window

    def read(self, conn: Connection, frames: Sequence[Frame]) -> list[Reading]:
        """Each frame's reading, in order; the connection serves the look-ups of piles not known yet."""
        parsed = [_parse(frame.topic) for frame in frames]
        self._registry.refresh(conn, [topic.pile_id for topic in parsed if topic is not None])
        return [self._read(conn, frame, topic) for frame, topic in zip(frames, parsed, strict=True)]

    def committed(self, heard: Sequence[Heard]) -> None:
        """Remember frames whose transaction is committed; before that a repeat is as good as the first."""
        for one in heard:
            counter = one.counter
            self._window.commit(one.pile_id, epoch=one.epoch, boot=counter.boot, seq=counter.seq)

    def _read(self, conn: Connection, frame: Frame, topic: Topic | None) -> Reading:
        if topic is None or topic.direction is not Direction.UP:
            return Refused(frame, BadTopic.reason)
        pile_id = topic.pile_id
        known = self._registry.find(pile_id)
        refusal = _standing_refusal(known, topic)
        if known is None or refusal is not None:
            return Refused(frame, refusal or Refusal.UNKNOWN_PILE)
        try:
            opened = self._open(conn, known, pile_id, frame)
            boot, seq = opened.counter
            if self._window.seen(pile_id, epoch=opened.epoch, boot=boot, seq=seq):
                return Repeated(frame) if frame.redelivered else Refused(frame, Refusal.REPLAYED)
            message = codec.decode(Direction.UP, topic.message, opened.body)
        except ProtocolError as error:
            return Refused(frame, error.reason)
        if isinstance(message, UnknownMessage):
            return Refused(frame, Refusal.UNKNOWN_MESSAGE)
        return Heard(frame, pile_id, opened.epoch, opened.counter, message, self._waits)

    def _open(self, conn: Connection, known: KnownPile, pile_id: str, frame: Frame) -> Opened:
        """Raises ProtocolError. Keys are read when first needed, and again for an epoch that is not among them."""
        opener = known.opener or self._registry.read_keys(conn, pile_id)
        if opener is None:
            raise UnknownEpoch(0)
        try:
            return opener.open(frame.topic, frame.payload)
        except UnknownEpoch:
            renewed = self._registry.read_keys(conn, pile_id)
            if renewed is None:
                raise
            return renewed.open(frame.topic, frame.payload)


def _standing_refusal(known: KnownPile | None, topic: Topic) -> Refusal | None:
    standing = known.standing if known is not None else None
    if standing is None:
        return Refusal.UNKNOWN_PILE
    if standing.shard != topic.shard:
        return Refusal.FOREIGN_SHARD
    return None if standing.state in _MAY_SPEAK else _MAY_NOT_SPEAK[standing.state]


@lru_cache(maxsize=65_536)
def _parse(topic: str) -> Topic | None:
    try:
        return topics.parse(topic)
    except BadTopic:
        return None
