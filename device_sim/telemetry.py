"""What a pile tells regularly: heartbeats, samples of its busy ports, and its question for the time."""

from collections.abc import Sequence
from typing import Final

from device_sim import reports
from device_sim.part import Hears, Moment, Part, Turn
from device_sim.pile import Pile
from device_sim.port import NEVER_MS
from protocol import codec
from protocol.messages import MeterFrame, MeterReceipt, Time, TimeRequest
from protocol.words import FrameResult, LogLevel

TIME_REQUEST_EVERY_MS: Final = 12 * 3_600_000


class Telemetry(Part):
    """Heartbeats and meter frames on the pile's own grid; sessions that outlived a power cut are sampled again."""

    def __init__(self, pile: Pile) -> None:
        super().__init__(pile)
        self._heartbeat_ms = pile.now_ms
        resumed = bool(pile.metered_ports())
        tick_ms = pile.device_clock.next_tick(pile.now_ms, pile.thresholds.sample_s)
        self._sample_ms = tick_ms if resumed else NEVER_MS
        self._sampled_ms = 0

    def hears(self) -> Hears:
        """What became of frames."""
        return {MeterReceipt: self._receipt}

    def boot_acknowledged(self, at_ms: int) -> None:
        """The platform has chosen the intervals."""
        self.intervals_changed(at_ms)

    def intervals_changed(self, at_ms: int) -> None:
        """Speak at the present intervals from now on."""
        rules = self.pile.thresholds
        self._heartbeat_ms = self.pile.device_clock.next_tick(at_ms, rules.heartbeat_s)
        if self._sample_ms != NEVER_MS:
            self._sample_ms = self.pile.device_clock.next_tick(at_ms, rules.sample_s)

    def turn(self, turn: Turn) -> None:
        """The first load of a session begins the samples."""
        if turn.moment is Moment.STARTED:
            tick_ms = self.pile.device_clock.next_tick(turn.at_ms, self.pile.thresholds.sample_s)
            self._sample_ms = min(self._sample_ms, tick_ms)

    def next_ms(self) -> int:
        """The next heartbeat or frame."""
        return min(self._heartbeat_ms, self._sample_ms)

    def happen(self, at_ms: int) -> None:
        """Sample what is due, then say that the pile lives."""
        if self._sample_ms <= at_ms:
            self._sample_regularly(at_ms)
        if self._heartbeat_ms <= at_ms:
            self._heartbeat_ms = self.pile.device_clock.next_tick(at_ms, self.pile.thresholds.heartbeat_s)
            self.pile.outbox.put(self.pile.heartbeat_message())
        self.pile.sampled(at_ms)

    def sample_now(self, at_ms: int) -> None:
        """A frame out of turn, unless there is one of this instant already or no port to sample."""
        busy = self.pile.metered_ports()
        if busy and at_ms > self._sampled_ms:
            self._sampled_ms = at_ms
            self.pile.outbox.put(reports.meter_frame(self.pile, busy, at_ms=at_ms))

    def _receipt(self, receipt: MeterReceipt) -> None:
        self.pile.outbox.receipted(receipt.frames, set_aside=self._set_aside)

    def _set_aside(self, refused: Sequence[tuple[MeterFrame, FrameResult]]) -> None:
        pile = self.pile
        for frame, result in refused:
            pile.memory.set_frame_aside(codec.encode(frame))
            pile.note(f"frame {frame.sampled_at_ms} refused: {result.word}", level=LogLevel.ERROR)
        pile.save()

    def _sample_regularly(self, at_ms: int) -> None:
        pile = self.pile
        busy = pile.metered_ports()
        if not busy:
            self._sample_ms = NEVER_MS
            return
        self._sample_ms = pile.device_clock.next_tick(at_ms, pile.thresholds.sample_s)
        self.sample_now(at_ms)


class Timekeeping(Part):
    """Asks the platform for the time once it listens and twice a day, and follows it."""

    def __init__(self, pile: Pile) -> None:
        super().__init__(pile)
        self._ask_ms = NEVER_MS

    def hears(self) -> Hears:
        """The platform's clock."""
        return {Time: self._time}

    def boot_acknowledged(self, at_ms: int) -> None:
        """The platform listens."""
        if self._ask_ms == NEVER_MS:
            self._ask_ms = at_ms

    def next_ms(self) -> int:
        """The next question."""
        return self._ask_ms

    def happen(self, at_ms: int) -> None:
        """Ask."""
        self._ask_ms = at_ms + TIME_REQUEST_EVERY_MS
        self.pile.outbox.put(TimeRequest(self.pile.device_ms(at_ms)))

    def _time(self, time: Time) -> None:
        self.pile.follow_clock(time.time_ms)
