"""What speaks for the energy of a settlement, and how much of it the rider is charged. Pure.

A record claims an energy for each half hour. Its registers, the samples and its highest power are witnesses that fail
in different ways. The claim counts as far as registers or samples bear it out, and never beyond what the highest power
can have brought in the time: a register that jumps costs the rider nothing, and one that falls costs the operator
nothing as long as the samples are there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from billing.rating import ChargingPeriod

TOLERANCE_DWH = 200
"""Witnesses may differ from the claim by 20 Wh."""
MOST_POWER_DW = 35_000
"""No socket brings more than 3500 W, whatever a record says of its highest power."""


@dataclass(frozen=True, kw_only=True)
class Witnesses:
    """What registers and samples say was taken, in 0.1 Wh, and the highest power of any minute, in 0.1 W."""

    registers_dwh: int
    samples_dwh: int
    max_power_dw: int

    def differ(self, claims: Sequence[tuple[int, int]]) -> bool:
        """Whether any of them contradicts the claim; too few samples contradict nothing."""
        energy_dwh = _sum(claims)
        return (
            abs(self.registers_dwh - energy_dwh) > TOLERANCE_DWH
            or self.samples_dwh > energy_dwh + TOLERANCE_DWH
            or self.believed(claims) != [claim_dwh for claim_dwh, _ in claims]
        )

    def believed(self, claims: Sequence[tuple[int, int]]) -> list[int]:
        """What to charge for each claim of 0.1 Wh in so many seconds: as claimed, or less where nothing explains it."""
        energies_dwh = [energy_dwh for energy_dwh, _ in claims]
        most_dwh = [_most_dwh(self.max_power_dw, seconds) for _, seconds in claims]
        if sum(energies_dwh) > sum(most_dwh) + TOLERANCE_DWH:
            energies_dwh = [min(each) for each in zip(energies_dwh, most_dwh, strict=True)]
        borne_out_dwh = max(self.registers_dwh, self.samples_dwh)
        if sum(energies_dwh) > borne_out_dwh + TOLERANCE_DWH:
            energies_dwh = _shrunk(energies_dwh, borne_out_dwh)
        return energies_dwh


def possible(periods: Sequence[ChargingPeriod], *, max_power_dw: int) -> list[ChargingPeriod]:
    """Periods told by samples alone, none with more energy than the highest sampled power can have brought in it."""
    found: list[ChargingPeriod] = []
    for period in periods:
        energy_dwh = min(period.energy_dwh, _most_dwh(max_power_dw, period.duration_s))
        power_dw = energy_dwh * 3600 // period.duration_s if period.duration_s else 0
        found.append(replace(period, energy_dwh=energy_dwh, power_dw=power_dw))
    return found


def _most_dwh(max_power_dw: int, seconds: int) -> int:
    return -(-min(max_power_dw, MOST_POWER_DW) * seconds // 3600)


def _sum(claims: Sequence[tuple[int, int]]) -> int:
    return sum(energy_dwh for energy_dwh, _ in claims)


def _shrunk(energies_dwh: Sequence[int], to_dwh: int) -> list[int]:
    """The same in proportion, with another sum: nobody knows in which half hour the register went wrong."""
    total_dwh = sum(energies_dwh)
    ends_dwh = [0, *(end_dwh * to_dwh // total_dwh for end_dwh in accumulate(energies_dwh))]
    return [after - before for before, after in pairwise(ends_dwh)]
