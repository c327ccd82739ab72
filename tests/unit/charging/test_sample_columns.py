"""Rows packed by column are those packed one by one, whatever frames of whatever blocks come together."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from charging import meter_rows
from charging.meter_frames import COLUMNS, MeterFrame, PortSample
from charging.sample_columns import PIECE_ROWS
from tests.meter_frames import in_a_block

START = datetime(2026, 3, 1, tzinfo=UTC)

SAMPLES = st.builds(
    PortSample,
    **{
        name: st.uuids() if size == 16 else st.integers(-(1 << 8 * size - 1), (1 << 8 * size - 1) - 1)
        for name, size in COLUMNS
    },
)
FRAMES = st.builds(
    MeterFrame,
    pile_id=st.text("ABC-1", min_size=1, max_size=3),
    sampled_at=st.integers(0, 10**6).map(lambda s: START + timedelta(milliseconds=s)),
    received_at=st.integers(0, 10**6).map(lambda s: START + timedelta(microseconds=s)),
    samples=st.lists(SAMPLES, min_size=1, max_size=3),
)


def rows_of(pieces: Sequence[bytes | memoryview]) -> list[bytes]:
    """The rows of a COPY file, cut apart."""
    copied = b"".join(pieces)
    assert copied.startswith(b"PGCOPY\n\xff\r\n\0")
    at, rows = 19, list[bytes]()
    while copied[at : at + 2] != b"\xff\xff":
        end = at + 2
        for _ in range(int.from_bytes(copied[at : at + 2], "big")):
            end += 4 + int.from_bytes(copied[end : end + 4], "big")
        rows.append(copied[at:end])
        at = end
    assert len(copied) == at + 2
    return rows


@settings(max_examples=40, deadline=None)
@given(st.lists(FRAMES, max_size=6), st.lists(FRAMES, min_size=1, max_size=4), st.lists(FRAMES, max_size=2))
def test_frames_of_any_blocks_become_the_rows_they_become_one_by_one(
    some: list[MeterFrame], more: list[MeterFrame], alone: list[MeterFrame]
) -> None:
    mixed = [*in_a_block(more)[::-1], *alone, *in_a_block(some)[1:]]
    plain = [*more, *alone, *some[1:]]
    assert sorted(rows_of(list(meter_rows.packed(mixed)))) == sorted(rows_of(list(meter_rows.packed(plain))))


def test_more_rows_than_a_piece_holds_come_in_pieces() -> None:
    values = {name: 1 for name, size in COLUMNS if size != 16}
    sample = PortSample(**values, session_id=UUID(int=7))
    frames = [MeterFrame("P1", START, START, [sample] * 20) for _ in range(PIECE_ROWS // 20 + 1)]
    pieces = list(meter_rows.packed(in_a_block(frames)))
    assert len(pieces) > 3
    assert rows_of(pieces) == rows_of(list(meter_rows.packed(frames)))


@settings(max_examples=25, deadline=None)
@given(st.lists(FRAMES, min_size=1, max_size=3))
def test_a_frames_samples_read_as_they_were_put_in(frames: list[MeterFrame]) -> None:
    for frame, plain in zip(in_a_block(frames), frames, strict=True):
        assert list(frame.samples) == plain.samples
        assert (len(frame.samples), frame.samples[0]) == (len(plain.samples), plain.samples[0])
        assert list(frame.samples[1:]) == plain.samples[1:]
