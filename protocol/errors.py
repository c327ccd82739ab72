"""What can be wrong with a frame.

::

    ProtocolError                  reason
    ├── Malformed                  malformed
    │   ├── MissingField           missing_field
    │   └── WrongType              wrong_type
    ├── OutOfRange                 out_of_range
    ├── Oversized                  oversized
    ├── BadTopic                   bad_topic
    ├── UnsupportedAlgorithm       unsupported_algorithm
    ├── UnknownEpoch               unknown_epoch
    └── Forged                     forged

``reason`` is a short word for counters and database columns; ``str(error)`` names the field or the fact.
Neither ever carries a payload or a key.
"""

from typing import ClassVar


class ProtocolError(Exception):
    """A frame, topic or message that breaks the device protocol."""

    reason: ClassVar[str] = "protocol"


class Malformed(ProtocolError):
    """Not the CBOR or COSE structure the protocol prescribes."""

    reason = "malformed"


class MissingField(Malformed):
    """A field the message must carry is absent."""

    reason = "missing_field"

    def __init__(self, field: str) -> None:
        super().__init__(f"{field}: missing")
        self.field = field


class WrongType(Malformed):
    """A field holds another type than the protocol prescribes."""

    reason = "wrong_type"

    def __init__(self, field: str, *, expected: str, found: str) -> None:
        super().__init__(f"{field}: expected {expected}, found {found}")
        self.field = field
        self.expected = expected
        self.found = found


class OutOfRange(ProtocolError):
    """A field has the right type and an impossible value."""

    reason = "out_of_range"

    def __init__(self, field: str, *, allowed: str, found: str) -> None:
        super().__init__(f"{field}: {found} is not in {allowed}")
        self.field = field
        self.allowed = allowed
        self.found = found


class Oversized(ProtocolError):
    """A frame larger than the protocol allows."""

    reason = "oversized"

    def __init__(self, *, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"{size_bytes} bytes exceed the limit of {limit_bytes}")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class BadTopic(ProtocolError):
    """A topic that is not ``v1/{shard}/{pile}/{up|down}/{message}``."""

    reason = "bad_topic"


class UnsupportedAlgorithm(ProtocolError):
    """The envelope names an algorithm other than A256GCM or A128GCM."""

    reason = "unsupported_algorithm"


class UnknownEpoch(ProtocolError):
    """The envelope names a key epoch for which the reader has no secret."""

    reason = "unknown_epoch"

    def __init__(self, epoch: int) -> None:
        super().__init__(f"no key for epoch {epoch}")
        self.epoch = epoch


class Forged(ProtocolError):
    """The authentication tag does not fit key, counter, topic and ciphertext."""

    reason = "forged"
