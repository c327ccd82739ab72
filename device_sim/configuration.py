"""What a simulated pile is: its make, its thresholds and the street around it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from protocol.config_keys import SETTINGS

UNSENT_FRAMES_MAX: Final = 20_000
UNSENT_RECORDS_MAX: Final = 5_000


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The pile's own rules: every setting of ``protocol.config_keys`` by its name there, and what cannot be set.

    The make's defaults are overruled by ``config_set``; ``heartbeat_s`` and ``sample_s`` by ``boot_ack`` too.
    """

    full_w: float = 30.0
    full_s: int = 600
    float_s: int = 3_600
    start_w: float = 5.0
    unplug_w: float = 2.0
    unplug_s: int = 10
    plug_wait_s: int = 120
    max_power_w: float = 1_000.0
    overload_s: int = 3
    max_current_ma: int = 6_000
    pile_start_w: float = 7_800.0
    pile_cut_w: float = 8_700.0
    temp_warn_dc: int = 600
    temp_trip_dc: int = 800
    temp_trip_on: int = 1
    board_warn_dc: int = 700
    board_trip_dc: int = 900
    board_trip_on: int = 1
    leak_warn_ma: int = 15
    leak_trip_ma: int = 30
    volt_min_dv: int = 1_700
    volt_max_dv: int = 2_700
    max_session_s: int = 12 * 3600
    offline_s: int = 0
    offline_policy: int = 0
    resume_after_power: int = 0
    resume_s: int = 1_800
    card_mode: int = 0
    code_mode: int = 1
    card_limit_s: int = 36_000
    card_limit_dwh: int = 30_000
    volume: int = 60
    mute_from: int = 1_320
    mute_to: int = 420
    heartbeat_s: int = 60
    sample_s: int = 30
    debounce_s: int = 2

    def with_settings(self, settings: Mapping[str, int]) -> "Thresholds":
        """These rules with settings put in force over them; the caller has checked names and ranges."""
        wanted: dict[str, Any] = dict(settings)
        return replace(self, **wanted)

    def settings(self) -> dict[str, int]:
        """Every setting as it is in force, in the order of the table."""
        return {key: round(getattr(self, key)) for key in SETTINGS}


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
    A pile without ``battery_clock`` wakes up in 1970 until the platform tells it the time. ``firmware_key`` is the
    maker's Ed25519 key of 32 bytes: without it no firmware is genuine. A ``host`` is the pile of the same fleet, named
    before it, that carries this one's frames.
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
    host: str | None = None
    firmware_key: bytes | None = None
    renewal_url: str | None = None
    seed: int = 0
