"""A platform that lies fails the case that holds the lie, and the report says what was seen instead."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import pytest

from charging import rejections
from charging.rejections import Rejection
from conformance.report import Outcome, Result
from database.pool import Connection
from gateway import inbound, service
from gateway.hearing import Heard, Reply
from gateway.replay_window import ReplayWindow
from gateway.service import Gateway
from pileway import composition, conformance_own, conformance_platform, gateway_process
from pileway.conformance_own import OwnPlatform
from protocol import codec, frames, messages
from protocol.envelope import Counter, Sealer
from protocol.fields import Message
from protocol.frames import Frame
from protocol.words import AlarmLevel, SettlementResult
from tests.waiting import wait_until

Sabotage = Callable[[pytest.MonkeyPatch], None]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def bench() -> Iterator[OwnPlatform]:
    """Our platform without its gateway, which each test brings along."""
    with conformance_own.own_platform() as bench:
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
    def commit(*_arguments: object, **_named: object) -> None:
        return

    patch.setattr(ReplayWindow, "commit", commit)


def use_a_counter_twice(patch: pytest.MonkeyPatch) -> None:
    honest = frames.seal

    def seal(message: Message, *, sealer: Sealer, pile_id: str, counter: Counter) -> Frame:
        return honest(message, sealer=sealer, pile_id=pile_id, counter=Counter(counter.boot, 7))

    patch.setattr(frames, "seal", seal)


def bind_frames_to_another_topic(patch: pytest.MonkeyPatch) -> None:
    honest = frames.seal

    def seal(message: Message, *, sealer: Sealer, pile_id: str, counter: Counter) -> Frame:
        right = honest(message, sealer=sealer, pile_id=pile_id, counter=counter)
        return Frame(right.topic, sealer.seal("elsewhere", codec.encode(message), counter=counter))

    patch.setattr(frames, "seal", seal)


def count_nothing(patch: pytest.MonkeyPatch) -> None:
    def keep(_conn: Connection, _rejections: Sequence[Rejection]) -> None:
        return

    patch.setattr(rejections, "keep", keep)


def altered(message: Message, **changes: Any) -> Message:
    values = {field.name: getattr(message, field.name) for field in fields(message)}  # pyright: ignore[reportArgumentType]  # the decorator makes it a dataclass
    return type(message)(**(values | changes))


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
        (bind_frames_to_another_topic, "boot.is-acknowledged", "forged"),
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
