"""A wire to a real broker with a hand on it: it can hold back, cut in the middle of a packet, and slip bytes in."""

import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Condition, Thread

CHUNK_BYTES = 65_536
CONNECT_LIMIT_S = 10.0
HELD_LIMIT_S = 60.0
"""Longer than any test holds it."""


class Meddler:
    """Forwards connections to a port on this machine; `upward` and `downward` are what has passed since the start."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._door = socket.create_server(("127.0.0.1", 0))
        self._changed = Condition()
        self._held = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads = [Thread(target=self._let_in)]
        self.edit_down: Callable[[bytes], bytes] = lambda chunk: chunk
        self.cut_down_after: int | None = None
        self.upward = bytearray()
        self._threads[0].start()

    @property
    def url(self) -> str:
        """Where clients connect, without TLS."""
        return f"mqtt://127.0.0.1:{self._door.getsockname()[1]}"

    def hold_down(self) -> None:
        """Let nothing from the broker through until `release_down`."""
        with self._changed:
            self._held = True

    def release_down(self) -> None:
        with self._changed:
            self._held = False
            self._changed.notify_all()

    def inject_down(self, chunk: bytes) -> None:
        """Say something to the client that the broker never said."""
        self._pairs[-1][0].sendall(chunk)

    def cut(self) -> None:
        """End all connections."""
        for pair in self._pairs:
            for sock in pair:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self.release_down()
        self.cut()
        for thread in list(self._threads):
            thread.join(10)
        self._door.close()
        for pair in self._pairs:
            for sock in pair:
                sock.close()

    def _let_in(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(self._target, CONNECT_LIMIT_S)
            except OSError:
                client.close()
                continue
            # The broker may be silent for as long as it likes; `close` ends the wait for it.
            broker.settimeout(None)
            self._pairs.append((client, broker))
            for source, sink, onward in ((client, broker, self._up), (broker, client, self._down)):
                thread = Thread(target=self._pump, args=(source, sink, onward))
                self._threads.append(thread)
                thread.start()

    def _pump(
        self, source: socket.socket, sink: socket.socket, onward: Callable[[bytes], tuple[bytes, bool]]
    ) -> None:
        with suppress(OSError):
            while chunk := source.recv(CHUNK_BYTES):
                chunk, cut = onward(chunk)
                sink.sendall(chunk)
                if cut:
                    break
        for sock in (source, sink):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _up(self, chunk: bytes) -> tuple[bytes, bool]:
        self.upward += chunk
        return chunk, False

    def _down(self, chunk: bytes) -> tuple[bytes, bool]:
        with self._changed:
            self._changed.wait_for(lambda: not self._held, HELD_LIMIT_S)
        chunk = self.edit_down(chunk)
        if self.cut_down_after is None:
            return chunk, False
        left, self.cut_down_after = self.cut_down_after, self.cut_down_after - len(chunk)
        if len(chunk) < left:
            return chunk, False
        self.cut_down_after = None
        return chunk[:left], True
