"""A meter frame in charging's words says what the pile said, value by value."""

from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import pytest

from charging.meter_frames import COLUMNS, PortSample
from charging.sample_columns import FrameSamples
from gateway import hearing
from gateway.hearing import Heard
from gateway.link import Frame
from protocol import codec, fields, messages, sample_columns
from protocol.envelope import Counter
from protocol.fields import Choice, Integer, Kind, Uuid
from protocol.words import ClockState, Phase

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _heard(clock: ClockState) -> Heard:
    sample = messages.PortSample(
        port=7,
        session_id=UUID(int=9),
        elapsed_s=60,
        window_s=30,
        voltage_dv=2300,
        current_ma=1000,
        power_dw=2000,
        power_factor_milli=950,
        energy_dwh=33,
        power_min_dw=1990,
        power_max_dw=2010,
        power_mean_dw=2001,
        temperature_dc=-50,
        phase=Phase.FLOAT,
    )
    message = messages.MeterFrame(sampled_at_ms=1_790_000_000_123, samples=(sample,), clock=clock)
    frame = Frame(cast("Any", None), 1, 1, 1, False, "", b"", NOW)
    return Heard(frame, "P-1", 1, Counter(1, 1), message)


@pytest.mark.parametrize("by_column", [False, True])
def test_every_value_of_a_sample_keeps_its_name(by_column: bool) -> None:
    heard = _heard(ClockState.SYNCED)
    message = heard.says(messages.MeterFrame)
    [said] = message.samples
    if by_column:
        [read] = sample_columns.read([codec.encode(message)])
        assert read is not None
        heard = heard._replace(message=read)
    [frame] = hearing.meter_frames([heard])
    assert isinstance(frame.samples, FrameSamples) is by_column
    [sample] = frame.samples
    assert isinstance(sample, PortSample)
    told = {**said._asdict(), "port_no": said.port}
    del told["port"]
    assert sample._asdict() == told


def test_a_frame_keeps_the_piles_instant_and_ours() -> None:
    [frame] = hearing.meter_frames([_heard(ClockState.SYNCED)])
    assert (frame.pile_id, frame.received_at, frame.dated) == ("P-1", NOW, True)
    assert frame.sampled_at == datetime.fromtimestamp(1_790_000_000, UTC).replace(microsecond=123_000)
    [undated] = hearing.meter_frames([_heard(ClockState.NONE)])
    assert not undated.dated


def _bytes_of(kind: Kind) -> int:
    """The narrowest column that holds all that may be said in a field."""
    match kind:
        case Uuid():
            return 16
        case Integer(low=low, high=high):
            said = (low, high)
        case Choice(members=members):
            said = (min(members), max(members))
        case _:
            raise TypeError(f"no column holds a {type(kind).__name__}")
    return next(size for size in (2, 4, 8) if all(-1 << 8 * size - 1 <= n < 1 << 8 * size - 1 for n in said))


def test_whatever_a_pile_may_say_fits_its_column() -> None:
    """A COPY packed by column cuts off what is too large, without a word."""
    declared = fields.row_schema(messages.PortSample).columns
    assert len(declared) == len(COLUMNS)
    for (name, kind), (column, size) in zip(declared, COLUMNS, strict=True):
        assert _bytes_of(kind) <= size, (name, column)
