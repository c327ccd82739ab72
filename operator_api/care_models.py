"""A pile's configuration, its shown tariff and its log as JSON."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field, StrictInt

from charging import shown_tariffs
from charging.configurations import Configuration, Outcome, Setting
from charging.pile_care import PileCare
from charging.pile_logs import LogLine
from charging.shown_tariffs import Telling
from charging.tariff_bands import ShownTariff

SettingName = Annotated[str, Field(pattern="^[a-z0-9_]{1,32}$")]
SettingValue = Annotated[StrictInt, Field(ge=-1_000_000, le=1_000_000_000)]


class SettingView(BaseModel):
    """A setting piles may know."""

    key: str
    unit: str
    low: int = Field(description="Least value")
    high: int = Field(description="Most value")
    default: int
    meaning: str


class NewConfiguration(BaseModel):
    """The whole set of settings wanted; what is not named keeps its value in the pile."""

    settings: dict[SettingName, SettingValue] = Field(min_length=1, max_length=64)


class WantedConfiguration(BaseModel):
    """What somebody wants in force."""

    version: int
    settings: Mapping[str, int]
    set_by: str
    set_at: datetime
    outcome: Outcome | None = Field(
        description="Null until the pile has answered; `refused` is not sent again"
    )
    outcome_at: datetime | None
    refused_key: str | None = Field(description="The setting the pile found at fault")
    cause: str | None = Field(description="Why it refused")


class ReportedConfiguration(BaseModel):
    """What the pile says is in force."""

    version: int = Field(description="0 for none of ours")
    settings: Mapping[str, int] = Field(description="As it told them last")
    reported_at: datetime


class ConfigurationView(BaseModel):
    """A pile's configuration as wanted and as reported."""

    pile_id: str
    wanted: WantedConfiguration | None
    reported: ReportedConfiguration | None
    in_force: bool = Field(description="Whether nothing is wanted that the pile has not reported")
    history: list[WantedConfiguration] = Field(description="Wishes before, newest first")


class BandView(BaseModel):
    """One price; `days` holds Monday as 1 to Sunday as 7."""

    fee: str
    unit: str = Field(description="kwh, hour or session")
    days: list[int]
    from_minute: int = Field(description="Minute of the day in the site's zone")
    to_minute: int
    min_power_w: int = Field(description="From this power on, in W")
    max_power_w: int | None = Field(description="Below this power, in W; null for no upper end")
    price_yuan: str


class ShownTariffView(BaseModel):
    """The tariff a pile should show and the one it says it shows."""

    pile_id: str
    wanted_version_id: int | None
    reported_version_id: int = Field(description="0 for none of ours")
    reported_at: datetime | None
    outcome: shown_tariffs.Outcome | None = Field(description="How telling it ended; null while it has not")
    outcome_at: datetime | None
    cause: str | None
    bands: list[BandView] = Field(description="Empty where the tariff cannot be shown")
    text: str | None


class LogLineView(BaseModel):
    """A line of a pile's own log."""

    line_id: int
    command_id: UUID
    logged_at: datetime = Field(description="By the pile's clock")
    received_at: datetime
    level: str
    text: str


class LogPage(BaseModel):
    """Lines that arrived last, first."""

    lines: list[LogLineView]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null on the last")


def setting_view(key: str, setting: Setting) -> SettingView:
    """A setting as JSON."""
    return SettingView(
        key=key,
        unit=setting.unit,
        low=setting.low,
        high=setting.high,
        default=setting.default,
        meaning=setting.meaning,
    )


def configuration_view(pile_id: str, care: PileCare | None, wishes: list[Configuration]) -> ConfigurationView:
    """A pile's configuration as JSON; `wishes` newest first."""
    reported_at = None if care is None else care.config_reported_at
    return ConfigurationView(
        pile_id=pile_id,
        wanted=_wanted(wishes[0]) if wishes else None,
        reported=ReportedConfiguration(
            version=care.config_version, settings=care.config_settings, reported_at=reported_at
        )
        if care is not None and reported_at is not None
        else None,
        in_force=not wishes or (care is not None and care.config_version == wishes[0].version),
        history=[_wanted(wish) for wish in wishes[1:]],
    )


def shown_tariff_view(
    pile_id: str,
    care: PileCare | None,
    *,
    wanted_version_id: int | None,
    shown: ShownTariff | None,
    telling: Telling | None,
) -> ShownTariffView:
    """A pile's shown tariff as JSON."""
    return ShownTariffView(
        pile_id=pile_id,
        wanted_version_id=wanted_version_id,
        reported_version_id=care.tariff_version if care is not None else 0,
        reported_at=care.tariff_reported_at if care is not None else None,
        outcome=telling.outcome if telling is not None else None,
        outcome_at=telling.outcome_at if telling is not None else None,
        cause=telling.cause if telling is not None else None,
        bands=[
            BandView(
                fee=band.fee,
                unit=band.unit,
                days=[day_no for day_no in range(1, 8) if band.days & 1 << day_no - 1],
                from_minute=band.from_minute,
                to_minute=band.to_minute,
                min_power_w=band.min_power_w,
                max_power_w=band.max_power_w or None,
                price_yuan=band.price_yuan,
            )
            for band in (shown.bands if shown is not None else ())
        ],
        text=shown.text if shown is not None else None,
    )


def log_line_view(line: LogLine) -> LogLineView:
    """A line as JSON."""
    return LogLineView(
        line_id=line.line_id,
        command_id=line.command_id,
        logged_at=line.logged_at,
        received_at=line.received_at,
        level=line.level,
        text=line.text,
    )


def _wanted(wish: Configuration) -> WantedConfiguration:
    return WantedConfiguration(
        version=wish.version,
        settings=wish.settings,
        set_by=wish.set_by,
        set_at=wish.set_at,
        outcome=wish.outcome,
        outcome_at=wish.outcome_at,
        refused_key=wish.refused_key,
        cause=wish.cause,
    )
