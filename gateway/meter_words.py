"""Meter frames in charging's words: the same values in the same order, of which there are thousands a second."""

from datetime import datetime
from functools import partial

from charging.meter_frames import MeterFrame, PortSample
from charging.sample_columns import FrameSamples, SampleColumns
from gateway.instants import instant
from protocol import messages
from protocol.sample_columns import SampleBlock, SampleRange
from protocol.words import ClockState

_port_sample = partial(tuple.__new__, PortSample)  # pyright: ignore[reportUnknownMemberType]  # of any tuple


class MeterWords:
    """Puts meter frames into charging's words; samples read together by column stay together."""

    def __init__(self) -> None:
        self._blocks: dict[int, tuple[SampleBlock, SampleColumns]] = {}

    def of(self, pile_id: str, received_at: datetime, message: messages.MeterFrame) -> MeterFrame:
        """A pile's frame that arrived then."""
        said = message.samples
        samples = self._in_block(said) if isinstance(said, SampleRange) else list(map(_port_sample, said))
        dated = message.clock is not ClockState.NONE
        return MeterFrame(pile_id, instant(message.sampled_at_ms), received_at, samples, dated)

    def _in_block(self, said: SampleRange) -> FrameSamples:
        read = said.block
        known = self._blocks.get(id(read))
        if known is None:
            # The block read is kept, so that its number stays its own.
            known = self._blocks[id(read)] = read, SampleColumns(read.columns, read.sessions)
        return FrameSamples(known[1], said.start, said.stop)
