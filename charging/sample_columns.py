"""Samples of many frames by column, and the rows of a COPY packed of them: thousands at once, without an object each.

In memory a row looks as in PostgreSQL's binary format: every value with its length before it, the number of values
before all. Only a pile's id varies in length, so the frames are packed apart by that.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, overload
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from charging.meter_frames import COLUMNS, PortSample

Numbers = NDArray[np.int64]

SESSION_BYTES = 16
PIECE_ROWS = 2000
"""So many are packed and handed over at once: the server stores them while the next are packed."""


class SampleColumns(NamedTuple):
    """Samples by the fields of PortSample; None in the place of the ids, which are `sessions`, two words each."""

    columns: Sequence[Numbers | None]
    sessions: NDArray[np.uint64]


class FrameSamples(Sequence[PortSample]):
    """One frame's samples in a block; each is made when it is asked for."""

    __slots__ = ("block", "start", "stop")

    def __init__(self, block: SampleColumns, start: int, stop: int) -> None:
        self.block = block
        self.start = start
        self.stop = stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[PortSample]:
        raw = self.block.sessions[self.start : self.stop].tobytes()
        ids = [_uuid(raw[at : at + SESSION_BYTES]) for at in range(0, len(raw), SESSION_BYTES)]
        by_field: list[list[Any]] = [
            ids if column is None else column[self.start : self.stop].tolist()
            for column in self.block.columns
        ]
        return map(PortSample._make, zip(*by_field, strict=True))

    @overload
    def __getitem__(self, index: int) -> PortSample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PortSample]: ...
    def __getitem__(self, index: int | slice) -> PortSample | Sequence[PortSample]:
        return tuple(self)[index]


class SampledFrame(NamedTuple):
    """What a frame gives to each of its rows; instants in microseconds since 2000."""

    pile_id: bytes
    sampled_us: int
    received_us: int
    samples: FrameSamples


def packed(frames: Iterable[SampledFrame]) -> Iterator[memoryview]:
    """The rows of a COPY in binary format, in pieces, without what stands before and behind all of them."""
    by_size: dict[int, list[SampledFrame]] = {}
    for frame in frames:
        by_size.setdefault(len(frame.pile_id), []).append(frame)
    for size, alike in by_size.items():
        yield from _pieces(alike, _row_template(size))


def _pieces(frames: Sequence[SampledFrame], template: NDArray[np.void]) -> Iterator[memoryview]:
    block, rows, counts = _gathered([frame.samples for frame in frames])
    of_frame = np.repeat(np.arange(len(frames)), counts)
    pile_ids = np.array([frame.pile_id for frame in frames], template.dtype["pile_id"])
    sampled_us = np.array([frame.sampled_us for frame in frames], np.int64)
    received_us = np.array([frame.received_us for frame in frames], np.int64)
    for first in range(0, len(rows), PIECE_ROWS):
        some, its_frame = rows[first : first + PIECE_ROWS], of_frame[first : first + PIECE_ROWS]
        piece = np.repeat(template, len(some))
        piece["pile_id"] = pile_ids.take(its_frame)
        piece["sampled_at"] = sampled_us.take(its_frame)
        piece["received_at"] = received_us.take(its_frame)
        for (name, _), column in zip(COLUMNS, block.columns, strict=True):
            if column is None:
                piece[name] = block.sessions.take(some, axis=0)
            else:
                piece[name] = column.take(some)
        yield memoryview(piece.view(np.uint8))  # pyright: ignore[reportArgumentType]  # an array is a buffer


def _gathered(ranges: Sequence[FrameSamples]) -> tuple[SampleColumns, Numbers, Numbers]:
    """One block of all that these ranges are of, the places of their samples in it, and how many each has."""
    blocks = {id(one.block): one.block for one in ranges}
    shifts: dict[int, int] = {}
    size = 0
    for key, block in blocks.items():
        shifts[key] = size
        size += len(block.sessions)
    starts = np.array([shifts[id(one.block)] + one.start for one in ranges], np.int64)
    counts = np.array([len(one) for one in ranges], np.int64)
    behind = np.cumsum(counts)
    places: Numbers = np.arange(behind[-1], dtype=np.int64) + np.repeat(starts - (behind - counts), counts)
    return _joined(list(blocks.values())), places, counts


def _joined(blocks: Sequence[SampleColumns]) -> SampleColumns:
    if len(blocks) == 1:
        return blocks[0]
    columns: list[Numbers | None] = []
    for parts in zip(*(block.columns for block in blocks), strict=True):
        some = [part for part in parts if part is not None]
        columns.append(np.concatenate(some) if some else None)
    return SampleColumns(columns, np.concatenate([block.sessions for block in blocks]))


@lru_cache(maxsize=64)
def _row_template(pile_id_bytes: int) -> NDArray[np.void]:
    """A row with everything but its values, of a pile whose id has so many bytes."""
    sizes = {"pile_id": pile_id_bytes, "sampled_at": 8, "received_at": 8} | dict(COLUMNS)
    kinds = {2: ">i2", 4: ">i4", 8: ">i8"}
    layout: list[tuple[Any, ...]] = [("values", ">i2")]
    for name, size in sizes.items():
        layout.append((f"{name} length", ">i4"))
        if name == "pile_id":
            layout.append((name, f"S{size}"))
        elif size == SESSION_BYTES:
            layout.append((name, ">u8", (2,)))
        else:
            layout.append((name, kinds[size]))
    template = np.zeros(1, np.dtype(layout))
    template["values"] = len(sizes)
    for name, size in sizes.items():
        template[f"{name} length"] = size
    return template


@lru_cache(maxsize=16_384)
def _uuid(raw: bytes) -> UUID:
    """A session's samples repeat its id for hours."""
    return UUID(bytes=raw)
