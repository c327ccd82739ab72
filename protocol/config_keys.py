"""The settings of a pile that ``config_set`` may name: unit, range, default and what each does.

A trip and its warning are settings of their own, and each trip has its switch: a sensor that lies must not close a
street, and switching a trip off must not hide the warning.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from protocol.words import ConfigCause

OFF: Final = 0
"""The value of a threshold that is switched off, where the setting allows 0."""


class Setting(NamedTuple):
    """One setting: an integer between two bounds, its unit and its default."""

    unit: str
    low: int
    high: int
    default: int
    meaning: str


SETTINGS: Final[Mapping[str, Setting]] = {
    "full_w": Setting("W", 1, 250, 30, "a battery that draws less for `full_s` is full"),
    "full_s": Setting("s", 10, 7_200, 600, "see `full_w`"),
    "float_s": Setting("s", 0, 14_400, 3_600, "a local start stays on so long once full"),
    "start_w": Setting("W", 1, 100, 5, "the first power that counts as a load"),
    "unplug_w": Setting("W", 0, 50, 2, "less than this for `unplug_s` with the plug sensed out is unplugged"),
    "unplug_s": Setting("s", 1, 600, 10, "see `unplug_w`"),
    "plug_wait_s": Setting("s", 10, 600, 120, "wait for a load, for local starts"),
    "max_power_w": Setting("W", 50, 3_500, 1_000, "most a port may draw, whatever `start` says"),
    "overload_s": Setting("s", 1, 60, 3, "how long a port may draw too much before it trips"),
    "max_current_ma": Setting("mA", 500, 20_000, 6_000, "most current of a port"),
    "pile_start_w": Setting("W", 100, 50_000, 7_800, "no new start while the pile draws more"),
    "pile_cut_w": Setting("W", 100, 50_000, 8_700, "above this the newest session ends"),
    "temp_warn_dc": Setting("0.1 °C", 0, 1_200, 600, "warn when a socket is as hot; 0: never"),
    "temp_trip_dc": Setting("0.1 °C", 300, 1_200, 800, "trip when a socket is as hot"),
    "temp_trip_on": Setting("flag", 0, 1, 1, "whether `temp_trip_dc` trips or only warns"),
    "board_warn_dc": Setting("0.1 °C", 0, 1_200, 700, "warn when the board is as hot; 0: never"),
    "board_trip_dc": Setting("0.1 °C", 300, 1_200, 900, "trip when the board is as hot"),
    "board_trip_on": Setting("flag", 0, 1, 1, "whether `board_trip_dc` trips or only warns"),
    "leak_warn_ma": Setting("mA", 0, 300, 15, "warn at this residual current; 0: never"),
    "leak_trip_ma": Setting("mA", 6, 300, 30, "trip at this residual current; cannot be switched off"),
    "volt_min_dv": Setting("0.1 V", 1_000, 2_200, 1_700, "mains lower than this for 10 s ends sessions"),
    "volt_max_dv": Setting("0.1 V", 2_200, 3_000, 2_700, "mains higher than this for 10 s ends sessions"),
    "max_session_s": Setting("s", 600, 86_400, 43_200, "the pile's own longest session"),
    "offline_s": Setting(
        "s", 0, 86_400, 0, "without the platform for so long, `offline_policy` holds; 0: never"
    ),
    "offline_policy": Setting(
        "choice", 0, 1, 0, "0 sessions go on to their limits, 1 they end as `offline_timeout`"
    ),
    "resume_after_power": Setting(
        "flag", 0, 1, 0, "go on if power returns within `resume_s`, the plug still in"
    ),
    "resume_s": Setting("s", 0, 7_200, 1_800, "see `resume_after_power`"),
    "card_mode": Setting("choice", 0, 1, 0, "local start by card: 0 refused, 1 allowed while offline"),
    "code_mode": Setting("choice", 0, 1, 1, "local start by code: 0 refused, 1 allowed"),
    "card_limit_s": Setting("s", 600, 43_200, 36_000, "longest session by card"),
    "card_limit_dwh": Setting("0.1 Wh", 1_000, 100_000, 30_000, "most energy of a session by card"),
    "volume": Setting("%", 0, 100, 60, "loudness of the voice"),
    "mute_from": Setting("minute", 0, 1_439, 1_320, "silent from this minute of the day"),
    "mute_to": Setting("minute", 0, 1_439, 420, "silent until this minute of the day"),
    "heartbeat_s": Setting("s", 1, 86_400, 60, "between heartbeats; `boot_ack` sets it too"),
    "sample_s": Setting("s", 1, 3_600, 30, "between meter frames; `boot_ack` sets it too"),
}

_BELOW: Final = (
    ("temp_warn_dc", "temp_trip_dc"),
    ("board_warn_dc", "board_trip_dc"),
    ("leak_warn_ma", "leak_trip_ma"),
    ("volt_min_dv", "volt_max_dv"),
    ("pile_start_w", "pile_cut_w"),
)


class Offence(NamedTuple):
    """What is wrong with a configuration: the setting at fault, by name, and why."""

    key: str
    cause: ConfigCause


def defaults() -> dict[str, int]:
    """Every setting at its default."""
    return {key: setting.default for key, setting in SETTINGS.items()}


def offence_of(in_force: Mapping[str, int], wanted: Sequence[tuple[str, int]]) -> Offence | None:
    """What keeps settings from being put in force on top of others; None if nothing does."""
    for key, value in wanted:
        setting = SETTINGS.get(key)
        if setting is None:
            return Offence(key, ConfigCause.UNKNOWN_KEY)
        if not setting.low <= value <= setting.high:
            return Offence(key, ConfigCause.OUT_OF_RANGE)
    together = {**defaults(), **in_force, **dict(wanted)}
    named = dict(wanted)
    for lower, upper in _BELOW:
        if together[lower] != OFF and together[lower] >= together[upper]:
            return Offence(lower if lower in named else upper, ConfigCause.CONTRADICTION)
    return None
