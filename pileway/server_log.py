"""The output file of an embedded server: bounded across starts, read back to explain a failed one."""

from pathlib import Path
from typing import IO

from pileway.errors import AccessDenied, DiskFull, PartFailed, PortTaken

MAX_SIZE_BYTES = 10 * 1024 * 1024
TAIL_LINES = 8
_TAIL_BYTES = 4096

_CAUSES: tuple[tuple[tuple[str, ...], type[PartFailed]], ...] = (
    (("No space left on device", "Disk quota exceeded"), DiskFull),
    (("Address already in use", "address already in use"), PortTaken),
    (("Permission denied", "could not access", "Unable to open"), AccessDenied),
)


def open_log(path: Path) -> IO[bytes]:
    """Open the file for appending; one that has grown over 10 MiB is set aside as `.1` first."""
    if path.exists() and path.stat().st_size > MAX_SIZE_BYTES:
        path.replace(path.with_suffix(path.suffix + ".1"))
    return path.open("ab", buffering=0)


def tail(path: Path, *, after: int = 0) -> str:
    """Return the last lines written after byte `after`."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(after, end - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.strip().splitlines()[-TAIL_LINES:])


def failure(part: str, path: Path, *, after: int) -> PartFailed:
    """Turn the end of a server's log into the error that names the cause."""
    text = tail(path, after=after)
    for signs, kind in _CAUSES:
        if any(sign in text for sign in signs):
            return kind(f"{part} could not start. Its log {path} ends:\n{text}")
    return PartFailed(f"{part} stopped while starting. Its log {path} ends:\n{text or '(nothing)'}")
