"""What the gateway measures of its work: plain counts, read by whoever shows them.

Batches are measured once each, never a frame at a time; the lag of a batch's samples is counted in one pass over
them. Durations and lags are real seconds: on an accelerated clock a lag is divided by its speed, as what delays a
sample is the network and not the street.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from time import monotonic
from typing import Protocol
from uuid import UUID

from charging.commands import Command

REPLAYED_AFTER_S = 300.0
"""A sample committed later than this after it was taken counts as replayed: it waited at its pile or at the broker."""
STEP_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LAG_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, REPLAYED_AFTER_S)
AGE_BOUNDS_S = (900.0, 3_600.0, 21_600.0, 86_400.0, 259_200.0, 604_800.0)
"""Of replayed samples, from REPLAYED_AFTER_S on."""
BATCH_BOUNDS = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 350.0, 500.0, 1_000.0)
ANSWER_BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
MAX_OPEN_COMMANDS = 50_000
"""Commands whose answers are awaited here; beyond that the oldest go unmeasured."""


@dataclass
class Distribution:
    """How many values fell up to each bound, the last count beyond all of them, and their sum.

    One thread counts; another may read, and may miss the newest value.
    """

    bounds: tuple[float, ...]
    counts: list[int] = field(init=False)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add_sorted(self, values: Sequence[float]) -> None:
        """Count many values, sorted."""
        done = 0
        for bucket, bound in enumerate(self.bounds):
            upto = bisect_right(values, bound, done)
            self.counts[bucket] += upto - done
            done = upto
            if done == len(values):
                break
        self.counts[-1] += len(values) - done
        self.total += sum(values)


@dataclass(slots=True)
class BatchSteps:
    """When each step of one batch ended, by the monotonic clock in seconds."""

    began_s: float = field(default_factory=monotonic)
    decoded_s: float = 0.0
    written_s: float = 0.0
    committed_s: float = 0.0
    acknowledged_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class BatchStory:
    """One committed batch, in numbers; `waited_s` is how long its first frame waited for it, in real seconds."""

    steps: BatchSteps
    frames: int
    meter_frames: int
    repeated: int
    refused: int
    waited_s: float


@dataclass(frozen=True, kw_only=True)
class CommandStory:
    """One answered command: real seconds from its request, and from its first sending, to its committed answer."""

    command_id: UUID
    pile_id: str
    kind: str
    outcome: str
    since_request_s: float
    since_sending_s: float


class Tracing(Protocol):
    """Who tells a tracing system; both are called in the writer's thread, after the commit, and must not block."""

    def batch(self, story: BatchStory) -> None:
        """A batch is committed and acknowledged."""
        ...

    def command(self, story: CommandStory) -> None:
        """The answer to a command is committed."""
        ...


class Measures:
    """The writer's thread measures; `sending` is called by the outbox's. Whatever is here may be read from any."""

    def __init__(
        self, *, clock: Callable[[], datetime], speed: float = 1.0, tracing: Tracing | None = None
    ) -> None:
        """`clock` stamps frames and commands; `speed` is how many of its seconds pass in a real one."""
        self.batch_frames = Distribution(BATCH_BOUNDS)
        self.decode_s = Distribution(STEP_BOUNDS_S)
        self.write_s = Distribution(STEP_BOUNDS_S)
        self.commit_s = Distribution(STEP_BOUNDS_S)
        self.lag_s = Distribution(LAG_BOUNDS_S)
        self.replayed_age_s = Distribution(AGE_BOUNDS_S)
        self.answer_s: dict[str, Distribution] = {}
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self._clock = clock
        self._speed = speed
        self._tracing = tracing
        self._open: OrderedDict[UUID, tuple[Command, float]] = OrderedDict()
        self._lock = Lock()

    def committed(
        self,
        steps: BatchSteps,
        *,
        frames: int,
        first_received_at: datetime,
        sampled_ms: Sequence[int],
        repeated: int,
        refused: int,
    ) -> None:
        """Measure one batch that is committed and acknowledged.

        `sampled_ms` are the instants of its dated samples, in milliseconds since 1970 by the clock.
        """
        now = self._clock()
        self.batch_frames.add(frames)
        self.decode_s.add(steps.decoded_s - steps.began_s)
        self.write_s.add(steps.written_s - steps.decoded_s)
        self.commit_s.add(steps.committed_s - steps.written_s)
        if sampled_ms:
            self._measure_lag(now, sampled_ms)
        if self._tracing is not None:
            self._tracing.batch(
                BatchStory(
                    steps=steps,
                    frames=frames,
                    meter_frames=len(sampled_ms),
                    repeated=repeated,
                    refused=refused,
                    waited_s=max(
                        0.0,
                        self._real_s(now, since=first_received_at) - (steps.acknowledged_s - steps.began_s),
                    ),
                )
            )

    def sending(self, command: Command) -> None:
        """A command goes down now; its answer is measured from its request on."""
        with self._lock:
            self._open.setdefault(command.command_id, (command, monotonic()))
            if len(self._open) > MAX_OPEN_COMMANDS:
                self._open.popitem(last=False)

    def answered(self, command_id: UUID, outcome: str) -> None:
        """The answer to a command is committed; one that this process did not send, or twice answered, is ignored."""
        with self._lock:
            command, sent_s = self._open.pop(command_id, (None, 0.0))
        if command is None:
            return
        since_request_s = max(0.0, self._real_s(self._clock(), since=command.created_at))
        self.outcomes[command.kind, outcome] += 1
        answer_s = self.answer_s.get(command.kind)
        if answer_s is None:
            # A new dictionary, so that whoever reads the old one is not disturbed.
            answer_s = Distribution(ANSWER_BOUNDS_S)
            self.answer_s = {**self.answer_s, command.kind: answer_s}
        answer_s.add(since_request_s)
        if self._tracing is not None:
            self._tracing.command(
                CommandStory(
                    command_id=command_id,
                    pile_id=command.pile_id,
                    kind=command.kind,
                    outcome=outcome,
                    since_request_s=since_request_s,
                    since_sending_s=min(since_request_s, monotonic() - sent_s),
                )
            )

    def _measure_lag(self, now: datetime, sampled_ms: Sequence[int]) -> None:
        now_ms = now.timestamp() * 1000
        per_ms = 0.001 / self._speed
        lags_s = sorted([(now_ms - at_ms) * per_ms for at_ms in sampled_ms])
        # Of a pile whose clock is ahead: a sum must not fall.
        early = bisect_left(lags_s, 0.0)
        lags_s[:early] = [0.0] * early
        live = bisect_right(lags_s, REPLAYED_AFTER_S)
        self.lag_s.add_sorted(lags_s[:live])
        self.replayed_age_s.add_sorted(lags_s[live:])

    def _real_s(self, now: datetime, *, since: datetime) -> float:
        return (now - since).total_seconds() / self._speed
