"""The start code's card counts down what its reader has to wait, whatever clock the platform keeps."""

from datetime import UTC, datetime, timedelta

import pytest

from rider_web import code_card
from rider_web.session_view import StartCodeView

NOW = datetime(2025, 6, 1, 4, 0, tzinfo=UTC)


@pytest.mark.parametrize(("clock_speed", "left_s", "left"), [(1.0, 1500, "25:00"), (60.0, 25, "0:25")])
def test_a_code_on_a_faster_clock_is_counted_down_in_real_seconds(
    clock_speed: float, left_s: int, left: str
) -> None:
    code = StartCodeView(
        digits="0123456789",
        groups=["0123", "456", "789"],
        limit_wh=500.0,
        valid_until=NOW + timedelta(minutes=25),
    )
    card = code_card.build(code, now=NOW, clock_speed=clock_speed)
    assert card is not None
    assert (card.left_s, card.left, card.valid_until) == (left_s, left, "12:25")


def test_without_a_code_there_is_no_card() -> None:
    assert code_card.build(None, now=NOW, clock_speed=1.0) is None
