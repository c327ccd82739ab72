"""A pile hears which of its meter frames are stored, after the commit and for repeats too, and why others never are."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import cbor2

from gateway.receipts import LATER_FRAMES
from gateway.service import Gateway
from protocol import codec, messages
from protocol.messages import FrameReceipt, MeterReceipt
from protocol.words import FrameResult, ReceiptWish

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import HandPile, Street

    ConnectPile = Callable[..., HandPile]
    StartGateway = Callable[..., Gateway]


def kept(pile: "HandPile", number: int) -> messages.MeterFrame:
    """A frame of an hour ago."""
    at = datetime.now(UTC) - timedelta(minutes=60 - number)
    return replace(pile.meter(uuid4(), at=at), receipt=ReceiptWish.NOW)


def rows_heard(pile: "HandPile", count: int) -> list[FrameReceipt]:
    """So many rows of receipts, of however many messages."""
    rows: list[FrameReceipt] = []
    while len(rows) < count:
        rows += pile.hears(MeterReceipt).frames
    return rows


def test_frames_that_are_stored_are_receipted_and_so_are_their_repeats(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street"
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    backlog = [kept(pile, number) for number in range(8)]
    for _ in range(2):
        first = pile.seq + 1
        for frame in backlog:
            pile.say(frame)
        rows = rows_heard(pile, 8)
        assert rows == [FrameReceipt(pile.boot, seq, FrameResult.STORED) for seq in range(first, first + 8)]
        assert laid_out.count("meter_frame") == 8


def test_a_frame_that_can_never_be_stored_is_told_of_with_its_reason_and_holds_up_no_other(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street"
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    sound = kept(pile, 1)
    poison = {1: 1, 2: [[99, bytes(16), *[0] * 12]], 3: 2}
    topic = pile.topic("meter")
    for body in (codec.encode(sound), cbor2.dumps(poison)):
        pile.publish(topic, pile.seal_body(topic, body))
    rows = rows_heard(pile, 2)
    assert [(row.seq, row.result) for row in rows] == [
        (pile.seq - 1, FrameResult.STORED),
        (pile.seq, FrameResult.OUT_OF_RANGE),
    ]
    assert laid_out.count("meter_frame") == 1


def test_a_pile_that_asks_for_no_receipt_hears_none(
    connect_pile: "ConnectPile", start_gateway: "StartGateway"
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    for _ in range(LATER_FRAMES + 1):
        pile.say(pile.meter(uuid4()))
    pile.say(messages.TimeRequest(at_ms=0))
    pile.hears(messages.Time)
