"""Endpoints for the care of piles: configuration, shown tariff, log lines."""

from contextlib import suppress
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from psycopg import Connection
from psycopg.rows import TupleRow

from charging import configurations, pile_care, pile_logs, piles, shown_tariffs, tariff_bands
from charging.errors import TariffUnshowable
from operator_api import care_models, cursors
from operator_api.care_models import (
    ConfigurationView,
    LogPage,
    NewConfiguration,
    SettingView,
    ShownTariffView,
)
from operator_api.parameters import PILE_ID_PATTERN, Cursor
from operator_api.problems import NOT_FOUND, OperatorRoute
from operator_api.service import OperatorService

MOST_LINES = 1000
WISHES_SHOWN = 20
SET_BY = "operator"

PileId = Annotated[str, Path(max_length=64, pattern=PILE_ID_PATTERN, description="Pile id")]


def create_router(service: OperatorService) -> APIRouter:
    """Settings, configurations, shown tariffs and logs."""
    router = APIRouter(route_class=OperatorRoute, tags=["Care"])

    @router.get("/settings", summary="The settings a configuration may name")
    def list_settings() -> list[SettingView]:
        return [care_models.setting_view(key, setting) for key, setting in service.settings.settings.items()]

    @router.get(
        "/piles/{pile_id}/configuration",
        summary="A pile's configuration as wanted and as reported",
        responses=NOT_FOUND,
    )
    def get_configuration(pile_id: PileId) -> ConfigurationView:
        with service.pool.connection() as conn:
            piles.get(conn, pile_id)
            return _configuration(conn, pile_id)

    @router.put(
        "/piles/{pile_id}/configuration",
        summary="Want another configuration; a setting that cannot be is refused by name",
        responses=NOT_FOUND,
    )
    def want_configuration(pile_id: PileId, new: NewConfiguration) -> ConfigurationView:
        with service.pool.connection() as conn:
            configurations.want(
                conn,
                pile_id=pile_id,
                settings=new.settings,
                set_by=SET_BY,
                table=service.settings,
                waits=service.waits,
                now=service.clock(),
            )
            return _configuration(conn, pile_id)

    @router.get(
        "/piles/{pile_id}/shown-tariff",
        summary="The tariff a pile should show, and the one it shows",
        responses=NOT_FOUND,
    )
    def get_shown_tariff(pile_id: PileId) -> ShownTariffView:
        with service.pool.connection() as conn:
            return _shown_tariff(service, conn, pile_id)

    @router.get("/piles/{pile_id}/log-lines", summary="Lines of a pile's own log", responses=NOT_FOUND)
    def list_log_lines(
        pile_id: PileId,
        command_id: Annotated[UUID | None, Query(description="Only those this command brought")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_LINES, description="At most so many")] = 200,
        cursor: Cursor = None,
    ) -> LogPage:
        before = cursors.read_number(cursor)
        with service.pool.connection() as conn:
            piles.get(conn, pile_id)
            found = pile_logs.page(conn, pile_id, limit=limit + 1, command_id=command_id, before=before)
        page = found[:limit]
        return LogPage(
            lines=[care_models.log_line_view(line) for line in page],
            next_cursor=cursors.write_text(str(page[-1].line_id)) if len(found) > limit else None,
        )

    return router


def _configuration(conn: Connection[TupleRow], pile_id: str) -> ConfigurationView:
    return care_models.configuration_view(
        pile_id,
        pile_care.find(conn, pile_id),
        configurations.history(conn, pile_id, limit=WISHES_SHOWN),
    )


def _shown_tariff(service: OperatorService, conn: Connection[TupleRow], pile_id: str) -> ShownTariffView:
    site_id = piles.get(conn, pile_id).site_id
    wish = shown_tariffs.wanted(conn, site_id=site_id, now=service.clock())
    telling = shown = None
    if wish is not None:
        telling = shown_tariffs.telling(conn, pile_id=pile_id, tariff_version_id=wish.tariff_version_id)
        with suppress(TariffUnshowable):
            shown = tariff_bands.shown(wish)
    return care_models.shown_tariff_view(
        pile_id,
        pile_care.find(conn, pile_id),
        wanted_version_id=wish.tariff_version_id if wish is not None else None,
        shown=shown,
        telling=telling,
    )
