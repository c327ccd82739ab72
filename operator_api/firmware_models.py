"""Firmware releases and rollouts as JSON."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from charging import firmware_rollouts
from charging.firmware_releases import MOST_BYTES, Manifest, Release
from charging.firmware_rollouts import Rollout, RolloutPile, RolloutPileState, RolloutState
from operator_api.parameters import PILE_ID_PATTERN, PRINTABLE_PATTERN, SITE_ID_PATTERN, Instant

MOST_PILES_NAMED = 5000
LONGEST_PATIENCE_S = 14 * 86_400


class SignedManifest(BaseModel):
    """What `pileway firmware sign` writes: the maker's word about one image."""

    model: str = Field(pattern=PRINTABLE_PATTERN, max_length=64)
    version: str = Field(pattern=PRINTABLE_PATTERN, max_length=32)
    minimum_version: str = Field(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=32)
    size_bytes: int = Field(ge=1, le=MOST_BYTES)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    signature: str = Field(pattern="^[0-9a-f]{128}$", description="Ed25519, in hex")

    @property
    def manifest(self) -> Manifest:
        """The signed part."""
        return Manifest(
            self.model, self.version, self.minimum_version, self.size_bytes, bytes.fromhex(self.sha256)
        )


class ReleaseView(BaseModel):
    """A release; it never changes."""

    release_id: int
    model: str
    version: str
    minimum_version: str = Field(description="The oldest version it may be installed over")
    size_bytes: int
    sha256: str = Field(description="Of the image, in hex")
    signature: str = Field(description="Ed25519 by the maker over the manifest, in hex")
    signature_checked: bool = Field(description="The platform held the maker's key and checked it")
    image_url: str = Field(description="Where piles fetch the image")
    uploaded_at: datetime


class ReleasePage(BaseModel):
    """Releases, newest first."""

    releases: list[ReleaseView]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null on the last")


class NewRollout(BaseModel):
    """A release to bring to piles. Only piles in service, of the release's model and not on its version take part."""

    release_id: int
    site_id: str | None = Field(
        default=None, pattern=SITE_ID_PATTERN, max_length=63, description="Only piles of this site"
    )
    pile_ids: list[Annotated[str, Field(pattern=PILE_ID_PATTERN, max_length=64)]] | None = Field(
        default=None, min_length=1, max_length=MOST_PILES_NAMED, description="Only these piles"
    )
    stages_percent: list[int] = Field(
        default=[5, 25, 100],
        min_length=1,
        max_length=firmware_rollouts.MOST_STAGES,
        description="Share of all piles told by the end of each stage, growing to 100",
    )
    window_from: Instant | None = Field(
        default=None,
        description="Install from then on, day and night: one span for all stages; now if left out",
    )
    window_to: Instant | None = Field(
        default=None,
        description="Begin no installation later; a rollout not through by then is aborted. A week after if left out",
    )
    force: bool = Field(default=False, description="Install although a port charges, ending its session")
    patience_s: int = Field(
        default=3600,
        ge=60,
        le=LONGEST_PATIENCE_S,
        description="Seconds a pile may say nothing before it has failed",
    )
    stop_at_failures: int = Field(default=3, ge=1, description="So many failed piles stop it")
    stop_at_share_bps: int = Field(
        default=2000, ge=1, le=10_000, description="This share of the piles chosen, failed, stops it; 1/10000"
    )


class StageView(BaseModel):
    """One stage and its piles."""

    stage: int = Field(description="From 1")
    percent: int = Field(description="Share of all piles told by its end")
    piles: dict[RolloutPileState, int] = Field(description="How many are in which state")


class RolloutView(BaseModel):
    """A rollout and how far it is."""

    rollout_id: UUID
    release_id: int
    model: str
    version: str
    site_id: str | None
    state: RolloutState
    stage: int = Field(description="The stage under way; 0 before the first")
    reason: str | None = Field(description="Why it was stopped, paused or aborted")
    stages: list[StageView]
    waiting: int = Field(description="Piles no stage has chosen yet")
    left_out: int = Field(description="Piles that were never told")
    window_from: datetime
    window_to: datetime
    force: bool
    patience_s: int
    stop_at_failures: int
    stop_at_share_bps: int
    created_at: datetime
    ended_at: datetime | None


class RolloutPage(BaseModel):
    """Rollouts, newest first."""

    rollouts: list[RolloutView]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null on the last")


class RolloutPileView(BaseModel):
    """One pile's part in a rollout."""

    pile_id: str
    state: RolloutPileState
    stage: int | None
    command_id: UUID | None
    step: str | None = Field(description="The pile's newest word for where its update stands")
    percent: int | None
    error: str | None = Field(
        description="The pile's word for what went wrong; `silent` when it said nothing"
    )
    running: str | None = Field(description="The version it said it runs")
    told_at: datetime | None
    heard_at: datetime | None
    deadline_at: datetime | None = Field(description="If it says nothing until then, it has failed")
    ended_at: datetime | None


class RolloutPilePage(BaseModel):
    """Piles of a rollout by id."""

    piles: list[RolloutPileView]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null on the last")


def release_view(release: Release, image_url: str) -> ReleaseView:
    """A release as JSON."""
    return ReleaseView(
        release_id=release.release_id,
        model=release.model,
        version=release.version,
        minimum_version=release.minimum_version,
        size_bytes=release.size_bytes,
        sha256=release.sha256.hex(),
        signature=release.signature.hex(),
        signature_checked=release.signature_checked,
        image_url=image_url,
        uploaded_at=release.uploaded_at,
    )


def rollout_view(rollout: Rollout, counts: Mapping[tuple[int | None, RolloutPileState], int]) -> RolloutView:
    """A rollout as JSON."""
    stages = [
        StageView(
            stage=number,
            percent=percent,
            piles={
                state: piles for (stage, state), piles in sorted(counts.items(), key=str) if stage == number
            },
        )
        for number, percent in enumerate(rollout.stages_percent, start=1)
    ]
    return RolloutView(
        rollout_id=rollout.rollout_id,
        release_id=rollout.release_id,
        model=rollout.model,
        version=rollout.version,
        site_id=rollout.site_id,
        state=rollout.state,
        stage=rollout.stage,
        reason=rollout.reason,
        stages=stages,
        waiting=counts.get((None, RolloutPileState.WAITING), 0),
        left_out=sum(piles for (_, state), piles in counts.items() if state is RolloutPileState.LEFT_OUT),
        window_from=rollout.window_from,
        window_to=rollout.window_to,
        force=rollout.force,
        patience_s=rollout.patience_s,
        stop_at_failures=rollout.stop_at_failures,
        stop_at_share_bps=rollout.stop_at_share_bps,
        created_at=rollout.created_at,
        ended_at=rollout.ended_at,
    )


def pile_view(part: RolloutPile) -> RolloutPileView:
    """A pile's part as JSON."""
    return RolloutPileView(
        pile_id=part.pile_id,
        state=part.state,
        stage=part.stage,
        command_id=part.command_id,
        step=part.step,
        percent=part.percent,
        error=part.error,
        running=part.running,
        told_at=part.told_at,
        heard_at=part.heard_at,
        deadline_at=part.deadline_at,
        ended_at=part.ended_at,
    )
