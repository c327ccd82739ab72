"""Every reason a pile can give for the end of a charge has words of its own."""

from protocol.words import StopReason
from rider_web.wording import STOP_REASONS


def test_every_stop_reason_of_the_protocol_is_told_in_words() -> None:
    assert {reason.word for reason in StopReason} <= set(STOP_REASONS)
