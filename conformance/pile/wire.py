"""One pile's frames: everything it said, opened and in order of arrival, and everything said to it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from conformance.case import Failed
from conformance.pile.desk import Register
from conformance.pile.manners import Manners
from conformance.pile.tap import Tap
from protocol import frames, topics
from protocol.envelope import Counter, Opened, Opener, Sealer
from protocol.errors import ProtocolError, UnknownEpoch
from protocol.fields import Message
from protocol.frames import Frame
from protocol.messages import RelayDown, RelayUp
from protocol.topics import Direction, Topic

ANSWER_LIMIT_S: Final = 10.0
"""How long a case waits for a message unless it says otherwise, in real seconds; the protocol asks for 3."""
MAX_HEARD: Final = 20_000
FIRST_DOWN: Final = Counter(0, 1)

M = TypeVar("M", bound=Message)

Publish = Callable[[Frame], None]
Offer = Callable[[Register, bytes], str]
"""Lays firmware out for a pile and gives its address."""


@dataclass(frozen=True)
class Heard:
    """One frame as it came; ``message`` is None where it did not open or decode, and ``error`` says why."""

    index: int
    at_s: float
    now_ms: int
    topic: str
    name: str
    payload: bytes
    message: Message | None
    opened: Opened | None
    error: str


@dataclass
class Wire:
    """The platform's end of one pile. ``children`` are the wires of the piles behind it, by their ids."""

    pile_id: str
    tap: Tap
    register: Register
    now_ms: Callable[[], int]
    publish: Publish
    offer: Offer
    manners: Manners = field(default_factory=Manners)
    heard: list[Heard] = field(default_factory=list[Heard])
    counters: dict[int, Counter] = field(default_factory=dict[int, Counter])
    sealing_epoch: int | None = None
    said: list[Frame] = field(default_factory=list[Frame])
    children: dict[str, "Wire"] = field(default_factory=dict[str, "Wire"])
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.tap.on_change = self._changed.set
        self.register.on_application = self._changed.set

    @property
    def epoch(self) -> int:
        """The epoch frames down are sealed under: the newest enrolled one, unless a case has chosen another."""
        return self.sealing_epoch or max(self.register.secrets, default=0)

    def take_in(self, topic: str, payload: bytes) -> None:
        """A frame has come up: write it down and answer as manners demand."""
        if len(self.heard) >= MAX_HEARD:
            return
        heard = self._read(topic, payload)
        self.heard.append(heard)
        self._changed.set()
        if isinstance(heard.message, RelayUp):
            self._hear_child(heard.message)
        if heard.message is None or heard.opened is None:
            return
        answer = self.manners.answer(heard.message, self.now_ms(), counter=heard.opened.counter)
        if answer is not None:
            self.say(answer)

    def carry(self, frame: Frame) -> None:
        """Have the pile hand a frame on to the one behind it that the topic names."""
        topic = topics.parse(frame.topic)
        self.say(RelayDown(topic.pile_id, topic.message, frame.payload))

    def opened(self, topic: str, payload: bytes) -> Opened:
        """Open a frame of this pile under any epoch it was given. Raises ProtocolError."""
        if not self.register.secrets:
            raise UnknownEpoch(0)
        return Opener(self.register.secrets, direction=Direction.UP).open(topic, payload)

    def sealed(self, message: Message, *, counter: Counter | None = None, epoch: int | None = None) -> Frame:
        """The message in an envelope, under the next counter unless one is given."""
        used = self.epoch if epoch is None else epoch
        sealer = Sealer(self.register.secrets[used], epoch=used, direction=Direction.DOWN)
        number = self.next_counter(used) if counter is None else counter
        return frames.seal(message, sealer=sealer, pile_id=self.pile_id, counter=number)

    def next_counter(self, epoch: int) -> Counter:
        """The next counter down under an epoch."""
        last = self.counters.get(epoch)
        following = FIRST_DOWN if last is None else Counter(last.boot, last.seq + 1)
        self.counters[epoch] = following
        return following

    def say(self, message: Message) -> Frame:
        """Seal a message and send it down."""
        frame = self.sealed(message)
        self.send(frame)
        return frame

    def send(self, frame: Frame) -> None:
        """Send a frame down as it is; frames leave in the order of these calls."""
        self.said.append(frame)
        self.publish(frame)

    def topic(self, name: str) -> str:
        """The topic of a message down."""
        return str(Topic(topics.shard_of(self.pile_id), self.pile_id, Direction.DOWN, name))

    def all(self, kind: type[M], where: Callable[[M], bool] = lambda _m: True, *, after: int = 0) -> list[M]:
        """Every message of a kind so far, in order of arrival."""
        return [message for message, _ in self.each(kind, where, after=after)]

    def each(
        self, kind: type[M], where: Callable[[M], bool] = lambda _m: True, *, after: int = 0
    ) -> list[tuple[M, Heard]]:
        """Every message of a kind so far, each with how it came."""
        return [
            (heard.message, heard)
            for heard in self.heard[after:]
            if isinstance(heard.message, kind) and where(heard.message)
        ]

    async def hear(
        self,
        kind: type[M],
        where: Callable[[M], bool] = lambda _m: True,
        *,
        within_s: float = ANSWER_LIMIT_S,
        after: int = 0,
        nth: int = 1,
    ) -> M:
        """The first (or nth) message of a kind, waited for if need be. Raises Failed."""
        message, _ = await self.hear_frame(kind, where, within_s=within_s, after=after, nth=nth)
        return message

    async def hear_frame(
        self,
        kind: type[M],
        where: Callable[[M], bool] = lambda _m: True,
        *,
        within_s: float = ANSWER_LIMIT_S,
        after: int = 0,
        nth: int = 1,
    ) -> tuple[M, Heard]:
        """As ``hear``, with how it came."""
        which = "" if nth == 1 else f" number {nth}"
        await self.until(
            lambda: len(self.each(kind, where, after=after)) >= nth,
            lambda: (
                f"no {kind.message}{which} as expected within {within_s:.0f} s; {self._last_words(after)}"
            ),
            within_s=within_s,
        )
        return self.each(kind, where, after=after)[nth - 1]

    async def until(
        self, holds: Callable[[], bool], otherwise: Callable[[], str], *, within_s: float = ANSWER_LIMIT_S
    ) -> None:
        """Wait until something holds of what was heard, or of the connections. Raises Failed."""
        deadline_s = time.monotonic() + within_s
        while not holds():
            self._changed.clear()
            try:
                async with asyncio.timeout(deadline_s - time.monotonic()):
                    await self._changed.wait()
            except TimeoutError:
                if holds():
                    return
                raise Failed(otherwise()) from None

    def _hear_child(self, relay: RelayUp) -> None:
        child = self.children.get(relay.child)
        if child is not None:
            shard = topics.shard_of(relay.child)
            child.take_in(f"v1/{shard}/{relay.child}/{Direction.UP}/{relay.name}", relay.frame)

    def _read(self, topic: str, payload: bytes) -> Heard:
        message, opened, error, name = None, None, "", topic.rpartition("/")[2]
        try:
            parsed = topics.parse(topic)
            opened = self.opened(topic, payload)
            opener = Opener(self.register.secrets, direction=Direction.UP)
            read = frames.open_frame(opener, topic=parsed, payload=payload)
            message = read.message if isinstance(read.message, Message) else None
            error = "" if message is not None else "unknown_message"
        except ProtocolError as refused:
            error = f"{refused.reason}: {refused}"
        return Heard(
            index=len(self.heard),
            at_s=time.monotonic(),
            now_ms=self.now_ms(),
            topic=topic,
            name=name,
            payload=payload,
            message=message,
            opened=opened,
            error=error,
        )

    def _last_words(self, after: int) -> str:
        names = [
            heard.name if not heard.error else f"{heard.name} ({heard.error})" for heard in self.heard[after:]
        ]
        return f"heard {', '.join(names[-6:])}" if names else "nothing was heard"
