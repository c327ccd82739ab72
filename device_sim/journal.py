"""The pile's own log: a bounded ring of lines about what really happened, in a file that power cuts leave alone."""

from collections import deque
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from protocol.messages import LogLine
from protocol.words import LogLevel

LINES_KEPT: Final = 500
TEXT_MAX: Final = 200

_LINE: Final = TypeAdapter(tuple[int, int, str])


class Journal:
    """Appends to its file, which is written anew once it is twice as long as what is kept."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "journal.jsonl"
        self._lines: deque[LogLine] = deque(maxlen=LINES_KEPT)
        self._in_file = 0
        if self._path.exists():
            content = self._path.read_bytes()
            for line in content.splitlines():
                self._in_file += 1
                self._read(line)
            if content and not content.endswith(b"\n"):
                self._write_anew()

    def note(self, at_ms: int, level: LogLevel, text: str) -> None:
        """Write down what happened, by the pile's own clock."""
        line = LogLine(at_ms, level, text[:TEXT_MAX])
        self._lines.append(line)
        if self._in_file >= 2 * LINES_KEPT:
            self._write_anew()
            return
        with self._path.open("ab") as file:
            file.write(_written(line))
        self._in_file += 1

    def since(self, at_ms: int, *, most: int) -> list[LogLine]:
        """The newest lines that are not older than an instant, oldest first."""
        return [line for line in self._lines if line.at_ms >= at_ms][-most:]

    def _write_anew(self) -> None:
        kept = self._path.with_suffix(".new")
        kept.write_bytes(b"".join(_written(line) for line in self._lines))
        kept.replace(self._path)
        self._in_file = len(self._lines)

    def _read(self, line: bytes) -> None:
        """A line that a power cut left half written is passed over."""
        try:
            at_ms, level, text = _LINE.validate_json(line)
        except ValidationError:
            return
        self._lines.append(LogLine(at_ms, LogLevel(level), text))


def _written(line: LogLine) -> bytes:
    return _LINE.dump_json((line.at_ms, int(line.level), line.text)) + b"\n"
