"""What wakes the outbox: news of commands from the database, or a ring from another thread."""

import select
import socket
from collections import deque
from contextlib import suppress

import psycopg
import structlog
from psycopg import OperationalError

from charging import command_outbox
from charging.command_outbox import News
from database.pool import Connection

MAX_NEWS = 10_000
"""Commands told of and not yet sent; older ones are found by looking."""

log = structlog.get_logger()


class CommandBell:
    """One thread waits and takes the news; any may ring."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._inside, self._outside = socket.socketpair()
        self._inside.setblocking(False)
        self._outside.setblocking(False)
        self._conn: Connection | None = None
        self._news: deque[News] = deque(maxlen=MAX_NEWS)

    def ring(self) -> None:
        """Wake whoever waits."""
        # Full of rings it wakes the outbox anyway, and a closed one has nobody to wake.
        with suppress(OSError):
            self._outside.send(b"!")

    def wait(self, timeout_s: float) -> bool:
        """Until there may be something to send; whether the database's bell can be heard."""
        conn = self._listening()
        ears = select.poll()
        ears.register(self._inside, select.POLLIN)
        if conn is not None:
            ears.register(conn, select.POLLIN)
        rung = {fd for fd, _ in ears.poll(timeout_s * 1000)}
        if self._inside.fileno() in rung:
            self._inside.recv(4096)
        if conn is not None and conn.fileno() in rung:
            self._drain(conn)
        return self._conn is not None

    def take_news(self) -> list[News]:
        """What was told of since the last call, in order."""
        news = list(self._news)
        self._news.clear()
        return news

    def close(self) -> None:
        """Stop listening."""
        if self._conn is not None:
            self._conn.close()
        self._inside.close()
        self._outside.close()

    def _listening(self) -> Connection | None:
        if self._conn is None:
            try:
                self._conn = psycopg.connect(self._dsn, autocommit=True, connect_timeout=2)
                self._conn.execute("LISTEN command_outbox")
            except OperationalError as error:
                log.warning("outbox_not_listening", error=type(error).__name__)
                self._conn = None
        return self._conn

    def _drain(self, conn: Connection) -> None:
        try:
            # As libpq has them: the connection's own way to them takes longer than all that is done with them here.
            conn.pgconn.consume_input()
            while (note := conn.pgconn.notifies()) is not None:
                news = command_outbox.read_news(note.extra.decode())
                if news is None:
                    log.warning("command_news_odd", bytes=len(note.extra))
                else:
                    self._news.append(news)
        except OperationalError:
            conn.close()
            self._conn = None
