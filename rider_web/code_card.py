"""The start code on a session's page: the digits in groups, how long they are good, and what they start."""

from dataclasses import dataclass
from datetime import datetime

from rider_web import formats
from rider_web.session_view import SessionView


@dataclass(frozen=True)
class CodeCard:
    """A code ready to show; `left_s` seconds by the platform's clock."""

    groups: list[str]
    spoken: str
    energy: str
    valid_until: str
    left_s: int
    left: str


def build(view: SessionView, *, now: datetime) -> CodeCard | None:
    """The card of a session that waits for its code; None for any other."""
    code = view.start_code
    if code is None:
        return None
    left_s = max(0, int((code.valid_until - now).total_seconds()))
    return CodeCard(
        groups=code.groups,
        spoken=" ".join(code.digits),
        energy=formats.kilowatt_hours(round(code.limit_wh * 10)),
        valid_until=formats.local_clock(code.valid_until),
        left_s=left_s,
        left=formats.minutes(left_s),
    )
