"""Endpoints for firmware: releases as their maker signed them, and their rollouts over the fleet."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from charging import firmware_releases, firmware_rollouts
from charging.errors import ReleaseRefused
from charging.firmware_releases import MOST_BYTES, PART_BYTES, SignatureCheck
from charging.firmware_rollouts import RolloutPileState, RolloutPlan, RolloutState
from charging.views import PageKey
from operator_api import cursors, firmware_models
from operator_api.firmware_models import (
    NewRollout,
    ReleasePage,
    ReleaseView,
    RolloutPage,
    RolloutPilePage,
    RolloutView,
    SignedManifest,
)
from operator_api.parameters import PRINTABLE_PATTERN, Cursor
from operator_api.problems import CONFLICT, NOT_FOUND, OperatorRoute
from operator_api.service import OperatorService

MOST_ROWS = 200
USUAL_WINDOW = timedelta(days=7)
FORM_BYTES = 64 << 10
"""Room for the manifest and the form's own lines around an image."""
BODY_LIMITS: dict[str, int | None] = {"/firmware/releases": None, "/firmware/rollouts": 512 << 10}
"""Bytes of a POST where they are not the usual: an upload checks its own, and a rollout may name 5000 piles."""

Limit = Annotated[int, Query(ge=1, le=MOST_ROWS, description="At most so many")]
ReleaseId = Annotated[int, Path(ge=1, le=1 << 53, description="Release id")]
RolloutId = Annotated[UUID, Path(description="Rollout id")]

_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["manifest", "image"],
                    "properties": {
                        "manifest": {"type": "string", "description": "What `pileway firmware sign` wrote"},
                        "image": {"type": "string", "format": "binary"},
                    },
                }
            }
        },
    }
}


@dataclass(frozen=True)
class FirmwareDesk:
    """Where piles find an image by its SHA-256, and whether its maker signed it; None leaves that to the piles."""

    image_url: Callable[[bytes], str]
    is_genuine: SignatureCheck | None = None


def create_router(service: OperatorService, desk: FirmwareDesk) -> APIRouter:
    """Releases and rollouts."""
    router = APIRouter(route_class=OperatorRoute, tags=["Firmware"])
    _add_releases(router, service, desk)
    _add_rollouts(router, service, desk)
    return router


def _add_releases(router: APIRouter, service: OperatorService, desk: FirmwareDesk) -> None:
    @router.post(
        "/firmware/releases",
        status_code=201,
        summary="Upload an image with its signed manifest; the same again changes nothing",
        responses=CONFLICT,
        openapi_extra=_UPLOAD,
    )
    async def upload(request: Request) -> ReleaseView:
        _check_size(request)
        async with request.form(max_files=2, max_fields=2, max_part_size=FORM_BYTES) as form:
            signed = _signed(await _text(form.get("manifest")))
            image = form.get("image")
            if not isinstance(image, UploadFile):
                raise RequestValidationError([_missing("image")])
            return await run_in_threadpool(_publish, service, desk, signed, image)

    @router.get("/firmware/releases", summary="Releases, newest first")
    def list_releases(
        model: Annotated[
            str | None, Query(max_length=64, pattern=PRINTABLE_PATTERN, description="Only for this model")
        ] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> ReleasePage:
        with service.pool.connection() as conn:
            found = firmware_releases.page(
                conn, limit=limit + 1, model=model, before=cursors.read_number(cursor)
            )
        page = found[:limit]
        return ReleasePage(
            releases=[firmware_models.release_view(each, desk.image_url(each.sha256)) for each in page],
            next_cursor=cursors.write_text(str(page[-1].release_id)) if len(found) > limit else None,
        )

    @router.get("/firmware/releases/{release_id}", summary="One release", responses=NOT_FOUND)
    def get_release(release_id: ReleaseId) -> ReleaseView:
        with service.pool.connection() as conn:
            release = firmware_releases.get(conn, release_id)
        return firmware_models.release_view(release, desk.image_url(release.sha256))


def _add_rollouts(router: APIRouter, service: OperatorService, desk: FirmwareDesk) -> None:
    @router.post(
        "/firmware/rollouts",
        status_code=201,
        summary="Bring a release to piles, in stages that stop by themselves on failures",
        responses=NOT_FOUND,
    )
    def begin(new: NewRollout) -> RolloutView:
        now = service.clock()
        window_from = new.window_from or now
        plan = RolloutPlan(
            release_id=new.release_id,
            site_id=new.site_id,
            pile_ids=new.pile_ids,
            stages_percent=new.stages_percent,
            window_from=window_from,
            window_to=new.window_to or window_from + USUAL_WINDOW,
            force=new.force,
            patience=timedelta(seconds=new.patience_s),
            stop_at_failures=new.stop_at_failures,
            stop_at_share_bps=new.stop_at_share_bps,
        )
        with service.pool.connection() as conn:
            release = firmware_releases.get(conn, new.release_id)
            begun = firmware_rollouts.begin(conn, plan, image_url=desk.image_url(release.sha256), now=now)
        return _view(service, begun.rollout_id)

    @router.get("/firmware/rollouts", summary="Rollouts, newest first")
    def list_rollouts(
        state: Annotated[RolloutState | None, Query(description="Only those in this state")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> RolloutPage:
        key = cursors.read_key(cursor)
        after = None if key is None else (key.created_at, key.session_id)
        with service.pool.connection() as conn:
            found = firmware_rollouts.page(conn, limit=limit + 1, state=state, after=after)
            page = found[:limit]
            counts = firmware_rollouts.counts(conn, [each.rollout_id for each in page])
        last = PageKey(page[-1].created_at, page[-1].rollout_id) if len(found) > limit else None
        return RolloutPage(
            rollouts=[firmware_models.rollout_view(each, counts[each.rollout_id]) for each in page],
            next_cursor=cursors.write_key(last) if last else None,
        )

    @router.get("/firmware/rollouts/{rollout_id}", summary="One rollout, stage by stage", responses=NOT_FOUND)
    def get_rollout(rollout_id: RolloutId) -> RolloutView:
        return _view(service, rollout_id)

    @router.get(
        "/firmware/rollouts/{rollout_id}/piles", summary="The piles of a rollout, by id", responses=NOT_FOUND
    )
    def list_piles(
        rollout_id: RolloutId,
        state: Annotated[RolloutPileState | None, Query(description="Only those in this state")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> RolloutPilePage:
        after = cursors.read_text(cursor)
        with service.pool.connection() as conn:
            firmware_rollouts.get(conn, rollout_id)
            found = firmware_rollouts.piles_of(conn, rollout_id, limit=limit + 1, state=state, after=after)
        page = found[:limit]
        return RolloutPilePage(
            piles=[firmware_models.pile_view(part) for part in page],
            next_cursor=cursors.write_text(page[-1].pile_id) if len(found) > limit else None,
        )

    _add_moves(router, service)


def _add_moves(router: APIRouter, service: OperatorService) -> None:
    refusals = NOT_FOUND | CONFLICT

    @router.post(
        "/firmware/rollouts/{rollout_id}/pause",
        summary="Tell no further pile until it is resumed; those told go on",
        responses=refusals,
    )
    def pause(rollout_id: RolloutId) -> RolloutView:
        with service.pool.connection() as conn:
            firmware_rollouts.pause(conn, rollout_id, now=service.clock())
        return _view(service, rollout_id)

    @router.post(
        "/firmware/rollouts/{rollout_id}/resume", summary="Go on where it was paused", responses=refusals
    )
    def resume(rollout_id: RolloutId) -> RolloutView:
        with service.pool.connection() as conn:
            firmware_rollouts.resume(conn, rollout_id, now=service.clock())
        return _view(service, rollout_id)

    @router.post(
        "/firmware/rollouts/{rollout_id}/abort",
        summary="End it for good; piles that took their command go on",
        responses=refusals,
    )
    def abort(rollout_id: RolloutId) -> RolloutView:
        with service.pool.connection() as conn:
            firmware_rollouts.abort(conn, rollout_id, now=service.clock())
        return _view(service, rollout_id)


def _publish(
    service: OperatorService, desk: FirmwareDesk, signed: SignedManifest, image: UploadFile
) -> ReleaseView:
    with service.pool.connection() as conn:
        release = firmware_releases.publish(
            conn,
            signed.manifest,
            bytes.fromhex(signed.signature),
            _pieces(image),
            is_genuine=desk.is_genuine,
            now=service.clock(),
        )
    return firmware_models.release_view(release, desk.image_url(release.sha256))


def _pieces(image: UploadFile) -> Iterator[bytes]:
    while piece := image.file.read(PART_BYTES):
        yield piece


def _check_size(request: Request) -> None:
    """Nothing is read of a body that is too long or does not say how long it is."""
    length = request.headers.get("content-length", "")
    readable = length.isascii() and length.isdigit() and len(length) <= 12
    if not readable or int(length) > MOST_BYTES + FORM_BYTES:
        raise ReleaseRefused(
            "size", f"Content-Length is missing, or more than {MOST_BYTES + FORM_BYTES} bytes"
        )


async def _text(manifest: UploadFile | str | None) -> str:
    if isinstance(manifest, UploadFile):
        return (await manifest.read(FORM_BYTES)).decode(errors="replace")
    if manifest is None:
        raise RequestValidationError([_missing("manifest")])
    return manifest


def _signed(text: str) -> SignedManifest:
    try:
        return SignedManifest.model_validate_json(text)
    except ValidationError as invalid:
        errors = [{**error, "loc": ("body", "manifest", *error["loc"])} for error in invalid.errors()]
        raise RequestValidationError(errors) from None


def _missing(name: str) -> dict[str, Any]:
    return {"type": "missing", "loc": ("body", name), "msg": "Field required", "input": None}


def _view(service: OperatorService, rollout_id: UUID) -> RolloutView:
    with service.pool.connection() as conn:
        rollout = firmware_rollouts.get(conn, rollout_id)
        counts = firmware_rollouts.counts(conn, [rollout_id])
    return firmware_models.rollout_view(rollout, counts[rollout_id])
