"""MQTT topics: ``v1/{shard}/{pile}/{up|down}/{message}``.

The shard is a fixed hash of the pile id; it decides which gateway lane reads the pile.
"""

import hashlib
import re
from enum import StrEnum
from typing import Final, NamedTuple

from protocol.errors import BadTopic

SHARD_COUNT: Final = 64
MAX_TOPIC_CHARS: Final = 128

_PILE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOPIC: Final = re.compile(r"v1/(0|[1-9][0-9]?)/([A-Za-z0-9_-]{1,64})/(up|down)/([a-z][a-z0-9_]{0,31})")


class Direction(StrEnum):
    """Up is pile to platform, down is platform to pile."""

    UP = "up"
    DOWN = "down"


class Topic(NamedTuple):
    """A parsed topic; ``str(topic)`` is its text."""

    shard: int
    pile_id: str
    direction: Direction
    message: str

    def __str__(self) -> str:
        return f"v1/{self.shard}/{self.pile_id}/{self.direction}/{self.message}"


def is_pile_id(text: str) -> bool:
    """Whether the text may name a pile: ``[A-Za-z0-9_-]{1,64}``."""
    return _PILE_ID.fullmatch(text) is not None


def shard_of(pile_id: str) -> int:
    """The shard of a pile: the first eight bytes of SHA-256 of its id, big-endian, modulo 64."""
    digest = hashlib.sha256(pile_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") % SHARD_COUNT


def parse(text: str) -> Topic:
    """Read a topic; raises BadTopic. Whether the shard is the pile's own is the reader's question."""
    match = _TOPIC.fullmatch(text) if len(text) <= MAX_TOPIC_CHARS else None
    if match is None:
        raise BadTopic(f"not a device topic: {text[:MAX_TOPIC_CHARS]!r}")
    shard, pile_id, direction, message = match.groups()
    if int(shard) >= SHARD_COUNT:
        raise BadTopic(f"shard {shard} is not in 0..{SHARD_COUNT - 1}")
    return Topic(int(shard), pile_id, Direction(direction), message)


def subscription(direction: Direction, *, shard: int, pile_id: str = "+") -> str:
    """The filter for every message in one direction of one pile, or of a whole shard."""
    return f"v1/{shard}/{pile_id}/{direction}/+"
