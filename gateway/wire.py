"""Bytes to and from the broker: a non-blocking socket, encrypted or not, and a way to wake the thread that waits on it.

TLS runs over memory (RFC 8446 asks nothing of the transport but order): one system call brings many of the small
records a broker sends, where TLS on the socket itself makes two for each. One thread waits and reads, others may send
or wake it; OpenSSL is asked by one at a time.
"""

import selectors
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from errno import EINPROGRESS
from os import strerror
from threading import Lock
from time import monotonic
from typing import Self

from gateway.broker_address import BrokerAddress
from gateway.errors import LinkLost

RAW_BYTES = 256 * 1024
"""How much of what is encrypted is read at once."""
REST_S = 0.002
"""Where the broker sends little and often, as many reads a second as this goes into one: a read costs more than the
packets in it."""
BURST_READS = 8
"""So many may follow each other sooner: what somebody waits for comes seldom alone."""
PLENTY_BYTES = 32 * 1024
"""A read of so much is worth its cost."""


class Waker:
    """Interrupts a wire's wait from another thread, for more to send or for good."""

    def __init__(self) -> None:
        self.stopped = False
        self._reading, self._writing = socket.socketpair()
        self._reading.setblocking(False)
        self._writing.setblocking(False)
        self._lock = Lock()
        self._awake = False
        self._only = selectors.PollSelector()
        self._only.register(self._reading, selectors.EVENT_READ)

    def fileno(self) -> int:
        """What a selector waits for."""
        return self._reading.fileno()

    def wake(self) -> None:
        """End the wait. What it is to find must be there before this call."""
        if self._awake:
            return
        with self._lock:
            self._awake = True
            with suppress(OSError):
                self._writing.send(b"\0")

    def stop(self) -> None:
        """End the wait, and every later one."""
        self.stopped = True
        self._awake = False
        self.wake()

    def clear(self) -> None:
        """Begin anew; the caller looks for what there is after this."""
        with suppress(OSError):
            self._reading.recv(4096)
        self._awake = False

    def rest(self, timeout_s: float) -> None:
        """Wait for nothing but to be woken."""
        self._only.select(timeout_s)

    def close(self) -> None:
        """Wake nobody any more."""
        self._only.close()
        with self._lock:
            self._reading.close()
            self._writing.close()


class Wire:
    """One connection, opened within a time. Every method raises OSError or LinkLost once it is of no more use."""

    def __init__(self, sock: socket.socket, waker: Waker | None) -> None:
        """Takes the socket over; `waker` may end a wait early."""
        self._sock = sock
        self._waker = waker
        self._selector = selectors.DefaultSelector()
        self._watched = selectors.EVENT_READ
        self._selector.register(sock, self._watched)
        if waker is not None:
            self._selector.register(waker, selectors.EVENT_READ)
        self._lock = Lock()
        """Around the encryption and what is not sent yet."""
        self._unsent = bytearray()
        self._holds_more = False
        self._haste = 0.0
        self._read_s = 0.0
        self._tls: _Tls | None = None

    @classmethod
    def open(
        cls,
        address: BrokerAddress,
        *,
        context: ssl.SSLContext | None,
        deadline_s: float,
        waker: Waker | None = None,
    ) -> Self:
        """Connect, and agree on keys where a context is given, before the monotonic `deadline_s`."""
        last: OSError = ConnectionError(f"{address.host} has no address")
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        for tried, (family, kind, protocol, _, where) in enumerate(found):
            # A machine with two addresses may be reachable under the second alone.
            share_s = (deadline_s - monotonic()) / (len(found) - tried)
            try:
                wire = cls(socket.socket(family, kind, protocol), waker)
            except OSError as error:
                # Resolved, but the kernel does without that family.
                last = error
                continue
            try:
                wire._connect(where, monotonic() + share_s)
                if context is not None:
                    wire._encrypt(context, address.host, deadline_s)
            except OSError as error:
                wire.close()
                last = error
            except BaseException:
                wire.close()
                raise
            else:
                return wire
        raise last

    def wait(self, timeout_s: float) -> bool:
        """Wait until something can be read, for so long or until woken; whether something can.

        Where it comes little by little, some time is let pass first, so that it comes together.
        """
        with self._lock:
            self._push()
        if self._holds_more:
            return True
        if self._haste > BURST_READS and self._waker is not None:
            self._waker.rest(min(REST_S, timeout_s))
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        return bool(self._select(wanted, timeout_s) & selectors.EVENT_READ)

    def wait_until(self, deadline_s: float) -> None:
        """Wait through every waking until something can be read. Raises TimeoutError."""
        while not self.wait(self._left_s(deadline_s)):
            continue

    def read_into(self, view: memoryview) -> int:
        """Read what is there and has room; 0 for nothing."""
        tls = self._tls
        if tls is None:
            count = self._receive(view)
        else:
            with self._lock:
                count = self._decrypt(tls, view)
        self._holds_more = count == len(view)
        now_s = monotonic()
        slower = (now_s - self._read_s) / REST_S
        self._haste = 0.0 if count >= PLENTY_BYTES else max(0.0, self._haste - slower) + 1
        self._read_s = now_s
        return count

    def send(self, chunk: bytes) -> None:
        """Send now what the socket takes, and the rest with later calls of `wait`. Any thread may, before `close`."""
        with self._lock:
            if self._tls is None:
                self._unsent += chunk
            else:
                self._tls.encrypt(chunk)
            self._push()
            is_left = bool(self._unsent)
        if is_left and self._waker is not None:
            # A wait that began before knows nothing of it.
            self._waker.wake()

    def shut(self) -> None:
        """End the connection from any thread, so that a wait in the wire's own ends."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the socket; what was not sent is dropped."""
        self._selector.close()
        self._sock.close()

    def _connect(self, where: object, deadline_s: float) -> None:
        sock = self._sock
        sock.setblocking(False)
        # Nagle's algorithm together with delayed acknowledgements costs 40 ms a round trip.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex(where)  # pyright: ignore[reportArgumentType]  # an address as getaddrinfo gives it
        if code == EINPROGRESS:
            while not self._select(selectors.EVENT_WRITE, self._left_s(deadline_s)):
                continue
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, strerror(code))

    def _encrypt(self, context: ssl.SSLContext, host: str, deadline_s: float) -> None:
        tls = self._tls = _Tls(context, host)
        try:
            while not tls.agreed():
                self.wait_until(deadline_s)
                self._feed(tls)
        finally:
            # An alert tells the broker why, too.
            self._push()

    def _left_s(self, deadline_s: float) -> float:
        if self._waker is not None and self._waker.stopped:
            raise LinkLost("stopped")
        left_s = deadline_s - monotonic()
        if left_s <= 0:
            raise TimeoutError("no answer in time")
        return left_s

    def _select(self, wanted: int, timeout_s: float) -> int:
        if wanted != self._watched:
            self._selector.modify(self._sock, wanted)
            self._watched = wanted
        ready = 0
        waker = self._waker
        for key, events in self._selector.select(max(0.0, timeout_s)):
            if waker is not None and key.fileobj is waker:
                waker.clear()
            else:
                ready = events
        return ready

    def _receive(self, view: memoryview) -> int:
        try:
            count = self._sock.recv_into(view)
        except BlockingIOError:
            return 0
        if not count:
            raise LinkLost("closed by the broker")
        return count

    def _feed(self, tls: "_Tls") -> bool:
        count = self._receive(tls.raw)
        if count:
            tls.incoming.write(tls.raw[:count])
        return count > 0

    def _decrypt(self, tls: "_Tls", view: memoryview) -> int:
        count = tls.decrypt_into(view)
        if not count and self._feed(tls):
            count = tls.decrypt_into(view)
        return count

    def _push(self) -> None:
        if self._tls is not None and self._tls.outgoing.pending:
            self._unsent += self._tls.outgoing.read()
        while self._unsent:
            try:
                sent = self._sock.send(self._unsent)
            except BlockingIOError:
                return
            del self._unsent[:sent]


class _Tls:
    """The encryption of a wire; all it does is in memory."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.raw = memoryview(bytearray(RAW_BYTES))
        self._channel = context.wrap_bio(self.incoming, self.outgoing, server_hostname=host)

    def agreed(self) -> bool:
        """Go on with the handshake; whether it is done."""
        try:
            self._channel.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def decrypt_into(self, view: memoryview) -> int:
        """Decrypt whole records until there are none or the view is full."""
        filled, size = 0, len(view)
        read: Callable[[int, memoryview], int] = self._channel.read  # pyright: ignore[reportAssignmentType]  # typeshed's gap
        try:
            while filled < size:
                count = read(size - filled, view[filled:])
                if not count:
                    break
                filled += count
        except ssl.SSLWantReadError:
            return filled
        if not filled:
            raise LinkLost("closed by the broker")
        return filled

    def encrypt(self, chunk: bytes) -> None:
        """Put it among what goes out."""
        view = memoryview(chunk)
        while view:
            view = view[self._channel.write(view) :]
