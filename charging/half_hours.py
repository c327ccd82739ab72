"""The half hours energy is billed by."""

from datetime import UTC, datetime, timedelta

SLOT = timedelta(minutes=30)
"""Energy is billed by half-hour slots."""
SLOT_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def slot_at(at: datetime) -> datetime:
    """When the slot of an instant begins."""
    return SLOT_EPOCH + (at - SLOT_EPOCH) // SLOT * SLOT
