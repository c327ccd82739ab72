"""What the platform puts in force: settings all or none, and the tariff to show."""

from collections.abc import Iterator
from itertools import combinations
from typing import Final
from uuid import UUID

from device_sim.part import Hears, Part
from device_sim.telemetry import Telemetry
from protocol import codec, config_keys
from protocol.messages import Config, ConfigSet, ConfigValue, Tariff, TariffBand, TariffSet
from protocol.topics import Direction
from protocol.words import ConfigResult, LogLevel, TariffCause, TariffResult

TARIFFS_KEPT: Final = 2
"""The one shown and one that begins later."""

_DAY_MINUTES: Final = 1_440
_NO_UPPER_END_W: Final = 1 << 30


class Settings(Part):
    """``config_set`` and ``tariff_set``, kept over power cuts."""

    def hears(self) -> Hears:
        """Settings and tariff, each answered with what is now in force."""
        return {ConfigSet: self._set_config, TariffSet: self._set_tariff}

    def config(self, result: ConfigResult = ConfigResult.REPORTED, command_id: UUID | None = None) -> Config:
        """The settings in force."""
        values = tuple(ConfigValue(*item) for item in self.pile.thresholds.settings().items())
        return Config(self.pile.config_version, result, values, command_id)

    def tariff(self, result: TariffResult = TariffResult.REPORTED, command_id: UUID | None = None) -> Tariff:
        """The newest tariff kept."""
        return Tariff(self.pile.tariff_version, result, command_id)

    def shown(self, at_ms: int) -> TariffSet | None:
        """The tariff a rider who comes at an instant of the street's clock is shown; None before the first."""
        device_ms = self.pile.device_ms(at_ms)
        valid = [tariff for tariff in self._tariffs() if tariff.valid_from_ms <= device_ms]
        return valid[-1] if valid else None

    def _set_config(self, wanted: ConfigSet) -> None:
        pile = self.pile
        offence = config_keys.offence_of(pile.thresholds.settings(), wanted.values)
        if pile.is_late(wanted):
            answer = self.config(ConfigResult.EXPIRED, wanted.command_id)
        elif offence is not None:
            pile.note(f"configuration {wanted.version} refused: {offence.key}", level=LogLevel.WARNING)
            values = self.config().values
            answer = Config(
                pile.config_version,
                ConfigResult.REFUSED,
                values,
                wanted.command_id,
                offence.key,
                offence.cause,
            )
        else:
            settings = {value.key: value.value for value in wanted.values}
            pile.memory.settings |= settings
            pile.memory.config_version = wanted.version
            pile.adopt(pile.thresholds.with_settings(settings))
            if settings.keys() & {"heartbeat_s", "sample_s"}:
                pile.part(Telemetry).intervals_changed(pile.now_ms)
            pile.note(f"configuration {wanted.version} in force")
            answer = self.config(ConfigResult.APPLIED, wanted.command_id)
        pile.records.answer(wanted.command_id, answer)

    def _set_tariff(self, wanted: TariffSet) -> None:
        pile = self.pile
        if pile.is_late(wanted):
            answer = self.tariff(TariffResult.EXPIRED, wanted.command_id)
        elif any(_overlap(one, other) for one, other in combinations(wanted.bands, 2)):
            pile.note(f"tariff {wanted.version} refused: bands overlap", level=LogLevel.WARNING)
            cause = TariffCause.OVERLAP
            answer = Tariff(pile.tariff_version, TariffResult.REFUSED, wanted.command_id, cause)
        else:
            shown = self.shown(pile.now_ms)
            kept = [tariff for tariff in (shown, wanted) if tariff is not None]
            pile.memory.tariffs = [codec.encode(tariff) for tariff in kept[-TARIFFS_KEPT:]]
            pile.memory.tariff_version = wanted.version
            pile.note(f"tariff {wanted.version} kept")
            answer = self.tariff(TariffResult.STORED, wanted.command_id)
        pile.records.answer(wanted.command_id, answer)

    def _tariffs(self) -> Iterator[TariffSet]:
        for body in self.pile.memory.tariffs:
            tariff = codec.decode(Direction.DOWN, "tariff_set", body)
            assert isinstance(tariff, TariffSet), "the memory holds messages of this version"
            yield tariff


def _overlap(one: TariffBand, other: TariffBand) -> bool:
    """Whether two prices of one fee and unit hold at the same time for the same power."""
    return (
        one.fee is other.fee
        and one.unit is other.unit
        and one.days & other.days != 0
        and one.min_power_w < (other.max_power_w or _NO_UPPER_END_W)
        and other.min_power_w < (one.max_power_w or _NO_UPPER_END_W)
        and any(
            start < other_end and other_start < end
            for start, end in _spans(one)
            for other_start, other_end in _spans(other)
        )
    )


def _spans(band: TariffBand) -> tuple[tuple[int, int], ...]:
    """The minutes of a day, in two pieces when they go over midnight."""
    if band.from_minute < band.to_minute:
        return ((band.from_minute, band.to_minute),)
    return ((band.from_minute, _DAY_MINUTES), (0, band.to_minute))
