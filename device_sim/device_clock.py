"""The pile's own clock, which may be wrong: an offset to the street's, and what it rests on. Pure."""

from typing import Final

from protocol.words import ClockState

_PHASES: Final = 1_000


class DeviceClock:
    """Instants are the street's, in ms; ``offset_ms`` turns one into the pile's own time."""

    def __init__(self, *, battery: bool, now_ms: int, tolerance_ms: int, phase: int) -> None:
        self.state = ClockState.RTC if battery else ClockState.NONE
        self.offset_ms = 0 if battery else -now_ms
        self._tolerance_ms = tolerance_ms
        self._phase = phase % _PHASES

    def device_ms(self, at_ms: int) -> int:
        """An instant by the pile's own clock."""
        return max(0, at_ms + self.offset_ms)

    def follow(self, time_ms: int, *, now_ms: int) -> int:
        """Follow the platform; a difference the network may cause is left alone. Gives the step in ms."""
        off_ms = time_ms - self.device_ms(now_ms)
        follows = self.state is ClockState.NONE or abs(off_ms) > self._tolerance_ms
        self.offset_ms += off_ms if follows else 0
        self.state = ClockState.SYNCED
        return off_ms if follows else 0

    def lose(self, *, now_ms: int) -> None:
        """The clock has failed: it is 1970 until the platform tells the time."""
        self.state, self.offset_ms = ClockState.NONE, -now_ms

    def next_tick(self, at_ms: int, every_s: int) -> int:
        """The next instant on the pile's own grid: no two frames share one, and piles do not all speak at once."""
        every_ms = every_s * 1000
        return at_ms + every_ms - (at_ms - self._phase * every_ms // _PHASES) % every_ms
