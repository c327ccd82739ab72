"""The newest counter accepted from the platform, on disk before the frame is acted on.

Two fixed places are written in turn, each with its checksum: a power cut in the middle of a write leaves the other.
This costs one write of 16 bytes a frame, where the memory, which holds everything else, is a file written whole.
"""

import os
import struct
import zlib
from pathlib import Path
from typing import Final

from protocol.envelope import Counter

_ENTRY: Final = struct.Struct(">III")
_CHECKSUM: Final = struct.Struct(">I")
_PLACE_BYTES: Final = _ENTRY.size + _CHECKSUM.size
_PLACES: Final = 2


class HeardCounters:
    """By epoch; of two epochs, as while keys change over, each has a place of its own."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "heard.bin"
        self._newest: dict[int, Counter] = {}
        self._place_of: dict[int, int] = {}
        self._next_place = 0
        content = self._path.read_bytes() if self._path.exists() else b""
        for place in range(_PLACES):
            self._read(content[place * _PLACE_BYTES : (place + 1) * _PLACE_BYTES], place)

    def newest(self, epoch: int) -> Counter:
        """The newest counter of an epoch; before the first it is (0, 0)."""
        return self._newest.get(epoch, Counter(0, 0))

    def note(self, epoch: int, counter: Counter) -> None:
        """Write it down before the frame is acted on; outlives a crash of the host."""
        entry = _ENTRY.pack(epoch, counter.boot, counter.seq)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, entry + _CHECKSUM.pack(zlib.crc32(entry)), self._next_place * _PLACE_BYTES)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        self._newest[epoch] = counter
        self._next_place = (self._next_place + 1) % _PLACES

    def _read(self, stored: bytes, place: int) -> None:
        if len(stored) != _PLACE_BYTES:
            return
        entry, (checksum,) = stored[: _ENTRY.size], _CHECKSUM.unpack(stored[_ENTRY.size :])
        epoch, boot, seq = _ENTRY.unpack(entry)
        if zlib.crc32(entry) == checksum and Counter(boot, seq) >= self.newest(epoch):
            self._newest[epoch] = Counter(boot, seq)
            self._next_place = (place + 1) % _PLACES
