"""Frames opened and decoded while the writer waits for the database.

A thread takes batches as they come and opens them; the writer takes whatever is ready. Nothing is judged here: who may
speak and what is a repeat is the writer's question, asked in the order of arrival after the commit before. While the
writer asks it the thread rests: the interpreter is one, and the database waits for the writer.
"""

from collections.abc import Sequence
from threading import Condition, Event, Thread
from time import monotonic

import structlog

from gateway.inbound import Ahead, Inbound
from gateway.link import Frame
from gateway.sample_batch import SampleBatch

TAKE_TIMEOUT_S = 0.5
AHEAD_FRAMES = 500
"""With so many ready no more are taken: the writer's batch is at most these and one batch of the queue's."""

log = structlog.get_logger()


class ReadAhead:
    """Stands between the queue and the writer."""

    def __init__(self, *, batch: SampleBatch, inbound: Inbound, stop: Event) -> None:
        self._batch = batch
        self._inbound = inbound
        self._stop = stop
        self._frames: list[Frame] = []
        self._opened: list[Ahead | None] = []
        self._ended = False
        self._judging = False
        self._changed = Condition()
        self.turned_s = monotonic()
        """When its loop last turned, by the monotonic clock."""

    def __len__(self) -> int:
        return len(self._frames)

    def start(self) -> None:
        """Read ahead from now on, until `stop` is set and the queue is closed and empty."""
        Thread(target=self._run, name="read-ahead", daemon=True).start()

    def take(self, *, timeout_s: float) -> tuple[Sequence[Frame], Sequence[Ahead | None]]:
        """All that is ready, in order of arrival; nothing when `timeout_s` passes or there will be no more."""
        self.judged()
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._ended, timeout_s)
            taken = self._frames, self._opened
            self._frames, self._opened = [], []
            self._judging = bool(taken[0])
        return taken

    def judged(self) -> None:
        """The writer has asked what there is to ask of the frames it took, and turns to the database."""
        with self._changed:
            self._judging = False
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        """Whether nothing is left and nothing more will come."""
        with self._changed:
            return self._ended and not self._frames

    def _run(self) -> None:
        try:
            self._serve()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _serve(self) -> None:
        while True:
            self.turned_s = monotonic()
            frames = self._batch.take(timeout_s=TAKE_TIMEOUT_S)
            if frames:
                self._put(frames, self._open(frames))
            elif self._stop.is_set():
                break

    def _open(self, frames: Sequence[Frame]) -> Sequence[Ahead | None]:
        try:
            return self._inbound.open_ahead(frames)
        except BaseException:
            # The writer reads them itself, and puts aside the one at fault. A panic of a codec is no Exception.
            log.exception("not_read_ahead", frames=len(frames))
            return [None] * len(frames)

    def _put(self, frames: Sequence[Frame], opened: Sequence[Ahead | None]) -> None:
        with self._changed:
            self._frames += frames
            self._opened += opened
            self._changed.notify_all()
            # The writer comes back for them however long its database is away.
            while not self._changed.wait_for(self._may_go_on, TAKE_TIMEOUT_S):
                self.turned_s = monotonic()

    def _may_go_on(self) -> bool:
        return len(self._frames) < AHEAD_FRAMES and not self._judging
