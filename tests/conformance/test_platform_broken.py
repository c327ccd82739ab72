"""A platform that lies fails the case that holds the lie, and the report says what was seen instead."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from threading import Event, Thread
from uuid import uuid4

import pytest

from charging import rejections
from conformance.report import Outcome, Result
from database.pool import Connection
from gateway import inbound, service
from gateway.downlink import Downlink
from gateway.hearing import Heard, Reply
from gateway.link import Link
from gateway.replay_window import ReplayWindow
from gateway.service import Gateway
from pileway import composition, conformance_platform, gateway_process
from pileway.conformance_platform import OwnPlatform
from protocol import messages
from protocol.fields import Message
from protocol.words import AlarmLevel, SettlementResult
from tests.waiting import wait_until

Sabotage = Callable[[pytest.MonkeyPatch], None]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def bench() -> Iterator[OwnPlatform]:
    """Our platform without its gateway, which each test brings along."""
    with conformance_platform.own_platform() as bench:
        bench.platform.supervisor.remove("gateway")
        yield bench


@contextmanager
def gateway_of(bench: OwnPlatform) -> Generator[None]:
    """A gateway in this process, so that it can be sabotaged."""
    stop = Event()
    running: list[Gateway] = []
    chosen = bench.platform.settings
    with composition.pool(chosen, max_size=gateway_process.CONNECTIONS) as pool:
        parts = gateway_process.parts(chosen, pool)
        thread = Thread(target=service.run, args=(parts,), kwargs={"stop": stop, "watch": running.append})
        thread.start()
        try:
            wait_until(lambda: running and running[0].health.ready, limit_s=30, what="the gateway")
            yield
        finally:
            stop.set()
            thread.join(30)


def judged(bench: OwnPlatform, case_id: str) -> Result:
    """One case's result with a gateway of this process."""
    with gateway_of(bench):
        report = conformance_platform.judge(
            bench, conformance_platform.every_case([case_id]), progress=lambda _: None
        )
    [result] = report.results
    return result


def answering(patch: pytest.MonkeyPatch, kind: type[Message], change: Callable[[Message], Message]) -> None:
    """Have the answers to a message changed before they are sent."""
    honest = inbound.HANDLERS[kind]

    def lie(conn: Connection, heard: Heard) -> Reply | None:
        reply = honest(conn, heard)
        if reply is None:
            return None
        truth = reply.message_at

        def changed(sent_at: datetime) -> Message:
            return change(truth(sent_at))

        return reply._replace(message_at=changed)

    patch.setitem(inbound.HANDLERS, kind, lie)


def acknowledge_the_wrong_session(patch: pytest.MonkeyPatch) -> None:
    answering(patch, messages.Settlement, lambda ack: altered(ack, session_id=uuid4()))


def call_every_settlement_stored(patch: pytest.MonkeyPatch) -> None:
    answering(patch, messages.Settlement, lambda ack: altered(ack, result=SettlementResult.STORED))


def acknowledge_half_an_alarm(patch: pytest.MonkeyPatch) -> None:
    answering(patch, messages.Alarm, lambda ack: altered(ack, level=AlarmLevel.WARN, cleared=False))


def forget_what_was_heard(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ReplayWindow, "commit", lambda *_, **__: None)


def use_a_counter_twice(patch: pytest.MonkeyPatch) -> None:
    honest = Downlink.send

    def send(self: Downlink, pile_id: str, message: Message, **rest: object) -> bool:
        sent = honest(self, pile_id, message, **rest)  # pyright: ignore[reportArgumentType]  # handed on
        self._channels[pile_id].next_seq = 7  # pyright: ignore[reportPrivateUsage]  # that is the sabotage
        return sent

    patch.setattr(Downlink, "send", send)


def keep_boots_to_itself(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(inbound.HANDLERS, messages.Boot, lambda _conn, _heard: None)


def damage_what_goes_down(patch: pytest.MonkeyPatch) -> None:
    honest = Link.publish

    def publish(self: Link, topic: str, payload: bytes, **rest: object) -> bool:
        return honest(self, topic, payload + b"\x00", **rest)  # pyright: ignore[reportArgumentType]  # handed on

    patch.setattr(Link, "publish", publish)


def count_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rejections, "keep", lambda *_: None)


def altered(message: Message, **changes: object) -> Message:
    return replace(message, **changes)  # pyright: ignore[reportArgumentType]  # the decorator makes it a dataclass


@pytest.mark.parametrize(
    ("sabotage", "case_id", "told"),
    [
        (acknowledge_the_wrong_session, "settlement.is-stored-and-charged", "no settlement_ack"),
        (call_every_settlement_stored, "settlement.again-is-a-duplicate", "is stored, not duplicate"),
        (call_every_settlement_stored, "settlement.contradiction-is-rejected", "is stored, not rejected"),
        (acknowledge_half_an_alarm, "alarm.is-acknowledged-at-each-step", "what is acknowledged"),
        (
            forget_what_was_heard,
            "replay.same-bytes-are-not-answered",
            "settlement_ack came that must not come",
        ),
        (use_a_counter_twice, "down.counters-grow", "counter"),
        (keep_boots_to_itself, "boot.is-acknowledged", "no boot_ack"),
        (damage_what_goes_down, "boot.is-acknowledged", "no boot_ack"),
        (count_nothing, "message.unknown-name-is-counted", "were counted as 0"),
    ],
)
def test_a_platform_that_lies_fails(
    bench: OwnPlatform, monkeypatch: pytest.MonkeyPatch, sabotage: Sabotage, case_id: str, told: str
) -> None:
    sabotage(monkeypatch)
    result = judged(bench, case_id)
    assert result.result is Outcome.FAILED
    assert told in result.reason


def test_the_same_platform_without_a_lie_passes(bench: OwnPlatform) -> None:
    assert judged(bench, "settlement.is-stored-and-charged").result is Outcome.PASSED
