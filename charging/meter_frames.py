"""Meter frames as charging keeps them, and how wide a sample's values are in their table."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID


class PortSample(NamedTuple):
    """One busy port's reading; `phase` is 0 constant current, 1 constant voltage, 2 float, 3 idle.

    Minimum, maximum and mean cover the `window_s` before the sample.
    """

    port_no: int
    session_id: UUID
    elapsed_s: int
    window_s: int
    voltage_dv: int
    current_ma: int
    power_dw: int
    power_factor_milli: int
    energy_dwh: int
    power_min_dw: int
    power_max_dw: int
    power_mean_dw: int
    temperature_dc: int
    phase: int


class MeterFrame(NamedTuple):
    """All busy ports of one pile at one instant; not `dated` where the pile knew no date."""

    pile_id: str
    sampled_at: datetime
    received_at: datetime
    samples: Sequence[PortSample]
    """Where it is a part of a block, its rows are packed by column."""
    dated: bool = True


COLUMNS = (
    ("port_no", 2),
    ("session_id", 16),
    ("elapsed_s", 4),
    ("window_s", 2),
    ("voltage_dv", 2),
    ("current_ma", 4),
    ("power_dw", 4),
    ("power_factor_milli", 2),
    ("energy_dwh", 8),
    ("power_min_dw", 4),
    ("power_max_dw", 4),
    ("power_mean_dw", 4),
    ("temperature_dc", 2),
    ("phase", 2),
)
"""The fields of a sample, each with the bytes of its column."""
