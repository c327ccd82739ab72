"""Batteries and their chargers, as the socket sees them. Pure.

A charge is a soft start, a stage of constant current in which the power rises with the pack's voltage, a stage of
constant voltage in which it decays exponentially, and then float (lead-acid) or idle (lithium). Each stage has a
closed form for power and energy, so that a reading depends on how long the battery was charged and on nothing else: not
on the sample interval, not on the speed of the clock.
"""

import math
import random
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import Final, NamedTuple

from protocol.words import Phase

SOFT_START_S: Final = 4.0
SOFT_START_W: Final = 6.0
TABLE_DEPTH: Final = 0.8
MIN_DEPTH: Final = 0.02
READING_NOISE: Final = 0.006
PFC_FROM_W: Final = 320.0

_JOULES_PER_WH: Final = 3600.0


class Chemistry(Enum):
    """What the pack is made of."""

    LEAD_ACID = "lead_acid"
    LITHIUM = "lithium"


@dataclass(frozen=True)
class Pack:
    """A pack with its charger: mains power at the ends of the constant-current stage, and that stage's hours.

    ``cc_h`` is for a pack discharged by 80 %; ``tau_min`` is the time constant of the decay; the charger leaves
    constant voltage at ``cutoff_w`` and goes on with ``rest_w``.
    """

    name: str
    chemistry: Chemistry
    start_w: float
    end_w: float
    cc_h: float
    tau_min: float
    cutoff_w: float
    rest_w: float


def _lead(name: str, start_w: float, end_w: float, cc_h: float, cutoff_w: float, rest_w: float) -> Pack:
    return Pack(name, Chemistry.LEAD_ACID, start_w, end_w, cc_h, 42, cutoff_w, rest_w)


def _lithium(name: str, start_w: float, end_w: float, cc_h: float, cutoff_w: float, rest_w: float) -> Pack:
    return Pack(name, Chemistry.LITHIUM, start_w, end_w, cc_h, 17, cutoff_w, rest_w)


PACKS: Final = (
    _lead("48V12Ah lead-acid", 105, 123, 4.3, 16, 6),
    _lead("48V20Ah lead-acid", 163, 191, 4.6, 18, 8),
    _lead("60V20Ah lead-acid", 201, 237, 4.6, 22, 10),
    _lead("72V20Ah lead-acid", 241, 284, 4.6, 26, 12),
    _lead("72V32Ah lead-acid", 341, 401, 5.1, 30, 18),
    _lithium("48V24Ah lithium", 157, 186, 5.1, 9, 2),
    _lithium("60V30Ah lithium", 320, 378, 3.8, 14, 3),
    _lithium("72V35Ah lithium", 389, 467, 4.5, 17, 3),
    _lithium("72V45Ah lithium", 778, 933, 2.9, 28, 5),
)


class _Stage(NamedTuple):
    """Power goes from ``from_w`` to ``to_w``: along a line, or by exponential decay where ``tau_s`` is given."""

    phase: Phase
    starts_s: float
    lasts_s: float
    from_w: float
    to_w: float
    tau_s: float | None = None

    def power_w(self, into_s: float) -> float:
        if self.tau_s is not None:
            return self.from_w * math.exp(-into_s / self.tau_s)
        return self.from_w + (self.to_w - self.from_w) * self._share(into_s)

    def energy_j(self, into_s: float) -> float:
        if self.tau_s is not None:
            return self.from_w * self.tau_s * -math.expm1(-into_s / self.tau_s)
        return into_s * (self.from_w + (self.to_w - self.from_w) * self._share(into_s) / 2)

    def when_w(self, power_w: float) -> float:
        """When, into the stage, the power is so; the power must lie between the stage's ends."""
        if self.tau_s is not None:
            return self.tau_s * math.log(self.from_w / power_w)
        if self.to_w == self.from_w:
            return 0.0
        return self.lasts_s * (power_w - self.from_w) / (self.to_w - self.from_w)

    def _share(self, into_s: float) -> float:
        return 0.0 if math.isinf(self.lasts_s) else into_s / self.lasts_s


@dataclass(frozen=True)
class Battery:
    """A pack in a state of charge, on its charger.

    ``depth`` is how far it was discharged when this charge began (0..1), ``charged_s`` how long it has been charging.
    Times given to the methods count from that state: ``power_w(60)`` is the power in a minute's time, if it goes on.
    """

    pack: Pack
    depth: float
    seed: int = 0
    charged_s: float = 0.0

    def __post_init__(self) -> None:
        if not MIN_DEPTH <= self.depth <= 1.0:
            raise ValueError(f"depth {self.depth} is not in {MIN_DEPTH}..1")

    def charged(self, after_s: float) -> "Battery":
        """The same battery after charging for so long."""
        return replace(self, charged_s=self.charged_s + after_s)

    def power_w(self, after_s: float) -> float:
        """True power in W."""
        stage, into_s = self._at(after_s)
        return stage.power_w(into_s)

    def energy_wh(self, after_s: float) -> float:
        """Energy taken from now until then, in Wh."""
        return (self._total_j(self.charged_s + after_s) - self._total_j(self.charged_s)) / _JOULES_PER_WH

    def phase(self, after_s: float) -> Phase:
        """The stage of the charge."""
        return self._at(after_s)[0].phase

    def measured_w(self, after_s: float) -> float:
        """The power as a meter reads it: with noise that the seed and the instant decide."""
        reading = random.Random(f"{self.seed}:{self.charged_s + after_s:.3f}")  # noqa: S311 - noise, not a secret
        return self.power_w(after_s) * (1 + reading.uniform(-READING_NOISE, READING_NOISE))

    def power_factor(self, after_s: float) -> float:
        """About 0.6 for small chargers, near one for those that correct it; worse at low load."""
        best = 0.98 if self.pack.end_w >= PFC_FROM_W else 0.62
        load = min(1.0, self.power_w(after_s) / self.pack.end_w)
        return best * (0.8 + 0.2 * load)

    def first_at_least(self, power_w: float) -> float | None:
        """Seconds until the power first reaches so much; None if it never does."""
        for stage, into_s in self._from_now():
            if stage.power_w(into_s) >= power_w:
                return stage.starts_s + into_s - self.charged_s
            if stage.to_w >= power_w:
                return stage.starts_s + stage.when_w(power_w) - self.charged_s
        return None

    def low_for_good(self, power_w: float) -> float | None:
        """Seconds until the power falls below so much and stays there; None if it never does."""
        low_from_s: float | None = None
        for stage, into_s in self._from_now():
            begins_s = stage.starts_s + into_s - self.charged_s
            if stage.to_w >= power_w:
                low_from_s = None
            elif stage.power_w(into_s) < power_w:
                low_from_s = begins_s if low_from_s is None else low_from_s
            else:
                low_from_s = stage.starts_s + stage.when_w(power_w) - self.charged_s
        return low_from_s

    def when_taken(self, energy_wh: float) -> float:
        """Seconds until so much energy has been taken from now on."""
        wanted_j = self._total_j(self.charged_s) + energy_wh * _JOULES_PER_WH
        low_s, high_s = self.charged_s, max(1.0, 2 * self.charged_s)
        while self._total_j(high_s) < wanted_j:
            high_s *= 2
        while high_s - low_s > 0.0005:
            middle_s = (low_s + high_s) / 2
            low_s, high_s = (middle_s, high_s) if self._total_j(middle_s) < wanted_j else (low_s, middle_s)
        return high_s - self.charged_s

    @cached_property
    def _stages(self) -> tuple[_Stage, ...]:
        pack = self.pack
        begin_w = pack.end_w - (pack.end_w - pack.start_w) * min(1.0, self.depth / TABLE_DEPTH)
        cc_s = pack.cc_h * 3600 * self.depth / TABLE_DEPTH
        tau_s = pack.tau_min * 60
        cv_s = tau_s * math.log(pack.end_w / pack.cutoff_w)
        rest = Phase.FLOAT if pack.chemistry is Chemistry.LEAD_ACID else Phase.IDLE
        return (
            _Stage(Phase.CC, 0.0, SOFT_START_S, SOFT_START_W, begin_w),
            _Stage(Phase.CC, SOFT_START_S, cc_s, begin_w, pack.end_w),
            _Stage(Phase.CV, SOFT_START_S + cc_s, cv_s, pack.end_w, pack.cutoff_w, tau_s),
            _Stage(rest, SOFT_START_S + cc_s + cv_s, math.inf, pack.rest_w, pack.rest_w),
        )

    @cached_property
    def _energy_before_j(self) -> tuple[float, ...]:
        sums = [0.0]
        for stage in self._stages[:-1]:
            sums.append(sums[-1] + stage.energy_j(stage.lasts_s))
        return tuple(sums)

    def _at(self, after_s: float) -> tuple[_Stage, float]:
        total_s = self.charged_s + after_s
        for stage in self._stages:
            if total_s < stage.starts_s + stage.lasts_s:
                return stage, total_s - stage.starts_s
        raise AssertionError("the last stage has no end")

    def _from_now(self) -> list[tuple[_Stage, float]]:
        """The stages still to come, each with how far into it we are."""
        return [
            (stage, max(0.0, self.charged_s - stage.starts_s))
            for stage in self._stages
            if self.charged_s < stage.starts_s + stage.lasts_s
        ]

    def _total_j(self, total_s: float) -> float:
        for stage, before_j in zip(self._stages, self._energy_before_j, strict=True):
            if total_s < stage.starts_s + stage.lasts_s:
                return before_j + stage.energy_j(total_s - stage.starts_s)
        raise AssertionError("the last stage has no end")
