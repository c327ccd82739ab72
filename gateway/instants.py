"""Instants as the wire has them: milliseconds since 1970 UTC."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(at_ms: int) -> datetime:
    """The instant of a number on the wire."""
    return EPOCH + timedelta(milliseconds=at_ms)


def epoch_ms(at: datetime) -> int:
    """Milliseconds since 1970 UTC, rounded down."""
    return (at - EPOCH) // timedelta(milliseconds=1)
