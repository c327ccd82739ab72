"""Which of a pile's instants are believed: those a pile that was long offline can tell of, and no far future.

Measurements and events are kept by day, so an instant decades away would open a day of its own.
"""

from datetime import datetime, timedelta

OLDEST = timedelta(days=400)
FARTHEST_AHEAD = timedelta(days=2)
"""Far more than a clock drifts: this bounds how many days are opened, it judges no clock."""


def believable(claim: datetime, *, now: datetime) -> bool:
    """Whether something heard now can have happened then."""
    return now - OLDEST <= claim <= now + FARTHEST_AHEAD
