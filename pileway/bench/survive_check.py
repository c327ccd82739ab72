"""Whether exactly what was sent is stored: every frame once, every sample once, every value as it was said.

Each frame's samples are compared by a hash over all that the pile said in it; nothing is believed by counts alone.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pileway.bench.ingest_floors import FRAME_TABLE, SAMPLE_TABLE
from pileway.bench.meter_fleet import Fleet

ROWS_AT_ONCE = 5_000
OURS = "received_at"
"""The one column that is not the pile's word."""

Frame = tuple[str, datetime]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Numbers of frames. `strangers` were never sent; `different` have other samples than were said, or none."""

    sent: int
    stored: int
    samples: int
    missing: int
    strangers: int
    different: int

    @property
    def exact(self) -> bool:
        """Exactly what was sent is stored."""
        return self.sent == self.stored and not (self.missing or self.strangers or self.different)


def stored_frames(dsn: str) -> int:
    """How many frames are stored now. Raises psycopg.Error."""
    with psycopg.connect(dsn, connect_timeout=10) as conn:
        row = conn.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(FRAME_TABLE))).fetchone()
    return int(row[0]) if row else 0


def judge(dsn: str, fleet: Fleet, frames: int) -> Verdict:
    """Compare the database with the fleet's frames 0 to `frames`, one by one. Raises psycopg.Error."""
    with psycopg.connect(dsn, connect_timeout=10) as conn:
        unseen = bytearray(b"\1") * frames
        strangers = stored = 0
        for key in _stored_keys(conn):
            stored += 1
            number = _number(fleet, key)
            if number is None or number >= frames or not unseen[number]:
                strangers += 1
            else:
                unseen[number] = 0
        unlike = bytearray(b"\1") * frames
        samples = 0
        for key, rows in _stored_samples(conn):
            samples += len(rows)
            number = _number(fleet, key)
            if number is None or number >= frames:
                strangers += 1
                continue
            said = fleet.rows(range(number, number + 1), received_at=key[1])
            unlike[number] = _hash(rows) != _hash(said)
    return Verdict(
        sent=frames,
        stored=stored,
        samples=samples,
        missing=sum(unseen),
        strangers=strangers,
        different=sum(unlike),
    )


def _number(fleet: Fleet, frame: Frame) -> int | None:
    """Which frame of the fleet this is; None for none of them."""
    pile_id, sampled_at = frame
    return fleet.number_of(pile_id, (sampled_at - _EPOCH) // timedelta(milliseconds=1))


def _stored_keys(conn: psycopg.Connection[Any]) -> Iterator[Frame]:
    with conn.cursor("frames") as cursor:
        cursor.itersize = ROWS_AT_ONCE
        query = sql.SQL("SELECT pile_id, sampled_at FROM {}").format(sql.Identifier(FRAME_TABLE))
        yield from cursor.execute(query)


def _stored_samples(conn: psycopg.Connection[Any]) -> Iterator[tuple[Frame, list[Mapping[str, Any]]]]:
    with conn.cursor("samples", row_factory=dict_row) as cursor:
        cursor.itersize = ROWS_AT_ONCE
        query = sql.SQL("SELECT * FROM {} ORDER BY pile_id, sampled_at").format(sql.Identifier(SAMPLE_TABLE))
        for key, rows in groupby(cursor.execute(query), key=itemgetter("pile_id", "sampled_at")):
            yield key, list(rows)


def _hash(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Of all samples of a frame, in the order of ports; a sample that is there twice counts twice."""
    said = sorted(
        repr(
            [
                # One instant has many ways to be written.
                (name, value - _EPOCH if isinstance(value, datetime) else value)
                for name, value in sorted(row.items())
                if name not in (OURS, "port")
            ]
        )
        for row in rows
    )
    return hashlib.sha256("\n".join(said).encode()).digest()
