"""Meter frames on a pile's flash: each is there from its making to its receipt, over power cuts.

A log of CBOR items, `[number, body]` for a frame that is kept and `[number]` for one that is not any more. It is
written anew once most of it tells of frames that are gone. What a power cut left half written ends the log.
"""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import cbor2

from device_sim.flash import write_whole

REWRITTEN_AFTER: Final = 512
"""Frames gone, at least, before the log is written anew."""


class FrameStore:
    """The bodies of frames by their numbers, oldest first."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "frames.log"
        self.kept: dict[int, bytes] = {}
        self._gone = 0
        if self._path.exists() and not self._read(self._path.read_bytes()):
            self._write_anew()

    def keep(self, number: int, body: bytes) -> None:
        """Write a frame down; numbers grow."""
        self.kept[number] = body
        self._append(cbor2.dumps([number, body]))

    def forget(self, numbers: Iterable[int]) -> None:
        """These need not be kept any more."""
        gone = [number for number in numbers if self.kept.pop(number, None) is not None]
        self._gone += len(gone)
        if self._gone >= REWRITTEN_AFTER and self._gone > len(self.kept):
            self._write_anew()
        elif gone:
            self._append(b"".join(cbor2.dumps([number]) for number in gone))

    def _append(self, items: bytes) -> None:
        with self._path.open("ab") as file:
            file.write(items)

    def _write_anew(self) -> None:
        write_whole(
            self._path, [cbor2.dumps([number, body]) for number, body in self.kept.items()], durable=False
        )
        self._gone = 0

    def _read(self, content: bytes) -> bool:
        """Whether all of it could be read."""
        stream = io.BytesIO(content)
        decoder = cbor2.CBORDecoder(stream)
        while stream.tell() < len(content):
            try:
                item: Any = decoder.decode()
            except (cbor2.CBORDecodeError, EOFError):
                return False
            match item:
                case [int(number), bytes(body)]:
                    self.kept[number] = body
                case [int(number)]:
                    self.kept.pop(number, None)
                    self._gone += 1
                case _:
                    return False
        return True
