"""`pileway bench frames`: what one frame costs the gateway's CPU, genuine or hostile, beside its bare floor.

The floor is the least any reader must do: decrypt with AES-GCM and decode the CBOR, nothing checked. Times are CPU
time of this thread, so that what else the machine does counts little.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import cbor2
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from rich.console import Console
from rich.table import Table

from protocol import codec, examples, topics
from protocol.envelope import MAX_FRAME_BYTES, Counter, Opener, Sealer
from protocol.errors import ProtocolError
from protocol.fields import Message
from protocol.messages import MeterFrame, PortSample
from protocol.topics import Direction, Topic
from protocol.words import ClockState, Phase

LIMIT_MS: Final = 1.0
"""No frame, whoever made it, may hold the gateway up for longer."""
WARM_UP: Final = 20

_PILE_ID: Final = "PW-000001"
_SECRET: Final = bytes(range(32))
_ENVELOPE_BYTES: Final = 64


@dataclass(frozen=True)
class Case:
    """A frame as it arrives, and the message name it claims."""

    name: str
    topic: str
    message: str
    frame: bytes
    hostile: bool


@dataclass(frozen=True)
class Measured:
    """CPU time in µs of reading a case, and of its floor (0 for what no floor can read)."""

    case: Case
    p50_us: float
    p99_us: float
    floor_p50_us: float


def run(*, repeats: int, as_json: bool) -> None:
    """Measure every case so many times; print a table, with `as_json` one JSON object below it."""
    measured = [_measure(case, repeats) for case in cases()]
    worst = max(measured, key=lambda one: one.p50_us)
    console = Console(highlight=False)
    console.print(_table(measured))
    verdict = "within" if worst.p50_us < LIMIT_MS * 1000 else "OVER"
    console.print(
        f"worst: {worst.case.name}, {worst.p50_us / 1000:.3f} ms at the median, {verdict} {LIMIT_MS:g} ms"
    )
    if as_json:
        print(json.dumps(_object(measured, worst, repeats)))


def cases() -> Iterator[Case]:
    """Every message up as its example, meter frames of 10 and 20 ports, and the worst a pile or a stranger may send."""
    for message in examples.EXAMPLES:
        if message.direction is Direction.UP:
            yield _genuine(message.message, message)
    for ports in (10, 20):
        yield _genuine(f"meter, {ports} ports", _meter_frame(ports))
    room = MAX_FRAME_BYTES - _ENVELOPE_BYTES
    for name, item in _hostile_items(room):
        encoded = cbor2.dumps(item)[:room]
        yield Case(f"stranger: {name}", _topic("meter"), "meter", encoded, hostile=True)
        sealed = _sealer().seal(_topic("meter"), encoded, counter=Counter(1, 1))
        yield Case(f"pile: {name}", _topic("meter"), "meter", sealed, hostile=True)


def _hostile_items(room: int) -> Iterator[tuple[str, Any]]:
    yield "small integers", [1] * (room - 3)
    yield "empty arrays", [[]] * (room - 3)
    yield "empty maps below the limit", [{}] * (codec.MAX_CONTAINER_HEADS - 1)
    yield "map of integers", dict.fromkeys(range(room // 4), 0)
    yield "map of byte strings", {key.to_bytes(2, "big"): b"" for key in range(room // 5)}
    yield "short texts", ["a"] * (room // 2 - 2)
    yield "one long text", "充" * (room // 3 - 1)


def _genuine(name: str, message: Message) -> Case:
    topic = _topic(message.message)
    frame = _sealer().seal(topic, codec.encode(message), counter=Counter(1, 1))
    return Case(name, topic, message.message, frame, hostile=False)


def _meter_frame(ports: int) -> MeterFrame:
    session = UUID(int=7)
    sample = PortSample(
        1, session, 5_400, 30, 2_236, 1_220, 1_655, 607, 2_482, 1_648, 1_660, 1_655, 285, Phase.CC
    )
    rows = tuple(sample._replace(port=port) for port in range(1, ports + 1))
    return MeterFrame(sampled_at_ms=1_790_000_000_000, samples=rows, clock=ClockState.SYNCED)


def _measure(case: Case, repeats: int) -> Measured:
    opener = Opener({1: _SECRET}, direction=Direction.UP)

    def read() -> None:
        try:
            codec.decode(Direction.UP, case.message, opener.open(case.topic, case.frame).body)
        except ProtocolError:
            return

    durations = _durations_us(read, repeats)
    floor = 0.0
    if not case.hostile:
        key, nonce = AESGCM(_SECRET), bytes(12)
        body = opener.open(case.topic, case.frame).body
        sealed = key.encrypt(nonce, body, None)
        floor = _median(_durations_us(lambda: cbor2.loads(key.decrypt(nonce, sealed, None)), repeats))
    return Measured(case, _median(durations), durations[len(durations) * 99 // 100], floor)


def _durations_us(work: Callable[[], object], repeats: int) -> list[float]:
    durations: list[float] = []
    for _ in range(WARM_UP + repeats):
        begun = time.thread_time_ns()
        work()
        durations.append((time.thread_time_ns() - begun) / 1000)
    return sorted(durations[WARM_UP:])


def _median(durations: list[float]) -> float:
    return durations[len(durations) // 2]


def _sealer() -> Sealer:
    return Sealer(_SECRET, epoch=1, direction=Direction.UP)


def _topic(message: str) -> str:
    return str(Topic(topics.shard_of(_PILE_ID), _PILE_ID, Direction.UP, message))


def _table(measured: list[Measured]) -> Table:
    table = Table(title="Reading one frame: open, decode, check; CPU time in µs")
    table.add_column("frame")
    for heading in ("bytes", "p50", "p99", "floor", "ratio"):
        table.add_column(heading, justify="right")
    for one in measured:
        table.add_row(
            one.case.name,
            str(len(one.case.frame)),
            f"{one.p50_us:.1f}",
            f"{one.p99_us:.1f}",
            f"{one.floor_p50_us:.1f}" if one.floor_p50_us else "",
            f"{one.p50_us / one.floor_p50_us:.1f}" if one.floor_p50_us else "refused",
        )
    return table


def _object(measured: list[Measured], worst: Measured, repeats: int) -> dict[str, object]:
    return {
        "frames": {
            one.case.name: {
                "bytes": len(one.case.frame),
                "us_p50": round(one.p50_us, 2),
                "us_p99": round(one.p99_us, 2),
                "floor_us_p50": round(one.floor_p50_us, 2),
            }
            for one in measured
        },
        "worst_ms_p50": round(worst.p50_us / 1000, 4),
        "worst_frame": worst.case.name,
        "repeats": repeats,
    }
