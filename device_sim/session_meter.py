"""What a running session has taken so far: by half hour, by level of power, and in all.

The register is read at each whole minute of the session's clock and at its end; differences of one integer register
make slots and tiers sum exactly to the total. Reading late changes nothing, for the register knows its past.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from protocol.messages import HALF_HOUR_S, TIER_WIDTH_W, SlotEnergy, TierEnergy

_MINUTE_MS: Final = 60_000
_MS_PER_H: Final = 3_600_000

Register = Callable[[int], float]
"""Energy register of the port in Wh at an instant in ms."""


@dataclass
class SessionMeter:
    """Grows with ``read_until``. ``clock_offset_ms`` turns the instants given to it into the pile's clock."""

    started_ms: int
    start_register_dwh: int
    clock_offset_ms: int
    read_ms: int = field(default=0)
    read_wh: float = field(default=0.0)
    max_power_dw: int = 0
    slots: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])
    tiers: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])

    def __post_init__(self) -> None:
        if not self.read_ms:
            self.read_ms = self.started_ms
            self.read_wh = self.start_register_dwh / 10

    def read_until(self, until_ms: int, register: Register) -> None:
        """Read the register at each whole minute passed."""
        while (boundary_ms := self._next_minute_ms()) <= until_ms:
            self._read(boundary_ms, register(boundary_ms))

    def close(self, at_ms: int, register: Register) -> None:
        """Read the rest, up to the end of the session."""
        self.read_until(at_ms, register)
        self._read(at_ms, register(at_ms))

    @property
    def energy_dwh(self) -> int:
        """Energy accounted for, in 0.1 Wh."""
        return dwh(self.read_wh) - self.start_register_dwh

    @property
    def duration_s(self) -> int:
        """Whole seconds accounted for."""
        return (self.read_ms - self.started_ms) // 1000

    def slot_rows(self) -> tuple[SlotEnergy, ...]:
        """The half hours, in time order."""
        return tuple(SlotEnergy(slot, *self.slots[slot]) for slot in sorted(self.slots))

    def tier_rows(self) -> tuple[TierEnergy, ...]:
        """The levels of power, in order."""
        rows = ((tier, *self.tiers[tier]) for tier in sorted(self.tiers))
        return tuple(TierEnergy(tier, seconds, energy) for tier, energy, seconds in rows)

    def _next_minute_ms(self) -> int:
        local_ms = self.read_ms + self.clock_offset_ms
        return self.read_ms + _MINUTE_MS - local_ms % _MINUTE_MS

    def _read(self, at_ms: int, wh: float) -> None:
        if at_ms <= self.read_ms:
            return
        energy_dwh = dwh(wh) - dwh(self.read_wh)
        seconds = (at_ms - self.started_ms) // 1000 - self.duration_s
        mean_w = (wh - self.read_wh) * _MS_PER_H / (at_ms - self.read_ms)
        slot = (self.read_ms + self.clock_offset_ms) // (HALF_HOUR_S * 1000)
        _add(self.slots, slot, energy_dwh, seconds)
        _add(self.tiers, int(mean_w // TIER_WIDTH_W), energy_dwh, seconds)
        self.max_power_dw = max(self.max_power_dw, round(mean_w * 10))
        self.read_ms, self.read_wh = at_ms, wh


def dwh(wh: float) -> int:
    """A register in Wh as whole 0.1 Wh; the smallest excess keeps a float's last bit from losing one."""
    return int(wh * 10 + 1e-6)


def _add(rows: dict[int, tuple[int, int]], key: int, energy_dwh: int, seconds: int) -> None:
    energy_before_dwh, seconds_before = rows.get(key, (0, 0))
    rows[key] = (energy_before_dwh + energy_dwh, seconds_before + seconds)
