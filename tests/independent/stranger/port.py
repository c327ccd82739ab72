"""A socket and the session on it, with a battery of 300 Wh. Pure."""

from dataclasses import dataclass, field
from typing import Any

HALF_HOUR_MS = 1_800_000
FULL_W = 30
FULL_MS = 600_000
BATTERY_DWH = 3_000
CHARGE_W = 600
FULL_BATTERY_W = 5.5

# Numbers of section 13.
FULL, PRESET_TIME, PRESET_ENERGY = 1, 3, 4
IDLE, PLUGGED, STARTING, CHARGING, FLOAT, FULL_PLUGGED = 2, 3, 5, 6, 7, 8


@dataclass
class Session:
    """A session on a port; the register is in 0.1 Wh, and a float until it is told."""

    start: dict[int, Any]
    accepted_ms: int
    register_dwh: int
    started_ms: int = 0
    until_ms: int = 0
    energy_dwh: float = 0.0
    low_ms: int = 0
    full: bool = False
    sampled_ms: int = 0
    sampled_dwh: float = 0.0
    samples: int = 0
    slots: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    tiers: dict[int, list[int]] = field(default_factory=dict[int, list[int]])

    @property
    def power_w(self) -> float:
        """What the battery takes now."""
        return CHARGE_W if self.energy_dwh < BATTERY_DWH else FULL_BATTERY_W

    @property
    def duration_s(self) -> int:
        """Whole seconds since the first load."""
        return (self.until_ms - self.started_ms) // 1000 if self.started_ms else 0

    def look(self, now_ms: int) -> bool:
        """Run as long as it may, and whether the battery has just been found full."""
        self.run_until(min(now_ms, self.started_ms + self.start[4] * 1000))
        if self.power_w < FULL_W and not self.low_ms:
            self.low_ms = now_ms
        found = bool(self.low_ms) and not self.full and now_ms >= self.low_ms + FULL_MS
        self.full = self.full or found
        return found

    def end_reason(self, now_ms: int) -> int | None:
        """Why it must end now, by its limits."""
        if self.duration_s >= self.start[4]:
            return PRESET_TIME
        if self.energy_dwh >= self.start[5]:
            return PRESET_ENERGY
        if self.full and self.start[7] and now_ms >= self.low_ms + FULL_MS + self.start[8] * 1000:
            return FULL
        return None

    def run_until(self, now_ms: int) -> None:
        """Take energy, half hour by half hour."""
        while self.until_ms < now_ms:
            slot = self.until_ms // HALF_HOUR_MS
            end_ms = min(now_ms, (slot + 1) * HALF_HOUR_MS)
            energy, seconds = int(self.energy_dwh), self.duration_s
            tier = int(self.power_w // 20)
            self.energy_dwh += self.power_w * (end_ms - self.until_ms) / 360_000
            self.until_ms = end_ms
            taken = [int(self.energy_dwh) - energy, self.duration_s - seconds]
            for rows, key in ((self.slots, slot), (self.tiers, tier)):
                row = rows.setdefault(key, [0, 0])
                row[0] += taken[0]
                row[1] += taken[1]


@dataclass
class Port:
    """A socket."""

    number: int
    plugged: bool
    register_dwh: int = 0
    told: int = IDLE
    session: Session | None = None
    full: bool = False

    @property
    def state(self) -> int:
        """Its state, as section 9 has it."""
        if self.session is not None:
            if not self.session.started_ms:
                return STARTING
            return FLOAT if self.session.full else CHARGING
        if not self.plugged:
            return IDLE
        return FULL_PLUGGED if self.full else PLUGGED

    @property
    def draws(self) -> bool:
        """Whether a session takes power."""
        return self.session is not None and bool(self.session.started_ms)

    @property
    def power_dw(self) -> int:
        """Power in 0.1 W."""
        return round(self.session.power_w * 10) if self.session is not None and self.draws else 0

    @property
    def energy_dwh(self) -> int:
        """The energy register, a running session included."""
        return self.register_dwh + (int(self.session.energy_dwh) if self.session is not None else 0)
