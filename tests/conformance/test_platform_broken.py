"""A platform that lies fails the case that holds the lie, and the report says what was seen instead."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from threading import Event, Thread
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest

from charging import command_answers, firmware_reports, local_starts, locks, rejections
from charging.commands import Command, CommandKind
from charging.firmware_reports import UpdateReport
from charging.local_starts import LocalStart
from charging.rejections import Rejection
from conformance.report import Outcome, Result
from database.pool import Connection
from gateway import inbound, relaying, service, telling
from gateway.errors import Refusal
from gateway.hearing import Heard, Reply
from gateway.inbound import Inbound, Reading, Refused
from gateway.link import Frame as LinkFrame
from gateway.replay_window import ReplayWindow
from gateway.service import Gateway
from pileway import composition, conformance_own, conformance_platform, gateway_process
from pileway.conformance_own import OwnPlatform
from protocol import codec, frames, messages
from protocol.envelope import Counter, Sealer
from protocol.fields import Message
from protocol.frames import Frame
from protocol.words import AlarmLevel, LocalStartResult, SettlementResult
from tests.waiting import wait_until

Sabotage = Callable[[pytest.MonkeyPatch], None]
_M = TypeVar("_M", bound=Message)

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


def tell_of_other_firmware(patch: pytest.MonkeyPatch) -> None:
    honest = telling.message_of

    def lie(command: Command) -> Message:
        message = honest(command)
        return altered(message, minimum_version="") if isinstance(message, messages.Firmware) else message

    patch.setattr(telling, "message_of", lie)


def hear_of_no_failed_update(patch: pytest.MonkeyPatch) -> None:
    honest = firmware_reports.reported

    def deaf(conn: Connection, report: UpdateReport, *, now: datetime) -> bool:
        return report.step == "failed" or honest(conn, report, now=now)

    patch.setattr(firmware_reports, "reported", deaf)


def sell_codes_of_another_recipe(patch: pytest.MonkeyPatch) -> None:
    honest = OwnPlatform.sell_code

    def lie(self: OwnPlatform, pile_id: str, port: int) -> str:
        digits = honest(self, pile_id, port)
        return f"{digits[:-1]}{(int(digits[-1]) + 1) % 10}"

    patch.setattr(OwnPlatform, "sell_code", lie)


def accept_every_local_start(patch: pytest.MonkeyPatch) -> None:
    answering(patch, messages.LocalStart, lambda ack: altered(ack, result=LocalStartResult.ACCEPTED))


def accept_a_local_start_once(patch: pytest.MonkeyPatch) -> None:
    honest, told = local_starts.told, set[UUID]()

    def forgetful(conn: Connection, start: LocalStart, *, now: datetime) -> bool:
        if start.session_id in told:
            return False
        told.add(start.session_id)
        return honest(conn, start, now=now)

    patch.setattr(local_starts, "told", forgetful)


def lock_nothing(patch: pytest.MonkeyPatch) -> None:
    def put_on(*_arguments: object, **_named: object) -> bool:
        return False

    patch.setattr(locks, "put_on", put_on)


def take_a_refused_clearing_for_done(patch: pytest.MonkeyPatch) -> None:
    def follow(*_arguments: object) -> None:
        return

    patch.setitem(command_answers.FOLLOWERS, CommandKind.FAULT_CLEAR, follow)


def spoil_what_hosts_carry_down(patch: pytest.MonkeyPatch) -> None:
    honest = relaying.wrap

    def spoil(message: Message, **named: Any) -> messages.RelayDown:
        relayed = honest(message, **named)
        return altered(relayed, frame=relayed.frame[:-1] + bytes([relayed.frame[-1] ^ 1]))

    patch.setattr(relaying, "wrap", spoil)


def let_every_pile_be_a_host(patch: pytest.MonkeyPatch) -> None:
    honest = Inbound.read

    def read(self: Inbound, conn: Connection, frames: Sequence[LinkFrame], *opened: Any) -> list[Reading]:
        readings = honest(self, conn, frames, *opened)
        strays = [
            one.frame
            for one in readings
            if isinstance(one, Refused) and one.reason == Refusal.NOT_THIS_HOSTS_CHILD
        ]
        return [*readings, *honest(self, conn, strays)]

    patch.setattr(Inbound, "read", read)


def altered(message: _M, **changes: Any) -> _M:
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
        (tell_of_other_firmware, "firmware.is-what-the-maker-signed", "the manifest told"),
        (hear_of_no_failed_update, "firmware.of-every-failure", "the update is not failed"),
        (sell_codes_of_another_recipe, "code.is-read-by-its-pile", "the pile would not take the code"),
        (accept_every_local_start, "code.nobody-sold-is-refused", "is accepted, not refused"),
        (accept_a_local_start_once, "card.known-is-taken-once", "is refused, not accepted"),
        (lock_nothing, "clear.a-trip-locks-its-port", "an order for port 2 was taken"),
        (take_a_refused_clearing_for_done, "clear.refused-keeps-the-lock", "an order for port 2 was taken"),
        (spoil_what_hosts_carry_down, "host.carries-a-child-into-service", "forged"),
        (let_every_pile_be_a_host, "host.speaks-for-no-other-hosts-child", "that must not come"),
        (forget_what_was_heard, "host.a-childs-frame-replayed-is-refused", "that must not come"),
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
