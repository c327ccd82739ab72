"""Test vectors: one frame of each message, made with fixed keys, counters and contents.

``python -m protocol.vectors`` writes ``protocol/test_vectors.json`` anew; a test holds the file to the code. Each
vector can be checked by any COSE and CBOR library from the file alone.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol import codec, fields, firmware, frames, start_code
from protocol.envelope import Counter, Opener, Sealer
from protocol.examples import EXAMPLES, FIRMWARE_FILE, FIRMWARE_KEY, MANIFEST
from protocol.fields import Message, WireEnum
from protocol.topics import Direction

PATH: Final = Path(__file__).with_name("test_vectors.json")
PILE_ID: Final = "PW-000001"
SECRET: Final = bytes(range(32))
EPOCH: Final = 1
CODE_AT_S: Final = 1_790_000_000


def build() -> dict[str, Any]:
    """The content of the vectors file."""
    sealers = {way: Sealer(SECRET, epoch=EPOCH, direction=way) for way in Direction}
    vectors: list[dict[str, Any]] = []
    for seq, message in enumerate(EXAMPLES, start=1):
        counter = Counter(3, seq)
        frame = frames.seal(message, sealer=sealers[message.direction], pile_id=PILE_ID, counter=counter)
        vectors.append(
            {
                "message": message.message,
                "direction": message.direction.value,
                "topic": frame.topic,
                "boot": counter.boot,
                "seq": counter.seq,
                "fields": _shown(message),
                "body_hex": codec.encode(message).hex(),
                "frame_hex": frame.payload.hex(),
            }
        )
    return {
        "pile_id": PILE_ID,
        "device_secret_hex": SECRET.hex(),
        "epoch": EPOCH,
        "vectors": vectors,
        "firmware": _firmware(),
        "start_code": _start_code(),
    }


def as_text() -> str:
    """The vectors file, as it is written."""
    return json.dumps(build(), indent=1) + "\n"


def check() -> None:
    """Open every frame of the file and compare; raises AssertionError with the message's name."""
    content = json.loads(PATH.read_text())
    openers = {way: Opener({content["epoch"]: SECRET}, direction=way) for way in Direction}
    for vector, message in zip(content["vectors"], EXAMPLES, strict=True):
        opened = openers[message.direction].open(vector["topic"], bytes.fromhex(vector["frame_hex"]))
        found = codec.decode(message.direction, vector["message"], opened.body)
        assert found == message, vector["message"]
    assert {type(message) for message in EXAMPLES} == set(fields.catalogue()), "a message has no vector"


def _firmware() -> dict[str, Any]:
    """A manifest, the bytes that are signed, and the maker's signature."""
    key = Ed25519PrivateKey.from_private_bytes(FIRMWARE_KEY)
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {
        "public_key_hex": public.hex(),
        "file_hex": FIRMWARE_FILE.hex(),
        "manifest": {**MANIFEST._asdict(), "sha256": MANIFEST.sha256.hex()},
        "signed_hex": MANIFEST.encoded().hex(),
        "signature_hex": firmware.sign(key, MANIFEST).hex(),
    }


def _start_code() -> dict[str, Any]:
    """A code made at an instant with the device secret and epoch above."""
    code = start_code.make(SECRET, epoch=EPOCH, port=2, limit_dwh=21_050, at_s=CODE_AT_S)
    return {
        "at_s": CODE_AT_S,
        "port": 2,
        "limit_dwh": code.limit_dwh,
        "digits": code.digits,
        "session_id": str(code.session_id),
    }


def _shown(message: Message) -> dict[str, Any]:
    values = {spec.name: getattr(message, spec.name) for spec in dataclasses.fields(message)}  # pyright: ignore[reportArgumentType] - every declared message is a dataclass
    return {name: _plain(value) for name, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, WireEnum):
        return value.word
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]  # pyright: ignore[reportUnknownVariableType] - rows of any kind
    return value


if __name__ == "__main__":
    PATH.write_text(as_text())
