"""What piles hear of their meter frames: only what they asked for, together where it can wait, refusals at once."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import pytest

from gateway import receipts
from gateway.hearing import Heard
from gateway.inbound import Refused
from gateway.link import Frame
from gateway.receipts import Receipts
from protocol.envelope import Counter
from protocol.messages import FrameReceipt, MeterFrame, MeterReceipt
from protocol.words import ClockState, FrameResult, ReceiptWish

if TYPE_CHECKING:
    from gateway.link import Link

NOW = datetime(2026, 7, 1, tzinfo=UTC)


class Clock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def frame(pile_id: str, message: str = "meter") -> Frame:
    return Frame(cast("Link", None), 1, 1, 1, False, f"v1/1/{pile_id}/up/{message}", b"", NOW)


def heard(wish: ReceiptWish | None, seq: int, *, pile_id: str = "p") -> Heard:
    message = MeterFrame(1000 * seq, (), ClockState.SYNCED, wish)
    return Heard(frame(pile_id), pile_id, 1, Counter(3, seq), message)


def told(waiting: Receipts) -> dict[str, list[FrameReceipt]]:
    """What would be sent now, by pile."""
    rows: dict[str, list[FrameReceipt]] = {}
    for reply in waiting.take_due():
        message = reply.message_at(NOW)
        assert isinstance(message, MeterReceipt)
        assert 0 < len(message.frames) <= receipts.MAX_ROWS
        rows.setdefault(reply.pile_id, []).extend(message.frames)
    return rows


def stored(*seqs: int) -> list[FrameReceipt]:
    return [FrameReceipt(3, seq, FrameResult.STORED) for seq in seqs]


def test_a_pile_that_asks_for_no_receipt_gets_none() -> None:
    waiting = Receipts()
    waiting.committed([heard(None, 1), heard(ReceiptWish.UNKNOWN, 2)])
    assert told(waiting) == {}


def test_what_is_wanted_now_is_told_at_once_and_takes_along_what_could_wait() -> None:
    waiting = Receipts()
    waiting.committed([heard(ReceiptWish.LATER, 1)])
    assert told(waiting) == {}
    waiting.committed(
        [heard(ReceiptWish.NOW, 2), heard(ReceiptWish.NOW, 3), heard(ReceiptWish.LATER, 4, pile_id="q")]
    )
    assert told(waiting) == {"p": stored(1, 2, 3)}
    assert told(waiting) == {}


def test_frames_of_now_are_told_of_by_sixteens_or_after_two_minutes() -> None:
    clock = Clock()
    waiting = Receipts(seconds=clock)
    for seq in range(1, receipts.LATER_FRAMES):
        waiting.committed([heard(ReceiptWish.LATER, seq)])
    assert told(waiting) == {}
    waiting.committed([heard(ReceiptWish.LATER, receipts.LATER_FRAMES)])
    assert told(waiting) == {"p": stored(*range(1, receipts.LATER_FRAMES + 1))}
    waiting.committed([heard(ReceiptWish.LATER, 90)])
    clock.now_s += receipts.LATER_S - 1
    waiting.committed([heard(ReceiptWish.LATER, 91, pile_id="q")])
    assert told(waiting) == {}
    clock.now_s += 1
    assert told(waiting) == {"p": stored(90)}
    clock.now_s += receipts.LATER_S
    assert told(waiting) == {"q": stored(91)}


def test_a_refused_meter_frame_that_was_opened_is_told_of_with_its_reason_and_no_other_is() -> None:
    waiting = Receipts()
    waiting.refused(
        [
            Refused(frame("p"), "out_of_range", Counter(3, 7)),
            Refused(frame("p"), "settlement_inconsistent", Counter(3, 8)),
            Refused(frame("p", "heartbeat"), "out_of_range", Counter(3, 9)),
            Refused(frame("p"), "forged"),
        ]
    )
    assert told(waiting) == {
        "p": [FrameReceipt(3, 7, FrameResult.OUT_OF_RANGE), FrameReceipt(3, 8, FrameResult.UNKNOWN)]
    }


def test_before_the_end_everything_is_told() -> None:
    waiting = Receipts()
    waiting.committed([heard(ReceiptWish.LATER, 1), heard(ReceiptWish.LATER, 2, pile_id="q")])
    assert [reply.pile_id for reply in waiting.take_all()] == ["p", "q"]
    assert waiting.take_all() == []


def test_rows_ascend_whatever_became_of_their_frames() -> None:
    waiting = Receipts()
    waiting.committed([heard(ReceiptWish.NOW, seq) for seq in range(150, 0, -1) if seq != 2])
    waiting.refused([Refused(frame("p"), "out_of_range", Counter(3, 2))])
    rows = told(waiting)["p"]
    assert [row.seq for row in rows] == list(range(1, 151))
    assert rows[1].result is FrameResult.OUT_OF_RANGE


def test_many_frames_of_a_pile_fit_their_messages() -> None:
    waiting = Receipts()
    waiting.committed([heard(ReceiptWish.NOW, seq) for seq in range(1, 151)])
    assert told(waiting) == {"p": stored(*range(1, 151))}


def test_of_too_many_piles_that_could_wait_the_first_hear_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "MAX_PILES", 50)
    waiting = Receipts()
    waiting.committed([heard(ReceiptWish.LATER, 1, pile_id=f"p{n}") for n in range(receipts.MAX_PILES + 3)])
    assert list(told(waiting)) == ["p0", "p1", "p2"]
