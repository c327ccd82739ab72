"""The messages in CDDL (RFC 8610), made from their declarations: the content of ``docs/protocol.cddl``."""

from collections.abc import Iterator
from typing import Any, Final

from protocol import envelope, fields, glossary, words
from protocol.fields import Choice, Field, Flag, Integer, Kind, Message, Octets, Rows, Text, Uuid, WireEnum
from protocol.topics import Direction

ENUMERATIONS: Final[tuple[type[WireEnum], ...]] = tuple(
    member
    for member in vars(words).values()
    if isinstance(member, type) and issubclass(member, WireEnum) and member is not WireEnum
)
"""Every vocabulary, in the order of its declaration."""

_HEAD: Final = f"""\
; Pileway Link v1 in CDDL (RFC 8610). Written by `python -m protocol.reference`; docs/protocol.md tells the rules.
;
; The rule of a message is its direction and name: up-boot is the body of a frame on v1/{{shard}}/{{pile}}/up/boot.
; What is written here is what a sender of version 1 may write. A reader is more patient: it ignores keys and surplus
; row elements it does not know, and takes a number it does not know for `unknown` where a vocabulary has that word.
; Bodies and protected headers are in deterministic encoding (RFC 8949, section 4.2.1).

frame = #6.16([                                  ; COSE_Encrypt0, RFC 9052
  protected: bstr .cbor protected-header,
  unprotected: {{
    4: bstr .size 4,                             ; kid: epoch, big-endian
    6: bstr .size 8,                             ; Partial IV: boot counter and sequence, 32 bits each, big-endian
    * (int / tstr) => any,
  }},
  ciphertext: bstr .size (16..{envelope.MAX_FRAME_BYTES}),          ; with its 16 byte tag
])
protected-header = {{ 1: 3 }} / {{ 1: 1 }}           ; A256GCM; readers also take A128GCM

uuid = bstr .size 16
extension = (* uint => any)                      ; keys of later versions
"""


def as_text() -> str:
    """The whole file."""
    parts = [_HEAD]
    parts += [_message(cls) for cls in fields.catalogue()]
    parts += [_row(row) for row in rows()]
    parts += [_enumeration(choices) for choices in ENUMERATIONS]
    return "\n".join(parts)


def rows() -> tuple[type[Any], ...]:
    """Every row type, in the order in which messages use them."""
    kinds = [field.kind for cls in fields.catalogue() for field in schema_of(cls).fields]
    return tuple(dict.fromkeys(kind.row for kind in kinds if isinstance(kind, Rows)))


def schema_of(cls: type[Message]) -> fields.MessageSchema:
    """The schema of a declared message."""
    schema = fields.message_schema(cls.direction, cls.message)
    assert schema is not None, "every subclass of Message is declared"
    return schema


def rule_name(direction: Direction, name: str) -> str:
    """The rule of a message's body."""
    return f"{direction}-{name.replace('_', '-')}"


def _message(cls: type[Message]) -> str:
    lines = [_member(cls, field) for field in schema_of(cls).fields]
    return f"{rule_name(cls.direction, cls.message)} = {{\n{_aligned(lines)}\n  extension,\n}}\n"


def _member(cls: type[Message], field: Field) -> tuple[str, str]:
    optional = "" if field.required else "? "
    meaning = glossary.field_meaning(cls, field.name)
    return f"  {optional}{field.key}: {_type(field.kind)},", f"; {field.name}: {meaning}"


def _row(row: type[Any]) -> str:
    lines = [
        (f"  {_dashed(name)}: {_type(kind)},", f"; {glossary.field_meaning(row, name)}")
        for name, kind in fields.row_schema(row).columns
    ]
    return f"{_type_name(row)} = [\n{_aligned(lines)}\n  * any,\n]\n"


def _enumeration(choices: type[WireEnum]) -> str:
    lines = [
        (f"  {_dashed(member.word)}: {int(member)},", f"; {glossary.WORDS[choices][member.name]}")
        for member in choices
    ]
    return f"{_type_name(choices)} = &(\n{_aligned(lines)}\n)\n"


def _type(kind: Kind) -> str:
    match kind:
        case Integer(low, high):
            return f"{low}..{high}"
        case Text(max_chars):
            # At most so many characters; CDDL counts the bytes of their UTF-8.
            return f"tstr .size (0..{4 * max_chars})"
        case Octets(min_bytes, max_bytes):
            size = f"{min_bytes}" if min_bytes == max_bytes else f"({min_bytes}..{max_bytes})"
            return f"bstr .size {size}"
        case Rows(row, max_rows, min_rows):
            return f"[{min_rows}*{max_rows} {_type_name(row)}]"
        case Choice():
            return _type_name(kind.choices)
        case Flag():
            return "bool"
        case Uuid():
            return "uuid"
        case _:
            raise TypeError(f"no CDDL for {kind!r}")


def _type_name(cls: type[Any]) -> str:
    """PortReport as port-report."""
    return "".join(_words_of(cls.__name__)).lstrip("-")


def _words_of(name: str) -> Iterator[str]:
    for letter in name:
        yield f"-{letter.lower()}" if letter.isupper() else letter


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _aligned(lines: list[tuple[str, str]]) -> str:
    width = max(len(left) for left, _ in lines) if lines else 0
    return "\n".join(f"{left:<{width}}  {right}" for left, right in lines)
