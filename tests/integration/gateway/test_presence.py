"""A pile that sends nothing but meter frames is as present as any other, a moment later."""

from collections.abc import Callable, Iterable, Sequence
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from psycopg_pool import ConnectionPool

from database.pool import Connection
from gateway.hearing import Reply
from gateway.inbound import Inbound
from gateway.link import Frame
from gateway.measures import Measures
from gateway.pile_registry import PileRegistry
from gateway.replay_window import ReplayWindow
from gateway.sample_batch import BatchLimits, SampleBatch
from gateway.writer import Writer
from protocol import messages
from protocol.words import StopResult
from tests.integration.gateway.conftest import VAULT, WAIT_S, HandPile, now

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import Street

    ConnectPile = Callable[..., HandPile]
    StartGateway = Callable[..., Any]
    Until = Callable[..., None]

PILE = "YQ-01"
SESSION = UUID(int=5)


def test_meter_frames_alone_bring_a_pile_back_online(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile(PILE)
    pile.boots()
    laid_out.execute("UPDATE pile SET online = false")
    pile.say(pile.meter(SESSION))
    until(lambda: laid_out.pile(PILE).online)
    assert laid_out.count("meter_sample") == 1


def test_a_will_after_meter_frames_leaves_the_pile_offline(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile(PILE)
    pile.boots()
    pile.say(pile.meter(SESSION))
    until(lambda: laid_out.count("meter_sample") == 1)
    # The frame's presence is still to be noted: it must not come after the will.
    pile.say(messages.Gone(connection=1))
    until(lambda: not laid_out.pile(PILE).online)
    pile.pause(1.5)
    assert not laid_out.pile(PILE).online


def test_answers_that_never_pause_bring_a_pile_back_online(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    pile = connect_pile(PILE)
    pile.boots()
    laid_out.execute("UPDATE pile SET online = false")

    def answers_and_is_online() -> bool:
        pile.say(
            messages.StopAck(
                command_id=SESSION, session_id=SESSION, port=1, result=StopResult.ALREADY_ENDED, at_ms=0
            )
        )
        return laid_out.pile(PILE).online

    until(answers_and_is_online)


class Bystander:
    """What stands around a writer, and has nothing to do here."""

    def hold(self, pile_ids: Iterable[str]) -> None:
        """No boots."""

    def rekeyed(self, pile_ids: Iterable[str]) -> None:
        """No new secrets."""

    def post(self, replies: Sequence[Reply]) -> None:
        """No answers."""

    def post_receipts(self, receipts: Sequence[Reply]) -> None:
        """No receipts."""

    def heard_barred(self, pile_id: str) -> None:
        """Nobody is shut out."""

    def suspects(self, pile_id: str, signs: object) -> None:
        """Nobody is suspicious."""

    def ack(self, frames: Sequence[Frame]) -> None:
        """No broker."""


def test_presence_written_in_a_transaction_that_failed_is_noted_all_the_same(
    laid_out: "Street", pool: ConnectionPool[Connection], until: "Until"
) -> None:
    speaker, other = (
        HandPile(pile_id, laid_out.enrol(pile_id), Client(CallbackAPIVersion.VERSION2))
        for pile_id in (PILE, "YQ-02")
    )
    laid_out.execute("UPDATE pile SET online = false")
    # The last thing a batch does: presence is written by then.
    laid_out.execute("ALTER TABLE rejected_message ADD CONSTRAINT none_kept CHECK (false)")
    bystander, stop = Bystander(), Event()
    batch = SampleBatch(limits=BatchLimits(), capacity_frames=3)
    sealed = [speaker.seal(speaker.meter(SESSION)), other.seal(other.heartbeat())]
    told = [*((one.topic, one.payload) for one in sealed), (speaker.topic("meter"), b"nonsense")]
    frames = [
        Frame(cast("Any", bystander), 1, mid, 1, False, topic, payload, now())
        for mid, (topic, payload) in enumerate(told, 1)
    ]
    assert not batch.put_many(frames)
    writer = Writer(
        pool=pool,
        batch=batch,
        inbound=Inbound(registry=PileRegistry(vault=VAULT), window=ReplayWindow(), wards=bystander),
        replies=bystander,
        measures=Measures(clock=now, speed=1.0),
        stop=stop,
    )
    thread = Thread(target=writer.run)
    thread.start()
    try:
        until(lambda: laid_out.pile(PILE).online)
    finally:
        batch.close()
        stop.set()
        thread.join(WAIT_S)
