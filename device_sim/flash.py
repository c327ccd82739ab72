"""Writing a pile's files so that a power cut leaves the old content or the new, never half of it."""

import os
from collections.abc import Sequence
from pathlib import Path


def write_whole(path: Path, content: Sequence[bytes], *, durable: bool = True) -> None:
    """Replace a private file. ``durable`` survives a power cut of the host, else only the death of the process."""
    temporary = path.with_suffix(path.suffix + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(content)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    temporary.replace(path)
    if durable:
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
