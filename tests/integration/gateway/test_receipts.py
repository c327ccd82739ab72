"""A pile hears which of its meter frames are stored, after the commit and for repeats too, and why others never are."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import TYPE_CHECKING
from uuid import uuid4

import cbor2
import psycopg

from gateway.hearing import Reply
from gateway.outbox import RECEIPTS_PER_TURN
from gateway.receipts import LATER_FRAMES
from gateway.service import Gateway
from protocol import codec, messages
from protocol.messages import FrameReceipt, MeterReceipt
from protocol.words import FrameResult, ReceiptWish
from tests.integration.gateway.conftest import WAIT_S

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import HandPile, Street

    ConnectPile = Callable[..., HandPile]
    StartGateway = Callable[..., Gateway]
    Until = Callable[..., None]


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


def test_a_frame_that_fails_by_the_platforms_own_fault_gets_no_receipt_until_that_is_mended(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until", dsn: str
) -> None:
    start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    first, second = kept(pile, 1), kept(pile, 2)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("ALTER TABLE meter_frame RENAME COLUMN sampled_at TO moved")
        pile.say(first)
        until(lambda: laid_out.refusals() == {"handler_error": 1})
        conn.execute("ALTER TABLE meter_frame RENAME COLUMN moved TO sampled_at")
    for frame in (second, first):
        pile.say(frame)
        assert rows_heard(pile, 1) == [FrameReceipt(pile.boot, pile.seq, FrameResult.STORED)]
    assert laid_out.count("meter_frame") == 2


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


def test_what_could_wait_is_told_before_the_gateway_stops(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", until: "Until"
) -> None:
    gateway = start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    pile.say(replace(pile.meter(uuid4()), receipt=ReceiptWish.LATER))
    until(lambda: gateway.health.writer.stored == 2)
    gateway.stop()
    assert rows_heard(pile, 1) == [FrameReceipt(pile.boot, pile.seq, FrameResult.STORED)]


def test_a_command_waits_for_few_receipts(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street"
) -> None:
    gateway = start_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    receipt = MeterReceipt(frames=(FrameReceipt(1, 1, FrameResult.STORED),))
    start_heard = Event()
    laid_out.enrol("YQ-02")

    def any_one(_sent_at: datetime) -> MeterReceipt:
        return receipt

    def first(_sent_at: datetime) -> MeterReceipt:
        laid_out.order("YQ-01")
        return receipt

    def last(_sent_at: datetime) -> MeterReceipt:
        start_heard.wait(2 * WAIT_S)
        return receipt

    many = [Reply("YQ-02", any_one)] * (10 * RECEIPTS_PER_TURN)
    gateway.outbox.post_receipts([Reply("YQ-02", first), *many, Reply("YQ-02", last)])
    try:
        pile.hears(messages.Start)
    finally:
        start_heard.set()
