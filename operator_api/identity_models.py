"""A pile's identity as JSON: its state with the audit, what looks like two piles in one, and orders to change it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from charging.identity_conflicts import Conflict, ConflictKind
from charging.pile_states import PileState, StateChange
from operator_api.parameters import PRINTABLE_PATTERN

Person = Annotated[str, Field(min_length=1, max_length=64, pattern=PRINTABLE_PATTERN)]
Reason = Annotated[str, Field(min_length=1, max_length=400, pattern=PRINTABLE_PATTERN)]


class NewStateChange(BaseModel):
    """Who changes a pile's state, and why: both are kept for ever."""

    by: Person = Field(description="Name of the person who decided")
    reason: Reason


class StateView(BaseModel):
    """A pile's state after an order; an order that changes nothing is answered alike."""

    pile_id: str
    state: PileState
    changed: bool = Field(description="False when the pile was in that state already")


class StateChangeView(BaseModel):
    """One line of the audit."""

    change_id: int
    from_state: PileState | None = Field(description="Null for a registration")
    to_state: PileState
    changed_by: str = Field(
        description="A person; `pile` for its own enrolment or boot, `system` for a rule of the platform"
    )
    reason: str
    changed_at: datetime


class StateChangePage(BaseModel):
    """A pile's changes of state, newest first."""

    changes: list[StateChangeView]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null on the last")


class ConflictView(BaseModel):
    """An episode in which two devices seem to speak as one pile, or one has forgotten its counters."""

    conflict_id: int
    kind: ConflictKind
    began_at: datetime
    last_at: datetime
    observations: int = Field(description="How often it was seen")
    detail: Mapping[str, Any] = Field(description="The numbers that showed it first")


class ConflictPage(BaseModel):
    """A pile's episodes, newest first."""

    conflicts: list[ConflictView]
    next_cursor: str | None = Field(description="Give it as `cursor` to get the next page; null on the last")


def change_view(change: StateChange) -> StateChangeView:
    """A change as JSON."""
    return StateChangeView(
        change_id=change.change_id,
        from_state=change.from_state,
        to_state=change.to_state,
        changed_by=change.changed_by,
        reason=change.reason,
        changed_at=change.changed_at,
    )


def conflict_view(conflict: Conflict) -> ConflictView:
    """An episode as JSON."""
    return ConflictView(
        conflict_id=conflict.conflict_id,
        kind=conflict.kind,
        began_at=conflict.began_at,
        last_at=conflict.last_at,
        observations=conflict.observations,
        detail=conflict.detail,
    )
