"""Endpoints for a site's load: what its piles drew, by hour and by local day."""

from datetime import date, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from charging import site_loads, sites
from charging.site_loads import SiteLoad
from operator_api.parameters import EARLIEST, LATEST, SITE_ID_PATTERN
from operator_api.problems import NOT_FOUND, OperatorRoute
from operator_api.service import OperatorService

MOST_DAYS = 366

SiteId = Annotated[str, Path(max_length=63, pattern=SITE_ID_PATTERN, description="Site id")]
Day = Annotated[
    date,
    Field(ge=EARLIEST.date(), le=LATEST.date()),
    Query(description="A local day (Asia/Shanghai), 2026-05-04"),
]


class LoadView(BaseModel):
    """Load from an instant on, as samples tell it; nothing is billed from it."""

    begins_at: datetime
    energy_wh: float = Field(description="Energy, in Wh, to 0.1")
    busy_s: int = Field(description="Seconds in which sockets charged, all added up")
    peak_socket_w: float = Field(description="Most power of one socket, in W")


class DayLoadView(BaseModel):
    """A site's local day."""

    site_id: str
    day: date
    whole: LoadView
    peak_hour_w: float = Field(description="Highest mean power of an hour, all sockets together, in W")
    hours: list[LoadView] = Field(description="The hours in which anything charged")


class LoadDays(BaseModel):
    """A site's local days in which anything charged."""

    site_id: str
    days: list[LoadView]


def create_router(service: OperatorService) -> APIRouter:
    """Load of a site on one day by hours, and over days."""
    router = APIRouter(route_class=OperatorRoute, tags=["Sites"])

    @router.get(
        "/sites/{site_id}/load", summary="A site's load on a local day, by the hour", responses=NOT_FOUND
    )
    def get_load(site_id: SiteId, day: Day) -> DayLoadView:
        with service.pool.connection() as conn:
            sites.get(conn, site_id)
            load = site_loads.of_day(conn, site_id=site_id, day=day)
        return DayLoadView(
            site_id=site_id,
            day=day,
            whole=_view(load.whole),
            peak_hour_w=load.peak_hour_dw / 10,
            hours=[_view(hour) for hour in load.hours],
        )

    @router.get(
        "/sites/{site_id}/load-days",
        summary=f"A site's load day by day, for at most {MOST_DAYS} days",
        responses=NOT_FOUND,
    )
    def get_load_days(site_id: SiteId, first_day: Day, last_day: Day) -> LoadDays:
        newest = min(last_day, first_day + timedelta(days=MOST_DAYS - 1))
        with service.pool.connection() as conn:
            sites.get(conn, site_id)
            days = site_loads.of_days(
                conn, site_id=site_id, first_day=first_day, last_day=newest, now=service.clock()
            )
        return LoadDays(site_id=site_id, days=[_view(load) for load in days])

    return router


def _view(load: SiteLoad) -> LoadView:
    return LoadView(
        begins_at=load.begins_at,
        energy_wh=load.energy_dwh / 10,
        busy_s=load.busy_s,
        peak_socket_w=load.peak_dw / 10,
    )
