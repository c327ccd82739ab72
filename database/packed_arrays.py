"""One-dimensional arrays in PostgreSQL's binary form, packed at once: for queries that take hundreds of values a batch.

What psycopg does with a list, value by value, costs more than the server needs to use it. Pass these as any parameter.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct

from psycopg import adapters
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEAD = Struct("!iiIii")
"""Dimensions, whether there are NULLs, the type of the elements, their number, and the number of the first."""
_LENGTH = Struct("!i")
_POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(at: datetime) -> int:
    """An instant as a timestamptz counts it: microseconds since 2000."""
    return (at - _POSTGRES_EPOCH) // _MICROSECOND


class TextArray(bytes):
    """An array of texts."""

    @classmethod
    def of(cls, texts: Sequence[str]) -> "TextArray":
        """Pack texts."""
        encoded = [text.encode() for text in texts]
        parts = [part for text in encoded for part in (_LENGTH.pack(len(text)), text)]
        return cls(_head("text", len(encoded)) + b"".join(parts))


class TimestamptzArray(bytes):
    """An array of instants."""

    @classmethod
    def of(cls, instants_us: Sequence[int]) -> "TimestamptzArray":
        """Pack instants given as `microseconds` gives them."""
        count = len(instants_us)
        parts = [8] * (2 * count)
        parts[1::2] = instants_us
        return cls(_head("timestamptz", count) + Struct("!" + "iq" * count).pack(*parts))


def _head(element: str, count: int) -> bytes:
    return _HEAD.pack(1, 0, adapters.types[element].oid, count, 1)


class _PackedDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: bytes) -> bytes:
        return obj


class _TextArrayDumper(_PackedDumper):
    oid = adapters.types["text"].array_oid


class _TimestamptzArrayDumper(_PackedDumper):
    oid = adapters.types["timestamptz"].array_oid


adapters.register_dumper(TextArray, _TextArrayDumper)
adapters.register_dumper(TimestamptzArray, _TimestamptzArrayDumper)
