"""Brings a changed list of revoked certificates to the running broker: copies it and has the broker read it anew."""

import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from pileway import home

LOOK_EVERY_S = 0.2
_STOP_LIMIT_S = 5.0

log = structlog.get_logger()


class RevocationWatch:
    """Watches one file in a thread of its own; `stop` ends it, and it may be started again."""

    def __init__(
        self, *, source: Path, copy: Path, owner: tuple[int, int] | None, reload: Callable[[], None]
    ) -> None:
        """`copy` is what the broker reads, owned by its account; `reload` tells it to."""
        self._source = source
        self._copy = copy
        self._owner = owner
        self._reload = reload
        self._content = b""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def copy(self) -> None:
        """Give the broker the list as it is now, before it starts. Raises OSError."""
        self._content = self._source.read_bytes()
        home.write_private(self._copy, self._content, owner=self._owner)

    def start(self) -> None:
        """Watch the list from the copy on; the broker runs and can be told to read it again."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="revocation-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_STOP_LIMIT_S)
            self._thread = None

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            try:
                newest = self._source.read_bytes()
                if newest == self._content:
                    continue
                home.write_private(self._copy, newest, owner=self._owner)
                self._reload()
            except OSError as error:
                log.warning("revocation_list_not_copied", error=error.strerror)
            else:
                self._content = newest
                log.info("broker_reads_revocations", size_bytes=len(newest))
