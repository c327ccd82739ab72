"""Requests at a steady rate, and when each was answered: commands through the platform, and bare MQTT round trips.

Requests are due by the clock and not by the answer to the one before, so a slow answer does not lower the load. All
times are the machine's monotonic clock in nanoseconds, which its processes share.
"""

import select
import struct
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import psycopg
from paho.mqtt.client import Client

from charging import commands, sessions
from charging.commands import CommandKind
from database.pool import Connection
from pileway.bench.clients import Access, Clients
from pileway.bench.commands_piles import ECHO_DOWN, ECHO_UP
from pileway.bench.commands_stage import Stage

WARM_UP_S = 1.0
"""Sent before each series and not counted: caches, plans and the clients' own code."""
ANSWER_LIMIT_S = 20.0
COMMAND_LIFE = timedelta(minutes=1)
ISSUERS_PER_RATE = 100
"""One connection for so many requests a second, and one more."""
MAX_ISSUERS = 8
TICK_S = 0.1
FRAME_BYTES = 130
"""A sealed `stop` is about as long."""

Tick = Callable[[float], None]

_NUMBER = struct.Struct("!Q")


@dataclass(frozen=True)
class Series:
    """What became of a series; durations in ns, `late_ns` is how long after its time each request was made."""

    asked: int
    round_trips_ns: list[int]
    late_ns: list[int]
    seconds: float


@dataclass(frozen=True)
class CommandSeries(Series):
    """A series of commands, each also in its three parts, in ns."""

    stored_ns: list[int] = field(default_factory=list[int])
    """From the request until its transaction was committed."""
    sent_ns: list[int] = field(default_factory=list[int])
    """From there until the pile had opened its envelope."""
    answered_ns: list[int] = field(default_factory=list[int])
    """From there until the answer was committed and who waits had heard of it."""


def bare_round_trips(access: Access, *, rate: int, seconds: float, tick: Tick) -> Series:
    """Publish down, a bare client answers up, hear it: QoS 1 on the gateway's listener and on the piles'."""
    sent_ns: dict[int, int] = {}
    round_trips_ns: list[int] = []

    def heard(_client: Client, _topic: str, payload: bytes) -> None:
        (number,) = _NUMBER.unpack_from(payload)
        round_trips_ns.append(time.monotonic_ns() - sent_ns.pop(number))

    clients = Clients(precise=True)
    client = clients.connect("bench-floor", access, topic=ECHO_UP, heard=heard)
    try:
        late_ns: list[int] = []
        for stretch_s in (WARM_UP_S, seconds):
            round_trips_ns.clear()
            late_ns.clear()
            begun_ns = time.monotonic_ns()
            for number in range(int(rate * stretch_s)):
                due_ns = begun_ns + number * 1_000_000_000 // rate
                while (left_ns := due_ns - time.monotonic_ns()) > 0:
                    clients.turn(left_ns / 1e9)
                sent_ns[number] = time.monotonic_ns()
                late_ns.append(sent_ns[number] - due_ns)
                client.publish(ECHO_DOWN, _NUMBER.pack(number).ljust(FRAME_BYTES, b"."), qos=1)
                clients.turn(0)
                if number % max(1, int(rate * TICK_S)) == 0:
                    tick((time.monotonic_ns() - begun_ns) / 1e9)
            limit_s = time.monotonic() + ANSWER_LIMIT_S
            while sent_ns and time.monotonic() < limit_s:
                clients.turn(TICK_S)
        taken_s = (time.monotonic_ns() - begun_ns) / 1e9
        return Series(len(late_ns), round_trips_ns, late_ns, taken_s)
    finally:
        clients.close()


def durable_commands(stage: Stage, *, rate: int, seconds: float, tick: Tick) -> CommandSeries:
    """Ask for commands in transactions as business code does, until the piles' answers are committed."""
    with _Answers(stage.dsn) as answers:
        _ask(stage, rate=rate, seconds=min(WARM_UP_S, seconds), answers=answers, tick=lambda _: None)
        stage.heard_ns()
        begun_s = time.monotonic()
        asked = _ask(stage, rate=rate, seconds=seconds, answers=answers, tick=tick)
        taken_s = time.monotonic() - begun_s
    heard_ns = stage.heard_ns()
    answered = [
        (one, heard_ns[one.command_id], answers.at_ns[one.command_id])
        for one in asked
        if one.command_id in answers.at_ns and one.command_id in heard_ns
    ]
    return CommandSeries(
        asked=len(asked),
        round_trips_ns=[answered_ns - one.begun_ns for one, _, answered_ns in answered],
        late_ns=[one.begun_ns - one.due_ns for one in asked],
        seconds=taken_s,
        stored_ns=[one.stored_ns - one.begun_ns for one in asked],
        sent_ns=[arrived_ns - one.stored_ns for one, arrived_ns, _ in answered],
        answered_ns=[answered_ns - arrived_ns for _, arrived_ns, answered_ns in answered],
    )


@dataclass(frozen=True)
class _Asked:
    command_id: UUID
    due_ns: int
    begun_ns: int
    stored_ns: int


class _Answers:
    """Hears, as one who waits does, which commands have their answer committed."""

    def __init__(self, dsn: str) -> None:
        self.at_ns: dict[UUID, int] = {}
        self._conn: Connection = psycopg.connect(dsn, autocommit=True, connect_timeout=10)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="answers")

    def __enter__(self) -> "_Answers":
        self._conn.execute("LISTEN command_outcome")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(ANSWER_LIMIT_S)
        self._conn.close()

    def wait_for(self, asked: Sequence[_Asked]) -> None:
        """Until all are answered, or ANSWER_LIMIT_S have passed."""
        limit_s = time.monotonic() + ANSWER_LIMIT_S
        while time.monotonic() < limit_s and not all(one.command_id in self.at_ns for one in asked):
            self._stop.wait(TICK_S)

    def _listen(self) -> None:
        """As lean as the clients of the floor: who waits is not to be measured."""
        server = self._conn.pgconn
        while not self._stop.is_set():
            if select.select([self._conn], [], [], TICK_S)[0]:
                server.consume_input()
            while (note := server.notifies()) is not None:
                self.at_ns[UUID(note.extra.decode())] = time.monotonic_ns()


def _ask(stage: Stage, *, rate: int, seconds: float, answers: _Answers, tick: Tick) -> list[_Asked]:
    count = max(1, int(rate * seconds))
    issuers = min(MAX_ISSUERS, 1 + rate // ISSUERS_PER_RATE)
    begun_ns = time.monotonic_ns() + int(TICK_S * 1e9)
    with ThreadPoolExecutor(issuers, thread_name_prefix="issuer") as executor:
        work: list[Future[list[_Asked]]] = [
            executor.submit(
                _issue, stage, range(first, count, issuers), begun_ns=begun_ns, gap_ns=1_000_000_000 // rate
            )
            for first in range(issuers)
        ]
        while not all(done.done() for done in work):
            time.sleep(TICK_S)
            tick((time.monotonic_ns() - begun_ns) / 1e9)
        asked = [one for done in work for one in done.result()]
    answers.wait_for(asked)
    return asked


def _issue(stage: Stage, numbers: Sequence[int], *, begun_ns: int, gap_ns: int) -> list[_Asked]:
    asked: list[_Asked] = []
    clock = stage.settings.clock
    with psycopg.connect(stage.dsn, connect_timeout=10) as conn:
        for number in numbers:
            target = stage.targets[number % len(stage.targets)]
            due_ns = begun_ns + number * gap_ns
            if (left_ns := due_ns - time.monotonic_ns()) > 0:
                time.sleep(left_ns / 1e9)
            now = clock.now()
            with conn.transaction():
                sessions.lock(conn, target.session_id)
                asked_ns = time.monotonic_ns()
                command_id = commands.enqueue(
                    conn,
                    pile_id=target.pile_id,
                    kind=CommandKind.STOP,
                    body={"port_no": 1, "reason": "platform_stop"},
                    session_id=target.session_id,
                    expires_at=now + COMMAND_LIFE,
                    now=now,
                )
            asked.append(_Asked(command_id, due_ns, asked_ns, time.monotonic_ns()))
    return asked
