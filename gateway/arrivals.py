"""When messages arrived, each at an instant of its own: what a pile did not date is told apart by its arrival alone."""

from datetime import UTC, datetime, timedelta

LARGEST_STEP_BACK = timedelta(seconds=1)
"""A clock set back by less is waited for; by more, it was wrong before, and stamps follow it."""
_TICK = timedelta(microseconds=1)
"""As fine as the database keeps an instant."""


class Arrivals:
    """The stamps of one link's messages, in order of arrival; one thread uses it."""

    def __init__(self) -> None:
        self._last = datetime.min.replace(tzinfo=UTC)

    def stamp(self, heard_at: datetime) -> datetime:
        """The instant for the next message: `heard_at`, or as soon after the one before as can be told apart."""
        last = self._last
        if heard_at <= last < heard_at + LARGEST_STEP_BACK:
            heard_at = last + _TICK
        self._last = heard_at
        return heard_at
