"""What the processes of a benchmark cost: processor time and memory, by part."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import psutil

PARTS: Mapping[str, str] = {"postgres": "database", "mosquitto": "broker"}
"""Parts by the name of their program; other children are named by who starts them."""


@dataclass(frozen=True)
class Cost:
    """Processor seconds used by a part until now, and what it holds in memory, in MB."""

    processor_s: float
    rss_mb: float


@dataclass(frozen=True)
class Reading:
    """The parts' costs at one instant."""

    at_s: float
    costs: Mapping[str, Cost]

    @classmethod
    def of(cls, named: Mapping[int, str]) -> Self:
        """Of all processes below this one; `named` are parts by process id."""
        costs: dict[str, Cost] = {}
        for process in psutil.Process(os.getpid()).children(recursive=True):
            try:
                part = named.get(process.pid) or PARTS.get(process.name(), "")
                times = process.cpu_times()
                memory = process.memory_info()
            except psutil.NoSuchProcess:
                continue
            if part:
                held = costs.get(part, Cost(0.0, 0.0))
                costs[part] = Cost(
                    held.processor_s + times.user + times.system,
                    # Every process of the database maps the same shared memory: what it shares is counted once.
                    max(held.rss_mb, memory.rss / 1e6)
                    if part == "database"
                    else held.rss_mb + memory.rss / 1e6,
                )
        return cls(time.monotonic(), costs)

    def since(self, earlier: "Reading") -> dict[str, dict[str, float]]:
        """Each part's share of one processor in percent since then, and its memory now."""
        seconds = self.at_s - earlier.at_s
        return {
            part: {
                "cpu_percent": round(
                    100 * (cost.processor_s - earlier.costs.get(part, Cost(0, 0)).processor_s) / seconds, 1
                ),
                "rss_mb": round(cost.rss_mb, 1),
            }
            for part, cost in sorted(self.costs.items())
        }
