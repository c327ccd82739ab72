"""From a frame to what charging should hear: who speaks, may they, is it theirs, is it new, what does it say.

Nothing here changes the database, and no frame raises: each becomes Heard, Refused with a reason, or Repeated.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import repeat
from time import monotonic
from typing import NamedTuple, Protocol

from charging import meter_frames
from charging.pile_states import PileState
from charging.rejections import Rejection
from charging.waits import Waits
from database.pool import Connection
from gateway import hearing, hearing_alarms, hearing_care, hearing_firmware, hearing_local_starts, relaying
from gateway.errors import Refusal
from gateway.hearing import USUAL_WAITS, Heard, Reply
from gateway.identity_watch import IdentityWatch, Sign
from gateway.link import Frame
from gateway.meter_words import MeterWords
from gateway.pile_registry import KnownPile, PileRegistry
from gateway.replay_window import ReplayWindow
from protocol import codec, messages, sample_columns, topics
from protocol.envelope import Counter, Opened, Opener
from protocol.errors import BadTopic, ProtocolError, UnknownEpoch
from protocol.fields import Message
from protocol.messages import MeterFrame, UnknownMessage
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
    messages.Alarm: hearing_alarms.alarm,
    messages.RelayUp: relaying.carried,
    messages.TimeRequest: hearing_care.time_request,
    messages.Config: hearing_care.config,
    messages.Tariff: hearing_care.tariff,
    messages.ExtendAck: hearing_care.extend_ack,
    messages.LogLines: hearing_care.log_lines,
    messages.FirmwareState: hearing_firmware.firmware_state,
    messages.LocalStart: hearing_local_starts.local_start,
}
"""What is done with each message but meter frames and plain answers, which the writer stores together."""

_MAY_SPEAK = frozenset({PileState.PROVISIONED, PileState.ACTIVE})
_MAY_NOT_SPEAK = {
    PileState.MANUFACTURED: Refusal.PILE_NOT_ENROLLED,
    PileState.QUARANTINED: Refusal.PILE_QUARANTINED,
    PileState.REVOKED: Refusal.PILE_REVOKED,
}


_TELLS_CONNECTION = (messages.Boot, messages.Heartbeat)
_SHUT_OUT = frozenset({Refusal.PILE_QUARANTINED, Refusal.PILE_REVOKED})


class Reuse(NamedTuple):
    """Another message came under a counter that was used before."""

    pile_id: str
    epoch: int
    counter: Counter


class Refused(NamedTuple):
    """A frame that changes nothing; `reason` is one of ours or the protocol's words.

    `counter` is set where the frame opened and what it says is at fault, `reuse` where its counter is.
    """

    frame: Frame
    reason: str
    counter: Counter | None = None
    reuse: Reuse | None = None

    @property
    def rejection(self) -> Rejection:
        """The frame as it is kept."""
        frame = self.frame
        return Rejection(frame.topic, self.reason, frame.payload, frame.received_at)


class Repeated(NamedTuple):
    """The broker delivered a committed frame once more because our acknowledgement was lost.

    What was `heard` changes nothing again, but what the pile was told of it may be lost, too.
    """

    heard: Heard


class Ahead(NamedTuple):
    """A frame opened and decoded before its turn, and with which keys; `metered` is as in `Heard`."""

    opener: Opener
    opened: Opened
    message: Message | UnknownMessage
    metered: meter_frames.MeterFrame | None = None


Reading = Heard | Refused | Repeated


_Batch = dict[tuple[str, int, int, int], Frame]
"""The frames of one batch by pile, epoch, boot and sequence: two of them may be new and the same."""


class Wards(Protocol):
    """Who looks after what is suspicious; both may be called often and must not block."""

    def heard_barred(self, pile_id: str) -> None:
        """A pile that is shut out spoke; the same frame may say so more than once."""
        ...

    def suspects(self, pile_id: str, signs: Sequence[Sign]) -> None:
        """What a pile said contradicts what was heard of it before; no frame says so twice."""
        ...


class Inbound:
    """Reads frames with the piles' keys, and knows which were committed. One thread uses it: the writer's.

    Only `open_ahead` may be called by another.
    """

    def __init__(
        self,
        *,
        registry: PileRegistry,
        window: ReplayWindow,
        wards: Wards,
        waits: Waits = USUAL_WAITS,
        seconds: Callable[[], float] = monotonic,
    ) -> None:
        """`waits` fit the clock by which frames are stamped."""
        self._waits = waits
        self._registry = registry
        self._window = window
        self._wards = wards
        self._seconds = seconds
        self._watch = IdentityWatch()

    def open_ahead(self, frames: Sequence[Frame]) -> list["Ahead | None"]:
        """Open and decode frames before their turn, with the keys known now. Any thread may.

        It judges nothing: what cannot be opened, for whatever reason, is left to `read`.
        """
        ahead: list[Ahead | None] = [None] * len(frames)
        metered: list[tuple[int, Topic, Opener, Opened]] = []
        for place, frame in enumerate(frames):
            topic = _parse(frame.topic)
            known = self._registry.find(topic.pile_id) if topic is not None else None
            if topic is None or known is None or (opener := known.opener) is None:
                continue
            try:
                opened = opener.open(frame.topic, frame.payload)
                if topic.message == MeterFrame.message and topic.direction is Direction.UP:
                    metered.append((place, topic, opener, opened))
                    continue
                message = codec.decode(topic.direction, topic.message, opened.body)
            except ProtocolError:
                continue
            ahead[place] = Ahead(opener, opened, message)
        said = sample_columns.decode([opened.body for _, _, _, opened in metered])
        in_charging = MeterWords().of
        for (place, topic, opener, opened), message in zip(metered, said, strict=True):
            if message is not None:
                words = in_charging(topic.pile_id, frames[place].received_at, message)
                ahead[place] = Ahead(opener, opened, message, words)
        return ahead

    def read(
        self, conn: Connection, frames: Sequence[Frame], opened: Sequence["Ahead | None"] = ()
    ) -> list[Reading]:
        """Each frame's reading, in order, and that of a frame it carries right after it.

        The connection serves the look-ups of piles not known yet; `opened` is what `open_ahead` made of the frames, if
        it was asked. Without frames nobody waits, and what is known is asked for anew before it is too old.
        """
        if not frames:
            self._registry.refresh_ahead(conn)
        parsed = [_parse(frame.topic) for frame in frames]
        self._registry.refresh(conn, [topic.pile_id for topic in parsed if topic is not None])
        batch: _Batch = {}
        readings = [
            self._read(conn, frame, topic, batch, ahead)
            for frame, topic, ahead in zip(frames, parsed, opened or repeat(None), strict=False)
        ]
        return self._with_relayed(conn, readings, batch)

    def first_uses(self, heard: Sequence[Heard]) -> dict[str, int]:
        """The piles heard under a secret they were offered and had not used before, with its epoch."""
        uses: dict[str, int] = {}
        for one in heard:
            known = self._registry.find(one.pile_id)
            if known is not None and one.epoch in known.offered:
                uses[one.pile_id] = max(one.epoch, uses.get(one.pile_id, 0))
        return uses

    def committed(self, readings: Sequence[Reading]) -> None:
        """Remember frames whose transaction is committed, in order; before that a repeat is as good as the first.

        Signs are given here, too: a batch is read as often as it takes to commit it.
        """
        now_s = self._seconds()
        for reading in readings:
            if isinstance(reading, Heard):
                self._committed(reading, now_s)
            elif isinstance(reading, Refused) and reading.reuse and not reading.frame.redelivered:
                pile_id, epoch, counter = reading.reuse
                signs = self._watch.reused(pile_id, epoch=epoch, counter=counter, now_s=now_s)
                self._wards.suspects(pile_id, signs)

    def _committed(self, heard: Heard, now_s: float) -> None:
        pile_id, epoch, counter = heard.pile_id, heard.epoch, heard.counter
        self._window.commit(pile_id, epoch=epoch, boot=counter.boot, seq=counter.seq, mark=_mark(heard.frame))
        known = self._registry.find(pile_id)
        if known is not None and epoch in known.offered:
            known.offered -= {epoch}
        message = heard.message
        if isinstance(message, _TELLS_CONNECTION) and not heard.frame.redelivered:
            sign = self._watch.heard(
                pile_id, epoch=epoch, counter=counter, connection=message.connection, now_s=now_s
            )
            if sign is not None:
                self._wards.suspects(pile_id, [sign])

    def _with_relayed(self, conn: Connection, readings: Sequence[Reading], batch: "_Batch") -> list[Reading]:
        children = [child for reading in readings if (child := _carried_child(reading)) is not None]
        if not children:
            return list(readings)
        self._registry.refresh(conn, filter(topics.is_pile_id, children))
        together: list[Reading] = []
        for reading in readings:
            together.append(reading)
            carrier = reading.heard if isinstance(reading, Repeated) else reading
            if isinstance(carrier, Heard) and _carried_child(carrier) is not None:
                together.append(self._read_relayed(conn, carrier, batch))
        return together

    def _read_relayed(self, conn: Connection, carrier: Heard, batch: "_Batch") -> Reading:
        inner = relaying.inner_frame(carrier)
        if inner is None:
            return Refused(carrier.frame, BadTopic.reason)
        frame, topic = inner
        known = self._registry.find(topic.pile_id)
        standing = known.standing if known is not None else None
        if standing is None or standing.parent_pile_id != carrier.pile_id:
            return Refused(frame, Refusal.NOT_THIS_HOSTS_CHILD)
        reading = self._read(conn, frame, topic, batch)
        nested = _carried_child(reading) is not None
        return Refused(frame, Refusal.NOT_THIS_HOSTS_CHILD) if nested else reading

    def _read(
        self,
        conn: Connection,
        frame: Frame,
        topic: Topic | None,
        batch: "_Batch",
        ahead: "Ahead | None" = None,
    ) -> Reading:
        if topic is None or topic.direction is not Direction.UP:
            return Refused(frame, BadTopic.reason)
        pile_id = topic.pile_id
        known = self._registry.find(pile_id)
        refusal = _standing_refusal(known, topic)
        if known is None or refusal is not None:
            if refusal in _SHUT_OUT:
                self._wards.heard_barred(pile_id)
            return Refused(frame, refusal or Refusal.UNKNOWN_PILE)
        try:
            # What was opened with keys replaced since is opened again.
            ready = ahead if ahead is not None and ahead.opener is known.opener else None
            opened = ready.opened if ready else self._open(conn, known, pile_id, frame)
        except ProtocolError as error:
            return Refused(frame, error.reason)
        repeats = self._repeats(pile_id, opened, frame, batch)
        if isinstance(repeats, Refused):
            return repeats
        try:
            message = ready.message if ready else codec.decode(Direction.UP, topic.message, opened.body)
        except ProtocolError as error:
            return Refused(frame, error.reason, opened.counter)
        if isinstance(message, UnknownMessage):
            return Refused(frame, Refusal.UNKNOWN_MESSAGE)
        metered = ready.metered if ready else None
        heard = Heard(frame, pile_id, opened.epoch, opened.counter, message, self._waits, metered)
        return Repeated(heard) if repeats else heard

    def _repeats(self, pile_id: str, opened: Opened, frame: Frame, batch: "_Batch") -> bool | Refused:
        """Whether the broker delivers a frame of this batch or a committed one again; no other may use its counter."""
        boot, seq = opened.counter
        earlier = batch.setdefault((pile_id, opened.epoch, boot, seq), frame)
        if earlier is not frame:
            differs = _mark(earlier) != _mark(frame)
        elif self._window.seen(pile_id, epoch=opened.epoch, boot=boot, seq=seq):
            differs = self._window.differs(pile_id, epoch=opened.epoch, boot=boot, seq=seq, mark=_mark(frame))
        else:
            return False
        if differs:
            return Refused(frame, Refusal.COUNTER_REUSED, reuse=Reuse(pile_id, opened.epoch, opened.counter))
        return frame.redelivered or Refused(frame, Refusal.REPLAYED)

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


def _carried_child(reading: Reading) -> str | None:
    """The pile whose frame this one carries; None for any other reading."""
    heard = reading.heard if isinstance(reading, Repeated) else reading
    if isinstance(heard, Heard) and isinstance(heard.message, messages.RelayUp):
        return heard.message.child
    return None


def _mark(frame: Frame) -> int:
    """64 bits of the frame's authentication tag, which ends it: no two contents share them but by chance."""
    return int.from_bytes(frame.payload[-8:], "big")


@lru_cache(maxsize=65_536)
def _parse(topic: str) -> Topic | None:
    try:
        return topics.parse(topic)
    except BadTopic:
        return None
