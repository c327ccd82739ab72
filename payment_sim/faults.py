"""Faults a test switches on: what networks and payment platforms do on bad days."""

from __future__ import annotations

import threading
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Operation(StrEnum):
    """The merchant's calls."""

    PLACE_ORDER = "place_order"
    QUERY_ORDER = "query_order"
    CLOSE_ORDER = "close_order"
    PLACE_REFUND = "place_refund"
    QUERY_REFUND = "query_refund"


class RefundOutcome(StrEnum):
    """What becomes of a refund that was accepted."""

    SUCCESS = "SUCCESS"
    ABNORMAL = "ABNORMAL"
    CLOSED = "CLOSED"


class Faults(BaseModel):
    """The switches; the default is a good day."""

    model_config = ConfigDict(extra="forbid")

    duplicate_notifications: bool = False
    """Send each notification three times: twice under its id, once under a new one."""
    drop_notifications: bool = False
    """Lose every notification, retries included."""
    notification_delay_s: float = Field(default=0.0, ge=0, le=3600)
    probe_notifications: bool = False
    """Send a SIGNTEST probe, which must be refused, before each notification."""
    lose_answers: dict[Operation, int] = Field(default_factory=dict[Operation, int])
    """How many next answers to break off after the work is done and kept."""
    fail_calls: dict[Operation, int] = Field(default_factory=dict[Operation, int])
    """How many next calls to answer 500 before anything is done."""
    refund_outcome: RefundOutcome = RefundOutcome.SUCCESS
    refund_delay_s: float | None = Field(default=None, ge=0, le=86_400)
    """Seconds a refund takes, in place of the configured ones."""


class FaultBoard:
    """The switches as they stand, shared by the threads of the simulator."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults = Faults()

    @property
    def faults(self) -> Faults:
        """A copy of the switches."""
        with self._lock:
            return self._faults.model_copy(deep=True)

    def put(self, faults: Faults) -> None:
        """Set all switches."""
        with self._lock:
            self._faults = faults.model_copy(deep=True)

    def take_lost_answer(self, operation: Operation) -> bool:
        """Whether to break off this answer; counts it."""
        with self._lock:
            return _take(self._faults.lose_answers, operation)

    def take_failed_call(self, operation: Operation) -> bool:
        """Whether to fail this call; counts it."""
        with self._lock:
            return _take(self._faults.fail_calls, operation)


def _take(counts: dict[Operation, int], operation: Operation) -> bool:
    left = counts.get(operation, 0)
    if left <= 0:
        return False
    counts[operation] = left - 1
    return True
