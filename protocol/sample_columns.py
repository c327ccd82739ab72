"""Meter frames read many at once, column by column: what a gateway does with thousands of samples a second.

In the usual form, the one deterministic CBOR gives a meter frame, a sample begins with three bytes that are seldom
found elsewhere: the head of its array, its port, and the head of its session's id. Where they stand in all the bodies
is found at once; then field by field is read of all samples together. A frame counts as read when its samples, as
counted, follow each other without a gap from the map's head to the fields behind them, and every value is in the range
the fields declare. Any other frame is left to `codec.decode`, which says what is wrong with it or reads it after all.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, TypeVar, overload
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from protocol import codec, fields
from protocol.errors import ProtocolError
from protocol.fields import Choice, Integer, Kind, Rows, Uuid
from protocol.messages import MeterFrame, PortSample

_K = TypeVar("_K", bound=Kind)
Numbers = NDArray[np.int64]

FEWEST_BODIES: Final = 24
"""Fewer are read one by one: what columns cost at all is more than they save."""
MAX_BODY_BYTES: Final = 4096
"""More than twenty samples need; longer bodies are read one by one."""
SESSION_BYTES: Final = 16


class SampleBlock:
    """The samples of many frames by column, in the order of PortSample's fields; `sessions` stands for the ids.

    It is never changed. `columns` has None in the place of the ids, whose bytes are `sessions`, two words a sample.
    """

    __slots__ = ("columns", "sessions")

    def __init__(self, columns: tuple[Numbers | None, ...], sessions: NDArray[np.uint64]) -> None:
        self.columns = columns
        self.sessions = sessions

    def samples(self, start: int, stop: int) -> list[PortSample]:
        """These samples, each as its row."""
        raw = self.sessions[start:stop].tobytes()
        ids = [UUID(bytes=raw[at : at + SESSION_BYTES]) for at in range(0, len(raw), SESSION_BYTES)]
        by_field: list[list[Any]] = [
            ids if column is None else column[start:stop].tolist() for column in self.columns
        ]
        by_field[-1] = [_PHASES[number] for number in by_field[-1]]
        return [PortSample(*row) for row in zip(*by_field, strict=True)]


class SampleRange(Sequence[PortSample]):
    """One frame's part of a block: a sequence like the tuple it equals, whose rows are made when asked for."""

    __slots__ = ("block", "start", "stop")

    def __init__(self, block: SampleBlock, start: int, stop: int) -> None:
        self.block = block
        self.start = start
        self.stop = stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[PortSample]:
        return iter(self.block.samples(self.start, self.stop))

    @overload
    def __getitem__(self, index: int) -> PortSample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PortSample]: ...
    def __getitem__(self, index: int | slice) -> PortSample | Sequence[PortSample]:
        return tuple(self)[index]

    def __eq__(self, other: object) -> bool:
        return tuple(self) == (tuple(other) if isinstance(other, SampleRange) else other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def decode(bodies: Sequence[bytes]) -> list[MeterFrame | None]:
    """The meter frames of these bodies, as `codec.decode` reads each; None for one that it refuses."""
    in_columns = read(bodies) if len(bodies) >= FEWEST_BODIES else [None] * len(bodies)
    return [message or _decode_alone(body) for message, body in zip(in_columns, bodies, strict=True)]


def read(bodies: Sequence[bytes]) -> list[MeterFrame | None]:
    """The meter frames of these bodies; None in the place of one that is not in the usual form, or not valid."""
    laid = _Bodies(bodies)
    at = laid.sample_heads()
    counts = np.searchsorted(at, laid.ends) - np.searchsorted(at, laid.starts)
    usual = laid.has_usual_frame(counts)
    if not usual.any():
        return [None] * len(bodies)
    # A body full of what looks like samples costs no more than any other.
    at = at[np.repeat(usual, counts)]
    last = np.cumsum(np.where(usual, counts, 0))
    first = np.append(0, last[:-1])

    columns, sessions, after, wrong = _samples(laid.words, at)
    follows = np.append(at[1:], 0)
    follows[last[usual] - 1] = laid.tails[usual]
    wrong |= after != follows
    wrong[first[usual]] |= at[first[usual]] != laid.starts[usual] + _SAMPLES_AT
    valid = usual.copy()
    valid[usual] = ~np.logical_or.reduceat(wrong, first[usual])
    return _messages(SampleBlock(columns, sessions), laid, valid, first, last)


class _Bodies:
    """Bodies laid one after the other; `words` are the eight bytes that begin at each byte."""

    def __init__(self, bodies: Sequence[bytes]) -> None:
        bodies = [body if len(body) <= MAX_BODY_BYTES else b"" for body in bodies]
        lengths = np.fromiter(map(len, bodies), np.int64, len(bodies))
        self.ends = np.cumsum(lengths)
        self.starts = self.ends - lengths
        laid = b"".join((*bodies, bytes(_ROOM_BYTES)))
        self.octets = np.frombuffer(laid, np.uint8)
        self.words: NDArray[np.uint64] = np.ndarray((len(laid) - 7,), ">u8", laid, strides=(1,))
        map_head = self.octets[self.starts]
        self.receipted = map_head == _MAP_OF_4
        self.plain = map_head == _MAP_OF_3
        self.tails = self.ends - np.where(self.receipted, 4, 2)
        self.sampled_at_ms = self.words[self.starts + _INSTANT_AT].astype(np.uint64)

    def sample_heads(self) -> Numbers:
        """Where a sample may begin."""
        octets = self.octets
        port = octets[1:-1] - np.uint8(_PORT.low)
        likely = (octets[:-2] == _SAMPLE) & (octets[2:] == _SESSION) & (port <= _PORT.high - _PORT.low)
        return np.flatnonzero(likely)

    def has_usual_frame(self, counts: Numbers) -> NDArray[np.bool_]:
        """Of which bodies everything around the samples is as it usually is, for so many samples."""
        octets, tails = self.octets, np.maximum(self.tails, 0)
        usual = self.plain | self.receipted
        for place, byte in _BEGIN:
            usual &= octets[self.starts + place] == byte
        usual &= octets[self.starts + _COUNT_AT] == counts + _ARRAY
        usual &= (counts >= _SAMPLES.min_rows) & (counts <= _SAMPLES.max_rows)
        usual &= (self.sampled_at_ms >= _INSTANT.low) & (self.sampled_at_ms <= _INSTANT.high)
        usual &= (octets[tails] == _CLOCK_KEY) & _IS_CLOCK[octets[tails + 1]]
        usual &= self.plain | ((octets[tails + 2] == _RECEIPT_KEY) & _IS_RECEIPT[octets[tails + 3]])
        return usual


def _decode_alone(body: bytes) -> MeterFrame | None:
    try:
        message = codec.decode(MeterFrame.direction, MeterFrame.message, body)
    except ProtocolError:
        return None
    return message if isinstance(message, MeterFrame) else None


def _samples(
    words: NDArray[np.uint64], at: Numbers
) -> tuple[tuple[Numbers | None, ...], NDArray[np.uint64], Numbers, NDArray[np.bool_]]:
    """The columns of the samples that begin here, the ids, where each ends, and which hold a value out of range."""
    columns: list[Numbers | None] = []
    sessions = np.empty((len(at), 2), ">u8")
    wrong = np.zeros(len(at), np.bool_)
    at = at + 1
    for kind in _KINDS:
        if isinstance(kind, Uuid):
            sessions[:, 0], sessions[:, 1] = words[at + 1], words[at + 9]
            at += 1 + SESSION_BYTES
            columns.append(None)
            continue
        word = words[at].astype(np.uint64)
        head = (word >> _HEAD_SHIFT).view(np.int64)
        word >>= _SHIFT.take(head)
        word &= _MASK.take(head)
        word ^= _FLIP.take(head)
        number = word.view(np.int64)
        wrong |= (number < kind.low) | (number > kind.high)
        at += _STEP.take(head)
        columns.append(number)
    return tuple(columns), sessions, at, wrong


def _messages(
    block: SampleBlock, bodies: _Bodies, valid: NDArray[np.bool_], first: Numbers, last: Numbers
) -> list[MeterFrame | None]:
    tails = np.maximum(bodies.tails, 0)
    receipt = np.where(bodies.receipted, bodies.octets[tails + 3], _NO_RECEIPT)
    return [
        MeterFrame(at_ms, SampleRange(block, start, stop), _CLOCKS[clock], _RECEIPTS.get(wish))  # pyright: ignore[reportArgumentType]  # a sequence that equals the tuple
        if good
        else None
        for good, at_ms, start, stop, clock, wish in zip(
            valid.tolist(),
            bodies.sampled_at_ms.tolist(),
            first.tolist(),
            last.tolist(),
            bodies.octets[tails + 1].tolist(),
            receipt.tolist(),
            strict=True,
        )
    ]


def _kinds_of(cls: type[MeterFrame]) -> dict[str, Kind]:
    schema = fields.message_schema(cls.direction, cls.message)
    assert schema is not None
    assert [field.key for field in schema.fields] == [1, 2, 3, 4], "the frame below is laid out otherwise"
    return {field.name: field.kind for field in schema.fields}


def _range_of(kind: Kind) -> Integer | Uuid:
    """What the column reader takes of a field: of a choice, the members that follow each other."""
    match kind:
        case Integer() | Uuid():
            return kind
        case Choice(members=members):
            numbers = sorted(members)
            gap = next((low for low, high in pairwise(numbers) if high != low + 1), numbers[-1])
            return Integer(numbers[0], gap)
        case _:
            raise TypeError(f"no column holds a {type(kind).__name__}")


def _declared(kind: Kind, expected: type[_K]) -> _K:
    assert isinstance(kind, expected), "the frame is declared otherwise than it is read here"
    return kind


def _known(members: dict[int, Any]) -> NDArray[np.bool_]:
    """By a byte, whether it is the number of a member; larger numbers take more than their head."""
    return np.array([number in members and number < _LARGER for number in range(256)])


_LARGER: Final = 24
"""Of this and larger numbers the head says only how many bytes they have (RFC 8949, section 3)."""
_MAP_OF_3: Final = 0xA3
_MAP_OF_4: Final = 0xA4
_ARRAY: Final = 0x80
_SESSION: Final = 0x40 + SESSION_BYTES
_INSTANT_AT: Final = 3
_COUNT_AT: Final = 12
_SAMPLES_AT: Final = 13
_BEGIN: Final = ((1, 0x01), (2, 0x1B), (11, 0x02))
"""Behind the map's head: key 1 and an integer of eight bytes, key 2 and an array."""
_CLOCK_KEY: Final = 0x03
_RECEIPT_KEY: Final = 0x04
_NO_RECEIPT: Final = 255
_ROOM_BYTES: Final = 256
"""Behind the last body: what is read as a sample there cannot reach beyond."""

_FRAME: Final = _kinds_of(MeterFrame)
_INSTANT: Final = _declared(_FRAME["sampled_at_ms"], Integer)
_SAMPLES: Final = _declared(_FRAME["samples"], Rows)
_CLOCKS: Final = _declared(_FRAME["clock"], Choice).members
_RECEIPTS: Final = _declared(_FRAME["receipt"], Choice).members
_IS_CLOCK: Final = _known(_CLOCKS)
_IS_RECEIPT: Final = _known(_RECEIPTS)

_DECLARED: Final = fields.row_schema(PortSample).columns
_KINDS: Final = tuple(_range_of(kind) for _, kind in _DECLARED)
_PORT: Final = _declared(_KINDS[0], Integer)
assert isinstance(_KINDS[1], Uuid), "a sample is found by its id's head"
_PHASES: Final = _declared(_DECLARED[-1][1], Choice).members
_SAMPLE: Final = _ARRAY + len(_KINDS)

# By the first byte of an integer in a word of eight: what brings its value down, leaves nothing else, makes it
# negative, and how long it is. Whatever is no integer of at most four bytes becomes a number outside every range.
_HEAD_SHIFT: Final = np.uint64(56)
_SHIFT: Final = np.zeros(256, np.uint64)
_MASK: Final = np.zeros(256, np.uint64)
_FLIP: Final = np.full(256, 1 << 62, np.uint64)
_STEP: Final = np.ones(256, np.int64)
for _major, _flip in ((0x00, 0), (0x20, (1 << 64) - 1)):
    for _info, _size in [*((info, 0) for info in range(_LARGER)), (24, 1), (25, 2), (26, 4)]:
        _SHIFT[_major + _info] = 56 - 8 * _size
        _MASK[_major + _info] = (1 << 8 * _size) - 1 if _size else 0x1F
        _FLIP[_major + _info] = _flip
        _STEP[_major + _info] = 1 + _size
