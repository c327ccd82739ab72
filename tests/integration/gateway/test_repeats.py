"""A frame the broker delivers again was told of on a connection that was lost: its pile hears the receipt again."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from psycopg_pool import ConnectionPool

from charging import piles
from database.pool import Connection
from gateway.hearing import Reply
from gateway.inbound import Inbound
from gateway.link import Frame
from gateway.measures import Measures
from gateway.pile_registry import PileRegistry
from gateway.replay_window import ReplayWindow
from gateway.sample_batch import BatchLimits, SampleBatch
from gateway.writer import Writer
from protocol.messages import FrameReceipt, MeterReceipt, RelayUp
from protocol.words import FrameResult, ReceiptWish
from tests.integration.gateway.conftest import VAULT, WAIT_S, HandPile, now

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import Street

    Until = Callable[..., None]

HOST = "YQ-01"
CHILD = "YQ-01-A"


class Surroundings:
    """What stands around a writer; keeps the receipts it posts."""

    def __init__(self) -> None:
        self.receipts: list[tuple[str, FrameReceipt]] = []

    def hold(self, pile_ids: Iterable[str]) -> None:
        """No boots."""

    def rekeyed(self, pile_ids: Iterable[str]) -> None:
        """No new secrets."""

    def post(self, replies: Sequence[Reply]) -> None:
        """No answers."""

    def post_receipts(self, receipts: Sequence[Reply]) -> None:
        """Keep them."""
        for reply in receipts:
            message = reply.message_at(now())
            assert isinstance(message, MeterReceipt)
            self.receipts += [(reply.pile_id, row) for row in message.frames]

    def heard_barred(self, pile_id: str) -> None:
        """Nobody is shut out."""

    def suspects(self, pile_id: str, signs: object) -> None:
        raise AssertionError(pile_id, signs)

    def ack(self, frames: Sequence[Frame]) -> None:
        """No broker."""


@pytest.fixture
def around() -> Surroundings:
    return Surroundings()


@pytest.fixture
def batch() -> SampleBatch:
    return SampleBatch(limits=BatchLimits(), capacity_frames=10)


@pytest.fixture
def writer(pool: ConnectionPool[Connection], around: Surroundings, batch: SampleBatch) -> Iterator[Writer]:
    """A writer without a broker."""
    stop = Event()
    writer = Writer(
        pool=pool,
        batch=batch,
        inbound=Inbound(registry=PileRegistry(vault=VAULT), window=ReplayWindow(), wards=around),
        replies=around,
        measures=Measures(clock=now, speed=1.0),
        stop=stop,
    )
    thread = Thread(target=writer.run)
    thread.start()
    yield writer
    batch.close()
    stop.set()
    thread.join(WAIT_S)


@pytest.mark.parametrize("relayed", [False, True], ids=["direct", "relayed"])
def test_a_meter_frame_delivered_again_is_told_of_again(
    relayed: bool,
    laid_out: "Street",
    pool: ConnectionPool[Connection],
    around: Surroundings,
    batch: SampleBatch,
    writer: Writer,
    until: "Until",
) -> None:
    with pool.connection() as conn:
        piles.register(
            conn,
            pile_id=CHILD,
            site_id="yuquan",
            model="PW-2",
            port_count=2,
            power_limit_w=2000,
            parent_pile_id=HOST,
            now=now(),
        )
    host, child = (
        HandPile(pile_id, laid_out.enrol(pile_id), Client(CallbackAPIVersion.VERSION2))
        for pile_id in (HOST, CHILD)
    )
    speaker = child if relayed else host
    sealed = speaker.seal(replace(speaker.meter(uuid4()), receipt=ReceiptWish.NOW))
    receipt = (speaker.pile_id, FrameReceipt(speaker.boot, speaker.seq, FrameResult.STORED))
    if relayed:
        sealed = host.seal(RelayUp(child=CHILD, name="meter", frame=sealed.payload))
    frame = Frame(cast("Any", around), 1, 1, 1, False, sealed.topic, sealed.payload, now())
    batch.put_many([frame])
    until(lambda: around.receipts == [receipt])
    batch.put_many([frame._replace(redelivered=True)])
    until(lambda: around.receipts == [receipt] * 2)
    assert laid_out.count("meter_frame") == 1
    until(lambda: writer.health.repeated == 1 + relayed)
    assert laid_out.refusals() == {}
