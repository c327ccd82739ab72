"""What a pile hears: each frame opened, held to sections 5 to 7 of the contract, and kept until it is asked for."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeVar

import cbor2

from conformance.case import Failed
from conformance.platform.enrolling import Identity
from conformance.platform.wire import Arrived
from protocol import codec, messages, topics
from protocol.envelope import Counter, Opener
from protocol.errors import ProtocolError
from protocol.fields import Message
from protocol.messages import UnknownMessage
from protocol.topics import Direction

MAX_KEPT: Final = 2_000
"""Frames one pile keeps unheard, and remembers to know them again."""
_TAG_16: Final = 0xD0
_A256GCM: Final = b"\xa1\x01\x03"

_M = TypeVar("_M", bound=Message)


class Heard(NamedTuple):
    """One message down; `at_s` is the monotonic second of its arrival."""

    message: Message
    epoch: int
    counter: Counter
    at_s: float

    def of(self, kind: type[_M]) -> _M:
        """The message as the kind it was asked for as."""
        assert isinstance(self.message, kind)
        return self.message


class Ear:
    """Opens, judges and keeps what comes down. Everything runs in the event loop."""

    def __init__(self, identity: Identity, *, hand_on: Callable[[messages.RelayDown], None]) -> None:
        """`hand_on` is given what is for a pile behind this one."""
        self.violations: list[str] = []
        self.newest: dict[int, Counter] = {}
        self._prefix = f"v1/{topics.shard_of(identity.pile_id)}/{identity.pile_id}/down/"
        self._kept: deque[Heard] = deque(maxlen=MAX_KEPT)
        self._seen: dict[tuple[int, Counter], bytes] = {}
        self._came = asyncio.Condition()
        self._hand_on = hand_on

    def hear(self, arrived: Arrived, secrets: Mapping[int, bytes]) -> None:
        """Take one frame; what is wrong with it is written down as a violation."""
        self._take(arrived, secrets)
        asyncio.ensure_future(self._ring())  # noqa: RUF006 - it only wakes whoever waits

    def _take(self, arrived: Arrived, secrets: Mapping[int, bytes]) -> None:
        if not arrived.topic.startswith(self._prefix):
            self.violations.append(f"a message came on {arrived.topic}, which is not the pile's")
            return
        try:
            epoch, counter, body = Opener(secrets, direction=Direction.DOWN).open(
                arrived.topic, arrived.payload
            )
            name = arrived.topic.removeprefix(self._prefix)
            message = codec.decode(Direction.DOWN, name, body)
        except ProtocolError as error:
            self.violations.append(f"{arrived.topic}: {error.reason}: {error}")
            return
        if self._is_old(arrived, epoch, counter):
            return
        self._judge(arrived, body)
        if isinstance(message, UnknownMessage):
            self.violations.append(f"{arrived.topic}: the contract has no such message")
            return
        if isinstance(message, messages.RelayDown):
            self._hand_on(message)
            return
        self._kept.append(Heard(message, epoch, counter, time.monotonic()))

    async def next(self, kind: type[_M], *, where: Callable[[_M], bool] | None, within_s: float) -> Heard:
        """Take the oldest kept message of a kind, waiting for one. Raises Failed, at once after a violation."""
        try:
            async with asyncio.timeout(within_s), self._came:
                while not (found := self.waiting(kind, where=where)):
                    if self.violations:
                        raise Failed(self.violations[0])
                    await self._came.wait()
                self._kept.remove(found[0])
                return found[0]
        except TimeoutError:
            others = ", ".join(sorted(set(self.names))) or "nothing"
            raise Failed(f"no {kind.message} within {within_s:.0f} s; what came: {others}") from None

    def waiting(self, kind: type[_M], *, where: Callable[[_M], bool] | None) -> list[Heard]:
        """Kept messages of a kind, oldest first."""
        return [
            heard
            for heard in self._kept
            if isinstance(heard.message, kind) and (where is None or where(heard.message))
        ]

    @property
    def names(self) -> list[str]:
        """Names of all that is kept, oldest first."""
        return [heard.message.message for heard in self._kept]

    def clear(self) -> None:
        """Forget what is kept."""
        self._kept.clear()

    async def _ring(self) -> None:
        async with self._came:
            self._came.notify_all()

    def _is_old(self, arrived: Arrived, epoch: int, counter: Counter) -> bool:
        """Whether the broker gave us an old frame again; a counter for two frames, or a smaller one, is a violation."""
        before = self._seen.get((epoch, counter))
        if before is not None:
            if before != arrived.payload:
                self.violations.append(f"{arrived.topic}: counter {tuple(counter)} was used before")
            return True
        self._seen[epoch, counter] = arrived.payload
        if len(self._seen) > MAX_KEPT:
            self._seen.pop(next(iter(self._seen)))
        newest = self.newest.get(epoch, Counter(0, 0))
        if counter <= newest:
            self.violations.append(
                f"{arrived.topic}: counter {tuple(counter)} after {tuple(newest)}, so a pile would not take it"
            )
            return True
        self.newest[epoch] = counter
        return False

    def _judge(self, arrived: Arrived, body: bytes) -> None:
        if arrived.payload[:1] != bytes((_TAG_16,)):
            self.violations.append(f"{arrived.topic}: the frame has no CBOR tag 16")
        else:
            protected = cbor2.loads(arrived.payload[1:])[0]
            if protected != _A256GCM:
                self.violations.append(
                    f"{arrived.topic}: the protected header is {protected.hex()}, not a10103"
                )
        if cbor2.dumps(cbor2.loads(body), canonical=True) != body:
            self.violations.append(f"{arrived.topic}: the body is not in deterministic encoding")
        if arrived.retained:
            self.violations.append(f"{arrived.topic}: the message was retained")
