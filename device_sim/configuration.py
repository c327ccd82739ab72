"""What a simulated pile is: its make, its thresholds and the street around it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

UNSENT_FRAMES_MAX: Final = 20_000
UNSENT_RECORDS_MAX: Final = 5_000


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The pile's own rules. A battery is full once it draws less than ``full_w`` for ``full_s``."""

    full_w: float = 30.0
    full_s: int = 600
    start_w: float = 5.0
    unplug_s: int = 10
    overload_s: int = 3
    debounce_s: int = 2
    max_session_s: int = 12 * 3600
    pile_start_w: float = 7_800.0
    pile_cut_w: float = 8_700.0


@dataclass(frozen=True, kw_only=True)
class Bystanders:
    """Riders at the sockets: one plugs a battery some seconds after a start arrives and fetches it after the end.

    The ranges are seconds of the street's clock; ``depth`` is how empty the batteries come. ``leave_early_share`` of
    the riders unplug before the end of the charge.
    """

    plug_after_s: tuple[float, float] = (3.0, 40.0)
    fetch_after_s: tuple[float, float] = (300.0, 3_600.0)
    depth: tuple[float, float] = (0.3, 0.9)
    leave_early_share: float = 0.0
    leave_after_s: tuple[float, float] = (1_200.0, 7_200.0)


@dataclass(frozen=True, kw_only=True)
class PileConfig:
    """One simulated pile. ``folder`` is its flash: identity, counters and records survive in it.

    ``claim_code`` is needed until the pile is enrolled. Without ``bystanders`` nobody plugs or unplugs but the caller.
    A pile without ``battery_clock`` wakes up in 1970 until the platform tells it the time.
    """

    pile_id: str
    port_count: int
    folder: Path
    enrolment_url: str
    claim_code: str | None = None
    enrolment_ca: Path | None = None
    model: str = "PW-SIM"
    hardware: str = "sim-1"
    firmware: str = "0.1.0"
    thresholds: Thresholds = field(default_factory=Thresholds)
    bystanders: Bystanders | None = None
    battery_clock: bool = True
    seed: int = 0
