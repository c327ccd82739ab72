"""Listening to NOTIFY: a thread that keeps one connection of its own to the database, however often that goes away."""

import threading
from collections.abc import Callable, Sequence
from types import TracebackType

import psycopg
import structlog
from psycopg import sql

from database.pool import Connection

LISTEN_TICK_S = 0.25
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
CONNECT_TIMEOUT_S = 5
CLOSE_TIMEOUT_S = 10.0

log = structlog.get_logger()


class Listener:
    """Hears what is notified on some channels. Use as a context manager, or `start` and `close`.

    The three calls run in the listener's thread and may raise: then it connects anew, after growing pauses.
    """

    def __init__(
        self,
        dsn: str,
        channels: Sequence[str],
        *,
        name: str,
        connected: Callable[[], None],
        heard: Callable[[str, str], None],
        tick: Callable[[Connection], None] = lambda _: None,
    ) -> None:
        """`dsn` is the database by its own address, for LISTEN.

        `connected` is called whenever it begins to listen: what was notified before is lost. `heard` gets channel and
        payload; `tick` comes after whatever was heard, and every LISTEN_TICK_S besides.
        """
        self._dsn = dsn
        self._channels = channels
        self._name = name
        self._connected = connected
        self._heard = heard
        self._tick = tick
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name.replace(" ", "-"), daemon=True)

    def __enter__(self) -> "Listener":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Begin to listen; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Tell it to stop, without waiting."""
        self._stopping.set()

    def close(self) -> None:
        """Stop listening."""
        self.stop()
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            try:
                with psycopg.connect(
                    self._dsn,
                    autocommit=True,
                    connect_timeout=CONNECT_TIMEOUT_S,
                    application_name=f"pileway {self._name}",
                ) as conn:
                    for channel in self._channels:
                        conn.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                    self._connected()
                    log.info("listening", who=self._name)
                    pause_s = FIRST_PAUSE_S
                    self._listen(conn)
            except Exception as error:  # noqa: BLE001 - outermost line of the thread: it must outlive any failure
                log.warning("not_listening", who=self._name, error=type(error).__name__, pause_s=pause_s)
                self._stopping.wait(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _listen(self, conn: Connection) -> None:
        while not self._stopping.is_set():
            for note in conn.notifies(timeout=LISTEN_TICK_S, stop_after=1):
                self._heard(note.channel, note.payload)
            self._tick(conn)
