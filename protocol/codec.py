"""Message bodies: deterministic CBOR (RFC 8949, section 4.2) of a map with small integer keys, integers, no
floats.

``encode`` checks what it writes as strictly as ``decode`` checks what it reads. ``decode`` raises a
ProtocolError for any bytes that are not a message, and nothing else.
"""

import io
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn

import cbor2

from protocol import fields
from protocol.errors import Malformed, Oversized
from protocol.fields import Message
from protocol.messages import UnknownMessage
from protocol.topics import Direction

MAX_BODY_BYTES: Final = 16 * 1024
MAX_DEPTH: Final = 8
MAX_CONTAINER_HEADS: Final = 8_000
"""Most bytes of an item that may look like the head of an array or a map.

Sixteen thousand empty arrays fit into a frame and cost more than a millisecond to make. No message has a tenth of
this many; sealed bytes and Chinese texts have such bytes too, but at most two in three.
"""


def encode(message: Message) -> bytes:
    """A message as its body. Raises OutOfRange, WrongType or Oversized for one that may not be sent."""
    schema = fields.message_schema(message.direction, message.message)
    assert schema is not None, "every subclass of Message is declared"
    body = cbor2.dumps(schema.dump(message))
    if len(body) > MAX_BODY_BYTES:
        raise Oversized(size_bytes=len(body), limit_bytes=MAX_BODY_BYTES)
    return body


def decode(direction: Direction, name: str, body: bytes) -> Message | UnknownMessage:
    """The message a body carries; direction and name come from the topic.

    Raises Malformed (also MissingField and WrongType), OutOfRange or Oversized, naming the field.
    """
    if len(body) > MAX_BODY_BYTES:
        raise Oversized(size_bytes=len(body), limit_bytes=MAX_BODY_BYTES)
    wire = fields.map_of(read_item(body))
    schema = fields.message_schema(direction, name)
    return UnknownMessage(direction, name) if schema is None else schema.load(wire)


def read_item(encoded: bytes) -> Any:
    """Exactly one CBOR data item without tags, indefinite lengths or repeated keys; raises Malformed."""
    if (
        len(encoded) > MAX_CONTAINER_HEADS
        and len(encoded.translate(None, _OTHER_HEADS)) > MAX_CONTAINER_HEADS
    ):
        raise Malformed(f"more than {MAX_CONTAINER_HEADS} arrays and maps")
    stream = io.BytesIO(encoded)
    try:
        item = cbor2.CBORDecoder(
            stream,
            semantic_decoders=_NO_TAGS,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
        ).decode()
    except (cbor2.CBORDecodeError, TypeError, ValueError, OverflowError) as error:
        raise Malformed(f"not CBOR as the protocol prescribes: {type(error).__name__}") from error
    if stream.tell() != len(encoded):
        raise Malformed(f"{len(encoded) - stream.tell()} bytes after the end")
    return item


def _refuse_tag(_content: Any, _immutable: bool) -> NoReturn:
    raise ValueError("the protocol uses no tags here")


class _EveryTag(Mapping[int, Any]):
    """Refuses every tag, the library's own included: some (bigfloat, regexp) compute on hostile input."""

    def __getitem__(self, _tag: int) -> Any:
        return _refuse_tag

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


_OTHER_HEADS: Final = bytes(byte for byte in range(256) if not 0x80 <= byte <= 0xBF)
_NO_TAGS: Final = _EveryTag()
