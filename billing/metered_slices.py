"""Cutting metered periods where a tariff may change its price.

Within a period power is taken as even: a cut in time divides the energy in proportion, a cut in energy divides
the time, and whole units (0.1 Wh, seconds) are conserved by largest remainder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from billing.apportionment import largest_remainder
from billing.errors import RatingRefused
from billing.tariff_elements import DAY_S, LOCAL, Moment, Restrictions, moment

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class ChargingPeriod:
    """A metered stretch of a session: energy in 0.1 Wh and mean power in 0.1 W over `duration_s` seconds.

    `parked` says that the vehicle was plugged in and no longer charging (OCPI's PARKING_TIME).
    """

    started_at: datetime
    duration_s: int
    energy_dwh: int
    power_dw: int
    parked: bool = False


@dataclass(frozen=True)
class Slice:
    """A part of a period in which no restriction of the tariff changes its answer."""

    at: Moment
    duration_s: int
    energy_dwh: int
    parked: bool


@dataclass(frozen=True)
class Edges:
    """Where restrictions change: seconds of the local day, seconds of the session, energy of the session."""

    times_s: tuple[int, ...]
    durations_s: tuple[int, ...]
    energies_dwh: tuple[int, ...]


def edges(restrictions: Iterable[Restrictions]) -> Edges:
    """The edges of some restrictions."""
    times_s: set[int] = set()
    durations_s: set[int | None] = set()
    energies_dwh: set[int | None] = set()
    for each in restrictions:
        times_s.update(each.band_s or ())
        if each.start_date or each.end_date or each.day_of_week:
            times_s.add(0)
        durations_s.update(each.duration_s)
        energies_dwh.update(each.energy_dwh)
    return Edges(
        times_s=tuple(sorted(times_s)),
        durations_s=tuple(sorted(edge for edge in durations_s if edge is not None)),
        energies_dwh=tuple(sorted(edge for edge in energies_dwh if edge is not None)),
    )


def check(periods: Sequence[ChargingPeriod]) -> None:
    """Raise RatingRefused for periods that no meter can have produced."""
    previous: ChargingPeriod | None = None
    for period in periods:
        if min(period.duration_s, period.energy_dwh, period.power_dw) < 0:
            raise RatingRefused(f"a period at {period.started_at} with a negative quantity")
        if period.started_at.tzinfo is None:
            raise RatingRefused(f"a period at {period.started_at} without a time zone")
        if previous is not None and period.started_at < previous.started_at:
            raise RatingRefused(f"a period at {period.started_at} after one at {previous.started_at}")
        previous = period


def cut(periods: Iterable[ChargingPeriod], at: Edges, *, session_started_at: datetime) -> Iterator[Slice]:
    """The slices of the periods, in order; their durations and energies sum to those of the periods."""
    consumed_dwh = 0
    for period in periods:
        for started_at, duration_s, energy_dwh in _cut_by_time(period, at, session_started_at):
            for part_s, part_dwh in _cut_by_energy(consumed_dwh, duration_s, energy_dwh, at.energies_dwh):
                yield Slice(
                    moment(
                        started_at,
                        session_started_at=session_started_at,
                        consumed_dwh=consumed_dwh,
                        power_dw=period.power_dw,
                    ),
                    part_s,
                    part_dwh,
                    period.parked,
                )
                consumed_dwh += part_dwh


def changes(at: Edges, *, start: datetime, end: datetime, session_started_at: datetime) -> list[datetime]:
    """The instants strictly between `start` and `end` at which time, day or duration crosses an edge."""
    instants = {session_started_at + timedelta(seconds=edge) for edge in at.durations_s}
    if at.times_s:
        day = start.astimezone(LOCAL).date()
        while (midnight := datetime.combine(day, time(), LOCAL)) < end:
            instants.update(midnight + timedelta(seconds=edge % DAY_S) for edge in at.times_s)
            day += timedelta(days=1)
    return sorted(instant for instant in instants if start < instant < end)


def _cut_by_time(
    period: ChargingPeriod, at: Edges, session_started_at: datetime
) -> list[tuple[datetime, int, int]]:
    end = period.started_at + timedelta(seconds=period.duration_s)
    inner = changes(at, start=period.started_at, end=end, session_started_at=session_started_at)
    if not inner:
        return [(period.started_at, period.duration_s, period.energy_dwh)]
    starts = [period.started_at, *inner]
    weights = [(until - start) // _MICROSECOND for start, until in zip(starts, [*inner, end], strict=True)]
    durations_s = largest_remainder(period.duration_s, weights)
    energies_dwh = largest_remainder(period.energy_dwh, weights)
    return list(zip(starts, durations_s, energies_dwh, strict=True))


def _cut_by_energy(
    consumed_dwh: int, duration_s: int, energy_dwh: int, edges_dwh: Sequence[int]
) -> list[tuple[int, int]]:
    inner = [edge - consumed_dwh for edge in edges_dwh if 0 < edge - consumed_dwh < energy_dwh]
    if not inner:
        return [(duration_s, energy_dwh)]
    energies_dwh = [until - start for start, until in zip([0, *inner], [*inner, energy_dwh], strict=True)]
    return list(zip(largest_remainder(duration_s, energies_dwh), energies_dwh, strict=True))
