"""The start code on a session's page: the digits in groups, how long they are good, and what they start."""

from dataclasses import dataclass
from datetime import datetime

from rider_web import formats
from rider_web.session_view import StartCodeView


@dataclass(frozen=True)
class CodeCard:
    """A code ready to show; `left_s` are real seconds, which the page counts down."""

    groups: list[str]
    spoken: str
    energy: str
    valid_until: str
    left_s: int
    left: str


def build(code: StartCodeView | None, *, now: datetime, clock_speed: float) -> CodeCard | None:
    """The card of a code that can still start its session, by a clock so much faster than real time."""
    if code is None:
        return None
    left_s = max(0, int((code.valid_until - now).total_seconds() / clock_speed))
    return CodeCard(
        groups=code.groups,
        spoken=" ".join(code.digits),
        energy=formats.kilowatt_hours(round(code.limit_wh * 10)),
        valid_until=formats.local_clock(code.valid_until),
        left_s=left_s,
        left=formats.minutes(left_s),
    )
