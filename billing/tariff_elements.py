"""The elements of an OCPI 2.2.1 tariff: prices, and the restrictions that say when they apply.

Source: OCPI 2.2.1, module Tariffs. Restrictions are half-open everywhere: from the lower bound inclusive to the
upper bound exclusive. Times, dates and days are those of Asia/Shanghai; in a band over midnight `day_of_week`
is the day of the moment itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, field_validator, model_validator

LOCAL = ZoneInfo("Asia/Shanghai")
"""The time zone of tariff bands and billing days."""

DAY_S = 86_400


class Dimension(StrEnum):
    """OCPI TariffDimensionType: what a price multiplies."""

    ENERGY = "ENERGY"
    TIME = "TIME"
    PARKING_TIME = "PARKING_TIME"
    FLAT = "FLAT"


class DayOfWeek(StrEnum):
    """OCPI DayOfWeek, in the order of `date.weekday()`."""

    MONDAY = "MONDAY"
    TUESDAY = "TUESDAY"
    WEDNESDAY = "WEDNESDAY"
    THURSDAY = "THURSDAY"
    FRIDAY = "FRIDAY"
    SATURDAY = "SATURDAY"
    SUNDAY = "SUNDAY"


DAYS = tuple(DayOfWeek)


@dataclass(frozen=True)
class Moment:
    """What a restriction looks at: local calendar, energy so far, power, time since the session began."""

    day: date
    weekday: DayOfWeek
    time_s: int
    consumed_dwh: int
    power_dw: int
    elapsed_s: int


def moment(at: datetime, *, session_started_at: datetime, consumed_dwh: int = 0, power_dw: int = 0) -> Moment:
    """The moment of an instant in a session."""
    local = at.astimezone(LOCAL)
    return Moment(
        day=local.date(),
        weekday=DAYS[local.weekday()],
        time_s=local.hour * 3600 + local.minute * 60 + local.second,
        consumed_dwh=consumed_dwh,
        power_dw=power_dw,
        elapsed_s=max(0, (at - session_started_at) // timedelta(seconds=1)),
    )


def _plain(number: Decimal) -> str:
    return format(number.normalize(), "f")


Yuan = Annotated[Decimal, Field(ge=0, le=1000, decimal_places=6), PlainSerializer(_plain, return_type=str)]
WholeFenYuan = Annotated[Decimal, Field(ge=0, le=1000, decimal_places=2), PlainSerializer(_plain, str)]
Tenths = Annotated[Decimal, Field(ge=0, le=100_000, decimal_places=4), PlainSerializer(_plain, str)]
TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Seconds = Annotated[int, Field(ge=0, le=366 * DAY_S)]


class OcpiObject(BaseModel):
    """What all tariff objects share: immutable, and no field that could be silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PriceComponent(OcpiObject):
    """A price in yuan: per kWh (ENERGY), per hour (TIME, PARKING_TIME), or once (FLAT).

    `step_size` is in Wh for ENERGY, in seconds for the times, and without meaning for FLAT.
    """

    type: Dimension
    price: Yuan
    step_size: Annotated[int, Field(ge=1, le=DAY_S)] = 1


class Restrictions(OcpiObject):
    """When an element applies; all that are given must hold. Energy in kWh, power in kW, durations in s."""

    start_time: TimeOfDay | None = None
    end_time: TimeOfDay | None = None
    start_date: date | None = None
    end_date: date | None = None
    min_kwh: Tenths | None = None
    max_kwh: Tenths | None = None
    min_power: Tenths | None = None
    max_power: Tenths | None = None
    min_duration: Seconds | None = None
    max_duration: Seconds | None = None
    day_of_week: Annotated[tuple[DayOfWeek, ...], Field(max_length=7)] = ()

    @model_validator(mode="after")
    def _bounds_make_sense(self) -> Self:
        if (self.start_time is None) != (self.end_time is None):
            raise ValueError("start_time and end_time come together")
        if self.start_time is not None and self.start_time == self.end_time:
            raise ValueError("start_time equals end_time; leave both out for the whole day")
        for lower, upper in (
            ("start_date", "end_date"),
            ("min_kwh", "max_kwh"),
            ("min_power", "max_power"),
            ("min_duration", "max_duration"),
        ):
            low, high = getattr(self, lower), getattr(self, upper)
            if low is not None and high is not None and low >= high:
                raise ValueError(f"{lower} {low} is not below {upper} {high}")
        return self

    @cached_property
    def band_s(self) -> tuple[int, int] | None:
        """The daily band in seconds from midnight; it crosses midnight when the second is not the larger."""
        if self.start_time is None or self.end_time is None:
            return None
        return _seconds(self.start_time), _seconds(self.end_time)

    @cached_property
    def energy_dwh(self) -> tuple[int | None, int | None]:
        """Energy bounds in 0.1 Wh."""
        return _tenths(self.min_kwh), _tenths(self.max_kwh)

    @cached_property
    def power_dw(self) -> tuple[int | None, int | None]:
        """Power bounds in 0.1 W."""
        return _tenths(self.min_power), _tenths(self.max_power)

    @property
    def duration_s(self) -> tuple[int | None, int | None]:
        """Bounds on the time since the session began, in seconds."""
        return self.min_duration, self.max_duration

    @property
    def unrestricted(self) -> bool:
        """Whether nothing is restricted."""
        return self == UNRESTRICTED

    @property
    def by_calendar_alone(self) -> bool:
        """Whether nothing but time, date and day is restricted."""
        return {*self.energy_dwh, *self.power_dw, *self.duration_s} == {None}

    @property
    def band(self) -> str:
        """The restrictions in signs and figures, such as `MON,TUE 22:00-06:00 200-400 W`; empty without any."""
        parts = [
            ",".join(day[:3] for day in self.day_of_week),
            _range(self.start_date, self.end_date, join="/"),
            f"{self.start_time}-{self.end_time}" if self.start_time else "",
            _range(_scaled(self.min_power, 1000), _scaled(self.max_power, 1000), unit=" W"),
            _range(_scaled(self.min_kwh, 1), _scaled(self.max_kwh, 1), unit=" kWh"),
            _range(self.min_duration, self.max_duration, unit=" s"),
        ]
        return " ".join(part for part in parts if part)

    def admits(self, at: Moment) -> bool:
        """Whether every restriction holds at the moment."""
        return (
            self.admits_calendar(at)
            and _within(at.consumed_dwh, self.energy_dwh)
            and _within(at.power_dw, self.power_dw)
            and _within(at.elapsed_s, self.duration_s)
        )

    def admits_calendar(self, at: Moment) -> bool:
        """Whether the restrictions on time, date and day hold, whatever the session has used."""
        if self.day_of_week and at.weekday not in self.day_of_week:
            return False
        if self.start_date is not None and at.day < self.start_date:
            return False
        if self.end_date is not None and at.day >= self.end_date:
            return False
        if self.band_s is None:
            return True
        start_s, end_s = self.band_s
        if start_s < end_s:
            return start_s <= at.time_s < end_s
        return at.time_s >= start_s or at.time_s < end_s


UNRESTRICTED = Restrictions()


class Element(OcpiObject):
    """OCPI TariffElement: prices that share their restrictions."""

    price_components: Annotated[tuple[PriceComponent, ...], Field(min_length=1, max_length=4)]
    restrictions: Restrictions = UNRESTRICTED

    @field_validator("price_components")
    @classmethod
    def _each_dimension_once(cls, components: tuple[PriceComponent, ...]) -> tuple[PriceComponent, ...]:
        dimensions = [component.type for component in components]
        if len(set(dimensions)) < len(dimensions):
            raise ValueError("a dimension is priced twice in one element")
        return components

    def component(self, dimension: Dimension) -> PriceComponent | None:
        """The element's price of a dimension, if it has one."""
        return next((each for each in self.price_components if each.type is dimension), None)


def _seconds(time_of_day: str) -> int:
    hours, minutes = time_of_day.split(":")
    return int(hours) * 3600 + int(minutes) * 60


def _tenths(number: Decimal | None) -> int | None:
    # At most four places, so a whole number of tenths: kWh to 0.1 Wh, kW to 0.1 W.
    return None if number is None else int(number * 10_000)


def _within(value: int, bounds: tuple[int | None, int | None]) -> bool:
    low, high = bounds
    return (low is None or value >= low) and (high is None or value < high)


def _scaled(number: Decimal | None, factor: int) -> str | None:
    return None if number is None else _plain(number * factor)


def _range(low: object | None, high: object | None, *, join: str = "-", unit: str = "") -> str:
    if low is None and high is None:
        return ""
    if high is None:
        return f"≥{low}{unit}"
    return f"<{high}{unit}" if low is None else f"{low}{join}{high}{unit}"
