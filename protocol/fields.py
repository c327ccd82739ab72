"""The declarative field table behind the codec.

A message is a class whose annotations carry a map key and, for numbers, texts and lists, a range::

    @up("heartbeat")
    class Heartbeat(Message):
        signal_dbm: Annotated[int, Key(2), Integer(-150, 0)]

A message travels as a CBOR map from key to value; a field with a default may be absent. A row (a NamedTuple
whose annotations carry ranges but no keys) travels as a CBOR array in the order of its fields: meter
samples and settlement slots repeat many times a frame. Unknown keys and surplus row elements are ignored,
so that both may grow.
"""

import dataclasses
import typing
from collections.abc import Callable
from enum import IntEnum
from functools import lru_cache
from typing import Any, ClassVar, Final, NamedTuple, Protocol, TypeVar, dataclass_transform
from uuid import UUID

from protocol import row_reader
from protocol.errors import Malformed, MissingField, OutOfRange, ProtocolError, WrongType
from protocol.row_reader import Term
from protocol.topics import Direction


class WireEnum(IntEnum):
    """An enumeration that travels as its number; UNKNOWN, if a member, stands for numbers we do not know."""

    @property
    def word(self) -> str:
        """The member's name in lower case, as the platform stores it."""
        return self.name.lower()


class Key(int):
    """The map key of a message field."""


class Kind(Protocol):
    """How one value is checked on its way to the wire and back. ``path`` names the field in errors."""

    def dump(self, value: Any, path: str, /) -> Any:
        """The wire form of a value; raises WrongType or OutOfRange."""
        ...

    def load(self, wire: Any, path: str, /) -> Any:
        """The value of a wire form; raises WrongType or OutOfRange."""
        ...


class Integer(NamedTuple):
    """An integer between two bounds, both included."""

    low: int
    high: int

    def load(self, wire: Any, path: str, /) -> int:
        """Check type and range."""
        if wire.__class__ is not int:
            raise WrongType(path, expected="integer", found=type(wire).__name__)
        if not self.low <= wire <= self.high:
            raise OutOfRange(path, allowed=f"{self.low}..{self.high}", found=str(wire))
        return wire

    dump = load


class Text(NamedTuple):
    """A text of at most so many characters, none of them U+0000: databases keep none."""

    max_chars: int

    def load(self, wire: Any, path: str, /) -> str:
        """Check type, length and characters."""
        if wire.__class__ is not str:
            raise WrongType(path, expected="text", found=type(wire).__name__)
        if len(wire) > self.max_chars:
            raise OutOfRange(path, allowed=f"0..{self.max_chars} characters", found=f"{len(wire)} characters")
        if "\x00" in wire:
            raise OutOfRange(path, allowed="characters but U+0000", found="U+0000")
        return wire

    dump = load


class Octets(NamedTuple):
    """A byte string of so many bytes at least and at most."""

    min_bytes: int
    max_bytes: int

    def load(self, wire: Any, path: str, /) -> bytes:
        """Check type and length."""
        if wire.__class__ is not bytes:
            raise WrongType(path, expected="bytes", found=type(wire).__name__)
        if not self.min_bytes <= len(wire) <= self.max_bytes:
            allowed = f"{self.min_bytes}..{self.max_bytes} bytes"
            raise OutOfRange(path, allowed=allowed, found=f"{len(wire)} bytes")
        return wire

    dump = load


class Rows(NamedTuple):
    """A list of rows, of so many at most."""

    row: "type[Any]"
    max_rows: int
    min_rows: int = 0

    def dump(self, value: Any, path: str, /) -> list[list[Any]]:
        """Rows to arrays."""
        self._count(len(value), path)
        schema = row_schema(self.row)
        return [schema.dump(row, f"{path}[{i}]") for i, row in enumerate(value)]

    def load(self, wire: Any, path: str, /) -> tuple[Any, ...]:
        """Arrays to rows."""
        if wire.__class__ is not list:
            raise WrongType(path, expected="array", found=type(wire).__name__)
        self._count(len(wire), path)
        schema = row_schema(self.row)
        rows = schema.read(wire)
        return rows if rows is not None else tuple([schema.load(row, path, i) for i, row in enumerate(wire)])

    def _count(self, count: int, path: str) -> None:
        if not self.min_rows <= count <= self.max_rows:
            raise OutOfRange(path, allowed=f"{self.min_rows}..{self.max_rows} rows", found=f"{count} rows")


class Flag:
    """True or false."""

    def load(self, wire: Any, path: str, /) -> bool:
        """Check the type."""
        if wire.__class__ is not bool:
            raise WrongType(path, expected="boolean", found=type(wire).__name__)
        return wire

    dump = load


class Uuid:
    """A UUID; its 16 bytes on the wire."""

    def dump(self, value: Any, path: str, /) -> bytes:
        """A UUID's bytes."""
        if not isinstance(value, UUID):
            raise WrongType(path, expected="UUID", found=type(value).__name__)
        return value.bytes

    def load(self, wire: Any, path: str, /) -> UUID:
        """The UUID of 16 bytes."""
        if wire.__class__ is not bytes:
            raise WrongType(path, expected="16 bytes", found=type(wire).__name__)
        if len(wire) != 16:
            raise OutOfRange(path, allowed="16 bytes", found=f"{len(wire)} bytes")
        return _uuid(wire)


@lru_cache(maxsize=16_384)
def _uuid(raw: bytes) -> UUID:
    """A session's samples repeat its id for hours, and building a UUID costs more than reading a sample."""
    return UUID(bytes=raw)


class Choice:
    """A member of an enumeration; its number on the wire."""

    def __init__(self, choices: type[WireEnum]) -> None:
        self.choices = choices
        self.members = {int(member): member for member in choices}
        self._unknown = choices.__members__.get("UNKNOWN")
        self._allowed = f"{choices.__name__} {sorted(self.members)}"

    def dump(self, value: Any, path: str, /) -> int:
        """A member's number."""
        if value not in self.members:
            raise OutOfRange(path, allowed=self._allowed, found=repr(value))
        return int(value)

    def load(self, wire: Any, path: str, /) -> WireEnum:
        """The member of a number; UNKNOWN, where there is one, for a number we do not know."""
        if wire.__class__ is not int:
            raise WrongType(path, expected="integer", found=type(wire).__name__)
        member = self.members.get(wire, self._unknown)
        if member is None:
            raise OutOfRange(path, allowed=self._allowed, found=str(wire))
        return member


class Field(NamedTuple):
    """A declared field of a message; ``key`` is its place in the map."""

    name: str
    key: int
    kind: Kind
    required: bool


class Message:
    """Base of every message; ``up`` and ``down`` give a subclass its direction and its name in the topic."""

    __slots__ = ()

    message: ClassVar[str]
    direction: ClassVar[Direction]


_M = TypeVar("_M", bound=Message)
_CATALOGUE: Final[dict[tuple[Direction, str], "MessageSchema"]] = {}


@dataclass_transform(frozen_default=True)
def up(name: str) -> Callable[[type[_M]], type[_M]]:
    """Declare a message from pile to platform."""
    return lambda cls: _declare(cls, name, Direction.UP)


@dataclass_transform(frozen_default=True)
def down(name: str) -> Callable[[type[_M]], type[_M]]:
    """Declare a message from platform to pile."""
    return lambda cls: _declare(cls, name, Direction.DOWN)


def message_schema(direction: Direction, name: str) -> "MessageSchema | None":
    """The schema of a declared message."""
    return _CATALOGUE.get((direction, name))


def catalogue() -> tuple[type[Message], ...]:
    """Every declared message."""
    return tuple(schema.cls for schema in _CATALOGUE.values())


class MessageSchema:
    """Checks one message type on its way to a CBOR map and back."""

    def __init__(self, cls: type[Message], fields: tuple[Field, ...]) -> None:
        keys = [field.key for field in fields]
        if len(set(keys)) != len(keys):
            raise TypeError(f"{cls.__name__} uses a key twice")
        self.cls = cls
        # In the order of keys, so that the map is written as deterministic CBOR wants it.
        self.fields = tuple(sorted(fields, key=lambda field: field.key))

    def dump(self, message: Message) -> dict[int, Any]:
        """A message as the map from key to wire value; absent optional fields are left out."""
        wire: dict[int, Any] = {}
        for field in self.fields:
            value = getattr(message, field.name)
            if value is not None or field.required:
                wire[field.key] = field.kind.dump(value, field.name)
        return wire

    def load(self, wire: dict[Any, Any]) -> Message:
        """A message from its map; raises MissingField, WrongType or OutOfRange."""
        values: dict[str, Any] = {}
        for name, key, kind, required in self.fields:
            if key in wire:
                values[name] = kind.load(wire[key], name)
            elif required:
                raise MissingField(name)
        return self.cls(**values)


class RowSchema:
    """Checks one row type on its way to a CBOR array and back."""

    def __init__(self, cls: type[Any], kinds: tuple[Kind, ...]) -> None:
        self._names: tuple[str, ...] = cls._fields
        self._make: Callable[[list[Any]], Any] = cls._make
        self._kinds = kinds
        self._width = len(kinds)
        self._bounds = tuple((i, *k) for i, k in enumerate(kinds) if isinstance(k, Integer))
        self._converted = tuple((i, k) for i, k in enumerate(kinds) if not isinstance(k, Integer))
        self.read = row_reader.compile_rows(
            cls, [_term(kind, row_reader.variable(place)) for place, kind in enumerate(kinds)]
        )

    @property
    def columns(self) -> tuple[tuple[str, Kind], ...]:
        """Name and kind of each element, in order."""
        return tuple(zip(self._names, self._kinds, strict=True))

    def dump(self, row: Any, path: str) -> list[Any]:
        """A row as an array."""
        return [
            kind.dump(value, f"{path}.{name}")
            for kind, value, name in zip(self._kinds, row, self._names, strict=True)
        ]

    def load(self, wire: Any, path: str, index: int) -> Any:
        """One row, rule by rule: what `read` does not take, to say what is wrong with it."""
        width = self._width
        if wire.__class__ is not list:
            raise WrongType(f"{path}[{index}]", expected="array", found=type(wire).__name__)
        if len(wire) != width:
            if len(wire) < width:
                raise MissingField(f"{path}[{index}].{self._names[len(wire)]}")
            wire = wire[:width]
        for i, low, high in self._bounds:
            value = wire[i]
            if value.__class__ is not int or not low <= value <= high:
                self._kinds[i].load(value, f"{path}[{index}].{self._names[i]}")
        for i, kind in self._converted:
            try:
                wire[i] = kind.load(wire[i], "")
            except ProtocolError:
                kind.load(wire[i], f"{path}[{index}].{self._names[i]}")
                raise
        return self._make(wire)


@lru_cache(maxsize=256)
def row_schema(cls: type[Any]) -> RowSchema:
    """The schema of a row type, made once."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return RowSchema(cls, tuple(_kind(hints[name], f"{cls.__name__}.{name}") for name in cls._fields))


def _term(kind: Kind, v: str) -> Term:
    """What `kind.load` checks and makes of a value `v`, as source."""
    match kind:
        case Integer(low, high):
            return Term(f"{v}.__class__ is int and {low} <= {v} <= {high}", v)
        case Text(max_chars):
            return Term(f"{v}.__class__ is str and len({v}) <= {max_chars} and '\\0' not in {v}", v)
        case Octets(min_bytes, max_bytes):
            return Term(f"{v}.__class__ is bytes and {min_bytes} <= len({v}) <= {max_bytes}", v)
        case Flag():
            return Term(f"{v}.__class__ is bool", v)
        case Uuid():
            return Term(f"{v}.__class__ is bytes and len({v}) == 16", f"uuid({v})", {"uuid": _uuid})
        case Choice():
            names = {f"{v}_members": kind.members}
            return Term(f"{v}.__class__ is int and {v} in {v}_members", f"{v}_members[{v}]", names)
        case _:
            raise TypeError(f"no row holds a {type(kind).__name__}")


def _declare(cls: type[_M], name: str, direction: Direction) -> type[_M]:
    built: Any = dataclasses.dataclass(frozen=True, slots=True)(cls)
    built.message = name
    built.direction = direction
    if (direction, name) in _CATALOGUE:
        raise TypeError(f"{direction}/{name} is declared twice")
    hints = typing.get_type_hints(built, include_extras=True)
    fields = tuple(_field(built, spec, hints[spec.name]) for spec in dataclasses.fields(built))
    _CATALOGUE[direction, name] = MessageSchema(built, fields)
    return built


def _field(cls: type[Message], spec: "dataclasses.Field[Any]", hint: Any) -> Field:
    place = f"{cls.__name__}.{spec.name}"
    key = next((extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Key)), None)
    if key is None:
        raise TypeError(f"{place} has no Key")
    return Field(spec.name, int(key), _kind(hint, place), required=spec.default is dataclasses.MISSING)


def _kind(hint: Any, place: str) -> Kind:
    for extra in getattr(hint, "__metadata__", ()):
        if isinstance(extra, Integer | Text | Octets | Rows):
            return extra
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    if len(options) == 1:
        return _kind(options[0], place)
    if hint is bool:
        return Flag()
    if hint is UUID:
        return Uuid()
    if isinstance(hint, type) and issubclass(hint, WireEnum):
        return Choice(hint)
    raise TypeError(f"{place} has no range: {hint!r}")


def map_of(wire: Any) -> dict[Any, Any]:
    """The body of a message must be a map; raises Malformed."""
    if wire.__class__ is not dict:
        raise Malformed(f"body: expected map, found {type(wire).__name__}")
    return wire
