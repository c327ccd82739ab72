"""Stores batches of frames, then acknowledges them, then answers the piles.

A batch is one transaction, but for its meter frames of long ago: they have transactions of their own before it.
Nothing is acknowledged before it is committed. A database that is away keeps the batch here, unacknowledged, and
is asked again with a back-off; the links' receive maximum bounds what piles up meanwhile. A batch that fails for
another reason is stored frame by frame, so that only the frame at fault is put aside.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from time import monotonic
from typing import Protocol

import structlog
from psycopg import Error, InterfaceError, OperationalError
from psycopg.errors import (
    DeadlockDetected,
    IdleInTransactionSessionTimeout,
    QueryCanceled,
    ReadOnlySqlTransaction,
    SerializationFailure,
)
from psycopg_pool import ConnectionPool

from charging import backlog, command_answers, key_rotation, meter, rejections, sessions
from charging.meter_rows import MeterFrame
from charging.rejections import Rejection
from database.pool import Connection
from gateway import hearing
from gateway.errors import Refusal
from gateway.hearing import Heard, Reply
from gateway.inbound import HANDLERS, Ahead, Inbound, Reading, Refused, Repeated
from gateway.kept_connection import KeptConnection
from gateway.link import Frame, Link
from gateway.lock_order import LockOrder
from gateway.measures import BatchSteps, Measures
from gateway.presence import Presence
from gateway.read_ahead import ReadAhead
from gateway.receipts import Receipts
from gateway.reply_queue import Replies
from gateway.sample_batch import SampleBatch

TAKE_TIMEOUT_S = 0.5
OUTAGE_MIN_WAIT_S = 0.1
OUTAGE_MAX_WAIT_S = 5.0
MAX_COLLISIONS = 5
"""So many deadlocks or cancelled statements in a row, and the batch counts as faulty."""

_OUTAGES = (
    OperationalError,
    InterfaceError,
    ReadOnlySqlTransaction,
    IdleInTransactionSessionTimeout,
)
_OVERTAXED = ("53", "54")
"""Classes of errors that psycopg calls operational: what was asked is too much for a server that is there."""
_SERVER_FULL = frozenset({"53100", "53300"})
"""Of those, a full disk and too many connections, which no frame is to blame for."""
_COLLISIONS = (DeadlockDetected, SerializationFailure, QueryCanceled)
_PLAIN_ANSWERS = ("/stop_ack", "/command_ack")
_ONE_STATEMENT = "/stop_ack"

log = structlog.get_logger()


@dataclass
class WriterHealth:
    """Counters since the process began; written by the writer's thread."""

    batches: int = 0
    frames: int = 0
    stored: int = 0
    repeated: int = 0
    refused: Counter[str] = field(default_factory=Counter[str])
    retries: int = 0
    database_away: bool = False
    turned_s: float = field(default_factory=monotonic)
    """When its loop last turned, by the monotonic clock."""


class Writer:
    """Takes batches and stores them, in one thread with one connection at a time; another reads ahead for it."""

    def __init__(
        self,
        *,
        pool: ConnectionPool[Connection],
        batch: SampleBatch,
        inbound: Inbound,
        replies: Replies,
        measures: Measures,
        stop: Event,
    ) -> None:
        self.health = WriterHealth()
        self._conn = KeptConnection(pool, autocommit=True)
        self._ahead = ReadAhead(batch=batch, inbound=inbound, stop=stop)
        self._inbound = inbound
        self._replies = replies
        self._measures = measures
        self._stop = stop
        self._presence = Presence()
        self._receipts = Receipts()

    @property
    def waiting_frames(self) -> int:
        """Frames read ahead that wait to be stored."""
        return len(self._ahead)

    @property
    def turned_s(self) -> dict[str, float]:
        """When its two loops last turned, by the monotonic clock."""
        return {"writer": self.health.turned_s, "reader": self._ahead.turned_s}

    def run(self) -> None:
        """Store batches until `stop` is set and the batch is closed and empty."""
        try:
            self._serve()
        finally:
            self._conn.close()

    def _serve(self) -> None:
        self._ahead.start()
        while not self._ahead.ended:
            frames, opened = self._ahead.take(timeout_s=TAKE_TIMEOUT_S)
            self.health.turned_s = monotonic()
            if frames:
                try:
                    self._write(frames, opened)
                except Exception:
                    # Left unacknowledged, the broker gives these frames to the next connection.
                    log.exception("batch_left_unacknowledged", frames=len(frames))
            else:
                self._replies.post_receipts(self._receipts.take_due())
            if self._presence.is_due():
                with suppress(_Stopped, _Faulty):
                    self._store([])
        self._replies.post_receipts(self._receipts.take_all())

    def _write(self, frames: Sequence[Frame], opened: Sequence[Ahead | None]) -> None:
        with suppress(_Stopped):
            try:
                self._store(frames, opened)
            except _Faulty:
                for frame in frames:
                    self._write_alone(frame)

    def _write_alone(self, frame: Frame) -> None:
        try:
            self._store([frame])
        except _Faulty as faulty:
            log.error("frame_put_aside", topic=frame.topic, error=faulty.why)
            self._finish(self._patiently([frame], self._put_aside))

    def _store(self, frames: Sequence[Frame], opened: Sequence[Ahead | None] = ()) -> None:
        self._finish(self._patiently(frames, partial(self._commit, opened=opened)))

    def _patiently(self, frames: Sequence[Frame], store: "_Store") -> "_Stored":
        """Store frames however long the database is away. Raises _Faulty, and _Stopped when told to stop."""
        collisions = 0
        wait_s = OUTAGE_MIN_WAIT_S
        while True:
            self.health.turned_s = monotonic()
            try:
                stored = store(frames)
            except _COLLISIONS as error:
                collisions += 1
                if collisions >= MAX_COLLISIONS:
                    raise _Faulty(error) from error
                self.health.retries += 1
            except _OUTAGES as error:
                if _is_overtaxed(error):
                    raise _Faulty(error) from error
                self._note_outage(error)
                if self._stop.wait(wait_s):
                    raise _Stopped from error
                wait_s = min(wait_s * 2, OUTAGE_MAX_WAIT_S)
            except BaseException as error:
                # A panic of a codec is no Exception, and nothing may end this thread.
                raise _Faulty(error) from error
            else:
                self.health.database_away = False
                return stored

    def _commit(self, frames: Sequence[Frame], *, opened: Sequence[Ahead | None]) -> "_Stored":
        stored = _Stored()
        with self._conn.use() as conn:
            stored.sort(self._inbound.read(conn, frames, opened))
            stored.steps.decoded_s = monotonic()
            order = stored.order = LockOrder.of(stored.heard)
            metered = hearing.meter_frames(order.meter_frames)
            self._ahead.judged()
            others = _store_older(conn, metered)
        stored.rekeyed = self._inbound.first_uses(stored.heard)
        with self._conn.use() as conn, _one_transaction(conn, frames, rekeys=bool(stored.rekeyed)):
            if stored.rekeyed:
                key_rotation.used(conn, stored.rekeyed, now=max(frame.received_at for frame in frames))
            if order.money:
                sessions.hold(conn, order.sessions(), of_piles=order.alarmed_piles())
            stored.handle(conn, order.reports)
            if others:
                meter.write_batch(conn, others)
            stored.handle(conn, order.money)
            command_answers.take(conn, [hearing.answer(heard) for heard in order.answers])
            self._presence.note(stored.heard, but=order.wills)
            if order.touches_piles or self._may_note_presence(frames):
                self._presence.write(conn)
                stored.presence_written = True
            stored.handle(conn, order.wills)
            rejections.keep(conn, stored.rejected)
            # Before the commit tells of their commands. Where it fails they stay held: a pile repeats a boot that was
            # not answered until it is, and hears nothing before.
            self._replies.hold(reply.pile_id for reply in stored.replies if reply.opens_boot)
            stored.steps.written_s = monotonic()
        stored.steps.committed_s = monotonic()
        stored.acknowledged = list(frames)
        return stored

    def _may_note_presence(self, frames: Sequence[Frame]) -> bool:
        """Whether it is due and nobody waits for this transaction; after plain answers it has one of its own."""
        return self._presence.is_due() and not (frames and _are_plain_answers(frames))

    def _put_aside(self, frames: Sequence[Frame]) -> "_Stored":
        stored = _Stored()
        # Without a counter, and so without a receipt: the fault is ours, and a pile keeps its meter frame.
        stored.sort([Refused(frame, Refusal.HANDLER_ERROR) for frame in frames])
        with self._conn.use() as conn, conn.transaction():
            rejections.keep(conn, stored.rejected)
        stored.acknowledged = list(frames)
        return stored

    def _finish(self, stored: "_Stored") -> None:
        """What may only happen once all of it is committed."""
        self._inbound.committed(stored.readings)
        if stored.presence_written:
            self._presence.written()
        by_link: dict[Link, list[Frame]] = {}
        for frame in stored.acknowledged:
            by_link.setdefault(frame.link, []).append(frame)
        for link, frames in by_link.items():
            link.ack(frames)
        stored.steps.acknowledged_s = monotonic()
        if stored.rekeyed:
            self._replies.rekeyed(stored.rekeyed)
        if stored.order is not None:
            self._receipts.committed([*stored.order.meter_frames, *stored.repeated])
        self._receipts.refused(stored.refused)
        self._replies.post(stored.replies)
        self._replies.post_receipts(self._receipts.take_due())
        self.health.batches += bool(stored.acknowledged)
        self.health.frames += len(stored.acknowledged)
        self.health.stored += len(stored.heard) - stored.refused_answered
        self.health.repeated += len(stored.repeated)
        self.health.refused.update(rejection.reason for rejection in stored.rejected)
        self._measure(stored)

    def _measure(self, stored: "_Stored") -> None:
        """Once a batch, after its acknowledgements; what was put aside alone is counted and not timed."""
        order = stored.order
        if order is None or not stored.acknowledged:
            return
        self._measures.committed(
            stored.steps,
            frames=len(stored.acknowledged),
            first_received_at=stored.acknowledged[0].received_at,
            sampled_ms=hearing.sampled_ms(order.meter_frames),
            repeated=len(stored.repeated),
            refused=len(stored.rejected),
        )
        for heard in (*order.answers, *order.money, *order.reports):
            answered = hearing.answered_command(heard.message)
            if answered is not None:
                self._measures.answered(*answered)

    def _note_outage(self, error: Exception) -> None:
        self.health.retries += 1
        if not self.health.database_away:
            self.health.database_away = True
            log.warning("database_away", error=type(error).__name__)


class _Stopped(Exception):
    """Told to stop while the database was away: the broker keeps the frames."""


class _Faulty(Exception):
    """A batch the database is there for and does not take; `why` names no payload."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(type(error).__name__)
        self.why = type(error).__name__


class _Store(Protocol):
    def __call__(self, frames: Sequence[Frame]) -> "_Stored": ...


@dataclass
class _Stored:
    """What became of a batch."""

    readings: list[Reading] = field(default_factory=list[Reading])
    heard: list[Heard] = field(default_factory=list[Heard])
    rejected: list[Rejection] = field(default_factory=list[Rejection])
    refused: list[Refused] = field(default_factory=list[Refused])
    """Frames that changed nothing; what was answered all the same is among the rejected alone."""
    replies: list[Reply] = field(default_factory=list[Reply])
    acknowledged: list[Frame] = field(default_factory=list[Frame])
    repeated: list[Heard] = field(default_factory=list[Heard])
    refused_answered: int = 0
    presence_written: bool = False
    rekeyed: dict[str, int] = field(default_factory=dict[str, int])
    order: LockOrder | None = None
    steps: BatchSteps = field(default_factory=BatchSteps)

    def sort(self, readings: Iterable[Reading]) -> None:
        for reading in readings:
            self.readings.append(reading)
            if isinstance(reading, Heard):
                self.heard.append(reading)
            elif isinstance(reading, Repeated):
                self.repeated.append(reading.heard)
            else:
                self.refused.append(reading)
                self.rejected.append(reading.rejection)

    def handle(self, conn: Connection, heard: Iterable[Heard]) -> None:
        for one in heard:
            reply = HANDLERS[type(one.message)](conn, one)
            if reply is None:
                continue
            self.replies.append(reply)
            if reply.refusal is not None:
                self.refused_answered += 1
                self.rejected.append(Refused(one.frame, reply.refusal).rejection)


def _is_overtaxed(error: Error) -> bool:
    state = error.sqlstate or ""
    return state.startswith(_OVERTAXED) and state not in _SERVER_FULL


def _store_older(conn: Connection, frames: Sequence[MeterFrame]) -> Sequence[MeterFrame]:
    """Store the frames of long ago, each day of them in a transaction of its own; gives the others.

    They come before what else is said in their batch: a settlement is judged by its samples.
    """
    older, others = backlog.apart(frames)
    for part in older:
        with conn.transaction():
            meter.write_batch(conn, part)
    return others


def _one_transaction(
    conn: Connection, frames: Sequence[Frame], *, rekeys: bool
) -> AbstractContextManager[object]:
    """A transaction; for a batch of plain answers a pipeline, which is one too: somebody waits for each of them.

    What is sent between two syncs of a pipeline commits together at the second, without a BEGIN and a COMMIT to wait
    for. In a pipeline no statement's row count is known before its result is fetched and COPY is refused, so whatever
    runs handlers or stores meter frames goes without. Errors surface at the next fetch, the last when it ends.
    A single answer to a stop is one statement, and that a transaction of its own, unless it is a secret's first use.
    """
    if len(frames) == 1 and not rekeys and frames[0].topic.endswith(_ONE_STATEMENT):
        return nullcontext()
    return conn.pipeline() if _are_plain_answers(frames) else conn.transaction()


def _are_plain_answers(frames: Sequence[Frame]) -> bool:
    return all(frame.topic.endswith(_PLAIN_ANSWERS) for frame in frames)
