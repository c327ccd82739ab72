"""Meter frames and their samples into their tables, many at once and each once.

A frame is keyed (pile, sampled_at): whoever inserts that row stores the samples too. The samples go by COPY in
PostgreSQL's binary format, packed here: what psycopg does with a row, value by value, costs more than the server needs
to store it.
"""

from collections.abc import Iterator, Sequence
from struct import Struct

from psycopg import Connection
from psycopg.rows import TupleRow

from charging import sample_columns
from charging.meter_frames import MeterFrame
from charging.sample_columns import FrameSamples, SampledFrame
from database.packed_arrays import TextArray, TimestamptzArray, microseconds

WRITE_BYTES = 64 * 1024
"""About so much is handed to the connection at once: the server stores it while the next rows are packed."""


def claim(conn: Connection[TupleRow], frames: Sequence[MeterFrame]) -> list[MeterFrame]:
    """Insert the rows of the frames; gives those that are new. Of one instant the first frame counts."""
    by_key = {(frame.pile_id, microseconds(frame.sampled_at)): frame for frame in reversed(frames)}
    keys = sorted(by_key)
    inserted = conn.cursor(binary=True).execute(
        """
        INSERT INTO meter_frame (pile_id, sampled_at, received_at)
        SELECT pile_id, sampled_at, received_at
          FROM unnest(%(pile_ids)s, %(sampled_ats)s, %(received_ats)s) AS frame (pile_id, sampled_at, received_at)
        ON CONFLICT DO NOTHING
        RETURNING pile_id, sampled_at
        """,
        {
            "pile_ids": TextArray.of([pile_id for pile_id, _ in keys]),
            "sampled_ats": TimestamptzArray.of([sampled_us for _, sampled_us in keys]),
            "received_ats": TimestamptzArray.of([microseconds(by_key[key].received_at) for key in keys]),
        },
    )
    if inserted.rowcount == len(keys):
        return [by_key[key] for key in keys]
    return [by_key[pile_id, microseconds(sampled_at)] for pile_id, sampled_at in inserted]


def copy(conn: Connection[TupleRow], frames: Sequence[MeterFrame]) -> None:
    """Store the samples of new frames."""
    with (
        conn.cursor() as cursor,
        cursor.copy(
            """
            COPY meter_sample (pile_id, sampled_at, received_at, port_no, session_id, elapsed_s, window_s, voltage_dv,
                               current_ma, power_dw, power_factor_milli, energy_dwh, power_min_dw, power_max_dw,
                               power_mean_dw, temperature_dc, phase)
            FROM STDIN (FORMAT BINARY)
            """
        ) as rows,
    ):
        for piece in packed(frames):
            rows.write(piece)


def insert(conn: Connection[TupleRow], frames: Sequence[MeterFrame]) -> None:
    """Store the samples of new frames, on a server without COPY FROM STDIN."""
    rows = [
        (frame.pile_id, frame.sampled_at, frame.received_at, *sample[:-1], int(sample.phase))
        for frame in frames
        for sample in frame.samples
    ]
    conn.execute(
        """
        INSERT INTO meter_sample (pile_id, sampled_at, received_at, port_no, session_id, elapsed_s, window_s,
                                  voltage_dv, current_ma, power_dw, power_factor_milli, energy_dwh, power_min_dw,
                                  power_max_dw, power_mean_dw, temperature_dc, phase)
        SELECT * FROM unnest(%s::text[], %s::timestamptz[], %s::timestamptz[], %s::int2[], %s::uuid[], %s::int4[],
                             %s::int2[], %s::int2[], %s::int4[], %s::int4[], %s::int2[], %s::int8[], %s::int4[],
                             %s::int4[], %s::int4[], %s::int2[], %s::int2[])
        """,
        [list(column) for column in zip(*rows, strict=True)],
    )


# Every value goes with its length before it, every row with its number of values.
_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_COLUMNS = 17
_PILE_ID_HEAD = Struct("!hi")
_INSTANTS = Struct("!iqiq")
_SAMPLE = Struct("!" + "ih i16s ii ih ih ii ii ih iq ii ii ii ih ih".replace(" ", ""))


def packed(frames: Sequence[MeterFrame]) -> Iterator[bytes | memoryview]:
    """The samples as a COPY file, in pieces of about WRITE_BYTES or of so many rows."""
    in_blocks: list[SampledFrame] = []
    others: list[MeterFrame] = []
    for frame in frames:
        samples = frame.samples
        if isinstance(samples, FrameSamples):
            in_blocks.append(
                SampledFrame(
                    frame.pile_id.encode(),
                    microseconds(frame.sampled_at),
                    microseconds(frame.received_at),
                    samples,
                )
            )
        else:
            others.append(frame)
    yield _SIGNATURE
    yield from sample_columns.packed(in_blocks)
    yield from _packed_one_by_one(others)
    yield _TRAILER


def _packed_one_by_one(frames: Sequence[MeterFrame]) -> Iterator[bytes]:
    piece: list[bytes] = []
    size = 0
    pack = _SAMPLE.pack
    for frame in frames:
        pile_id = frame.pile_id.encode()
        instants = _INSTANTS.pack(8, microseconds(frame.sampled_at), 8, microseconds(frame.received_at))
        head = _PILE_ID_HEAD.pack(_COLUMNS, len(pile_id)) + pile_id + instants
        rows = b"".join(
            [
                head
                + pack(
                    2, port_no, 16, session_id.int.to_bytes(16, "big"), 4, elapsed_s, 2, window_s,
                    2, voltage_dv, 4, current_ma, 4, power_dw, 2, power_factor_milli, 8, energy_dwh,
                    4, power_min_dw, 4, power_max_dw, 4, power_mean_dw, 2, temperature_dc, 2, phase,
                )
                for (
                    port_no, session_id, elapsed_s, window_s, voltage_dv, current_ma, power_dw, power_factor_milli,
                    energy_dwh, power_min_dw, power_max_dw, power_mean_dw, temperature_dc, phase,
                ) in frame.samples
            ]
        )  # fmt: skip
        piece.append(rows)
        size += len(rows)
        if size >= WRITE_BYTES:
            yield b"".join(piece)
            piece.clear()
            size = 0
    yield b"".join(piece)
