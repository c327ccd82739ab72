"""Coverage-guided fuzzing of the protocol, for as long as you like; not part of `make test`.

    python -m venv fuzzing && fuzzing/bin/pip install atheris -r requirements.lock
    fuzzing/bin/python -m tests.fuzz.atheris_frames -max_total_time=600

atheris needs a Python it has a wheel for, and is no dependency of ours. It stops at the first input that breaks one of
the properties of `tests/fuzz/hostile.py`, or that takes longer than libFuzzer's -timeout, and writes it to a file.
"""

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

# No dependency of ours, so there is nothing to check its types by.
atheris: Any = importlib.import_module("atheris")


with atheris.instrument_imports(include=["protocol", "cbor2"]):
    from protocol import codec, examples
    from tests.fuzz import hostile


def one_input(data: bytes) -> None:
    """The first byte chooses the property, the second the message."""
    choice, kind, rest = data[:1], data[1:2], data[2:]
    if choice < b"\x55":
        hostile.frame_is_opened_or_refused(rest)
    elif choice < b"\xe0":
        hostile.body_is_read_or_refused(kind[0] if kind else 0, rest)
    else:
        hostile.topic_is_parsed_or_refused(rest.decode("utf-8", "replace"))


def write_seeds(folder: Path) -> None:
    """One genuine body of each message, to begin from."""
    for place, message in enumerate(examples.EXAMPLES):
        kind = hostile.KINDS.index(type(message))
        (folder / f"{place:03}").write_bytes(bytes((0x60, kind)) + codec.encode(message))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as corpus:
        write_seeds(Path(corpus))
        atheris.Setup([*sys.argv, corpus], one_input)
        atheris.Fuzz()
