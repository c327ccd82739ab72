"""The one clock of an installation: real time, or time that runs faster for the demo.

Every process gets the same speed and anchor through its settings, so that simulator and platform agree at any
speed. What touches the world outside (certificates, payment deadlines) stays in real seconds.
"""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Clock:
    """A clock that showed `start` at the real instant `anchor` and runs `speed` times as fast since."""

    speed: float
    anchor: datetime
    start: datetime

    @classmethod
    def real(cls) -> "Clock":
        """The clock on the wall."""
        now = datetime.now(UTC)
        return cls(speed=1.0, anchor=now, start=now)

    def now(self) -> datetime:
        """Aware UTC."""
        return self.at(datetime.now(UTC))

    def at(self, real: datetime) -> datetime:
        """What this clock shows at a real instant."""
        return self.start + (real - self.anchor) * self.speed

    def real_s(self, clock_s: float) -> float:
        """How many real seconds pass while this clock runs `clock_s` seconds."""
        return clock_s / self.speed
