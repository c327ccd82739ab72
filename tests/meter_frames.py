"""Meter frames for tests: one busy port at constant power."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from uuid import UUID

import numpy as np

from charging import piles, sites
from charging.errors import PileExists
from charging.meter_frames import COLUMNS, MeterFrame, PortSample
from charging.sample_columns import FrameSamples, SampleColumns
from database.pool import Connection

SITE = "yard"


def register(conn: Connection, *pile_ids: str, site_id: str = SITE) -> None:
    """Put piles on the books, as far as they are not; load is told by their site."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    sites.add(conn, site_id=site_id, name=site_id, address="-", now=now)
    for pile_id in pile_ids:
        with suppress(PileExists):
            piles.register(
                conn,
                pile_id=pile_id,
                site_id=site_id,
                model="test",
                port_count=10,
                power_limit_w=5_000,
                now=now,
            )


def steady(
    *,
    pile_id: str,
    session_id: UUID,
    since: datetime,
    count: int,
    every: timedelta = timedelta(seconds=30),
    power_dw: int = 2_400,
    port_no: int = 1,
) -> Sequence[MeterFrame]:
    """`count` frames from `since` on; each sample covers the seconds since the one before."""
    window_s = int(every.total_seconds())
    return [
        MeterFrame(
            pile_id=pile_id,
            sampled_at=since + index * every,
            received_at=since + index * every,
            samples=[
                PortSample(
                    session_id=session_id,
                    port_no=port_no,
                    elapsed_s=index * window_s,
                    voltage_dv=2_301,
                    current_ma=1_043,
                    power_dw=power_dw,
                    power_min_dw=power_dw - 10,
                    power_max_dw=power_dw + 10,
                    power_mean_dw=power_dw,
                    power_factor_milli=987,
                    energy_dwh=index * window_s * power_dw // 3_600,
                    temperature_dc=412,
                    phase=0,
                    window_s=window_s,
                )
            ],
        )
        for index in range(count)
    ]


def in_a_block(frames: Sequence[MeterFrame]) -> list[MeterFrame]:
    """The same frames, their samples in one block."""
    rows = [sample for frame in frames for sample in frame.samples]
    columns = [
        None if size == 16 else np.array([row[place] for row in rows], np.int64)
        for place, (_, size) in enumerate(COLUMNS)
    ]
    raw = b"".join(row.session_id.bytes for row in rows)
    block = SampleColumns(columns, np.frombuffer(raw, ">u8").reshape(-1, 2))
    ends = list(accumulate(len(frame.samples) for frame in frames))
    return [
        frame._replace(samples=FrameSamples(block, end - len(frame.samples), end))
        for frame, end in zip(frames, ends, strict=True)
    ]
