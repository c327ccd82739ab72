"""The tables of the written contract, made from the declarations.

``python -m protocol.reference`` rewrites the marked blocks of ``docs/protocol.md`` and the whole of
``docs/protocol.cddl``; a test holds both to the code.
"""

import re
import typing
from pathlib import Path
from typing import Any, Final

import cbor2
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocol import cddl, codec, config_keys, examples, fields, frames, glossary, vectors
from protocol.envelope import Counter, Sealer
from protocol.fields import Choice, Flag, Integer, Kind, Message, Octets, Rows, Text, Uuid, WireEnum
from protocol.messages import Instant
from protocol.topics import Direction

DOCUMENT: Final = Path(__file__).parents[1] / "docs" / "protocol.md"
CDDL: Final = DOCUMENT.with_suffix(".cddl")

_BLOCK: Final = re.compile(r"<!-- (\w+) begins -->\n.*?<!-- \1 ends -->", re.DOTALL)
_ARROWS: Final = {Direction.UP: "pile → platform", Direction.DOWN: "platform → pile"}
_UNITS: Final = {
    "_dw": "0.1 W",
    "_dwh": "0.1 Wh",
    "_wh": "Wh",
    "_w": "W",
    "_dv": "0.1 V",
    "_ma": "mA",
    "_dc": "0.1 °C",
    "_dbm": "dBm",
    "_milli": "1/1000",
    "_cfen": "0.01 fen",
    "_bytes": "bytes",
    "_s": "s",
    "_ms": "ms",
}
_INSTANT: Final = typing.get_args(Instant)[1]
_LINE_LETTERS: Final = 64


def rewritten(document: str) -> str:
    """The document with every marked block made anew. Raises KeyError for a block of an unknown name."""

    def block(match: re.Match[str]) -> str:
        name = match.group(1)
        return f"<!-- {name} begins -->\n{_BLOCKS[name]()}<!-- {name} ends -->"

    return _BLOCK.sub(block, document)


def blocks_of(document: str) -> list[str]:
    """The names of the marked blocks of a document, in order."""
    return _BLOCK.findall(document)


def block_names() -> list[str]:
    """The names of the blocks there are."""
    return list(_BLOCKS)


def _index() -> str:
    lines = ["| message | direction | topic ends with | what it is |", "|---|---|---|---|"]
    lines += [
        f"| [`{cls.message}`](#{_anchor(cls)}) | {_ARROWS[cls.direction]} "
        f"| `{cls.direction}/{cls.message}` | {_summary(cls)} |"
        for cls in fields.catalogue()
    ]
    return "\n".join(lines) + "\n"


def _messages() -> str:
    return "\n".join([_message(cls) for cls in fields.catalogue()] + [_row(row) for row in cddl.rows()])


def _vocabularies() -> str:
    return "\n".join(_vocabulary(choices) for choices in cddl.ENUMERATIONS)


def _settings() -> str:
    head = ["| setting | unit | range | default | meaning |", "|---|---|---|---|---|"]
    rows = [
        f"| `{key}` | {setting.unit} | {setting.low}..{setting.high} | {setting.default} | {setting.meaning} |"
        for key, setting in config_keys.SETTINGS.items()
    ]
    return "\n".join([*head, *rows]) + "\n"


def _message(cls: type[Message]) -> str:
    rows = [
        f"| {field.key} | `{field.name}` | {_type(field.kind)} | {_unit(field.name, field.kind)} | "
        f"{_range(field.kind)} | {'yes' if field.required else 'no'} | "
        f"{glossary.field_meaning(cls, field.name)} |"
        for field in cddl.schema_of(cls).fields
    ]
    head = ["| key | field | type | unit | range | required | meaning |", "|---|---|---|---|---|---|---|"]
    title = f"#### `{cls.message}` ({_ARROWS[cls.direction]})"
    return "\n".join([title, "", _prose(cls), "", *head, *rows, ""])


def _row(row: type[Any]) -> str:
    rows = [
        f"| {place} | `{name}` | {_type(kind)} | {_unit(name, kind)} | {_range(kind)} | "
        f"{glossary.field_meaning(row, name)} |"
        for place, (name, kind) in enumerate(fields.row_schema(row).columns)
    ]
    head = ["| place | field | type | unit | range | meaning |", "|---|---|---|---|---|---|"]
    return "\n".join([f"#### Row `{row.__name__}`", "", _prose(row), "", *head, *rows, ""])


def _vocabulary(choices: type[WireEnum]) -> str:
    meanings = glossary.WORDS[choices]
    rows = [f"| {int(member)} | `{member.word}` | {meanings[member.name]} |" for member in choices]
    title = f"#### {choices.__name__}"
    return "\n".join(
        [title, "", _prose(choices), "", "| number | word | meaning |", "|---|---|---|", *rows, ""]
    )


def _example() -> str:
    """One frame of the vectors, each step of its making in hex."""
    message = next(message for message in examples.EXAMPLES if message.message == "gone")
    counter = Counter(boot=3, seq=4)
    sealer = Sealer(vectors.SECRET, epoch=vectors.EPOCH, direction=message.direction)
    frame = frames.seal(message, sealer=sealer, pile_id=vectors.PILE_ID, counter=counter)
    protected, unprotected, ciphertext = cbor2.loads(frame.payload[1:])
    infos = {
        what: f"pileway-link/1 {what} {message.direction} A256GCM {vectors.EPOCH}" for what in ("key", "iv")
    }
    base_iv = _derived(infos["iv"], 12)
    partial_iv = counter.to_bytes()
    nonce = bytes(left ^ right for left, right in zip(base_iv, partial_iv.rjust(12, b"\0"), strict=True))
    steps = {
        "device secret": vectors.SECRET.hex(),
        "info of the key": infos["key"],
        "key": _derived(infos["key"], 32).hex(),
        "info of the Base IV": infos["iv"],
        "Base IV": base_iv.hex(),
        "kid (epoch 1)": unprotected[4].hex(),
        "Partial IV (boot 3, seq 4)": partial_iv.hex(),
        "nonce": nonce.hex(),
        "topic": frame.topic,
        "protected header": protected.hex(),
        "Enc_structure (AAD)": cbor2.dumps(["Encrypt0", protected, frame.topic.encode()]).hex(),
        "body {1: 1}": codec.encode(message).hex(),
        "ciphertext and tag": ciphertext.hex(),
        "frame": frame.payload.hex(),
    }
    width = max(map(len, steps))
    lines = [f"{name:<{width}}  {_wrapped(text, width + 2)}" for name, text in steps.items()]
    return "\n".join(["```", *lines, "```", ""])


def _wrapped(text: str, indent: int) -> str:
    """A long text on several lines, the later ones indented."""
    parts = [text[at : at + _LINE_LETTERS] for at in range(0, len(text), _LINE_LETTERS)]
    return f"\n{' ' * indent}".join(parts)


def _derived(info: str, length: int) -> bytes:
    hkdf = HKDF(algorithm=SHA256(), length=length, salt=None, info=info.encode())
    return hkdf.derive(vectors.SECRET)


def _type(kind: Kind) -> str:
    match kind:
        case Integer():
            return "integer"
        case Text():
            return "text"
        case Rows():
            return f"array of [{kind.row.__name__}](#row-{kind.row.__name__.lower()})"
        case Choice():
            return f"[{kind.choices.__name__}](#{kind.choices.__name__.lower()})"
        case Flag():
            return "boolean"
        case Uuid() | Octets():
            return "bytes"
        case _:
            raise TypeError(f"no words for {kind!r}")


def _unit(name: str, kind: Kind) -> str:
    if kind == _INSTANT:
        return "ms since 1970"
    if not isinstance(kind, Integer):
        return ""
    return next((unit for suffix, unit in _UNITS.items() if name.endswith(suffix)), "")


def _range(kind: Kind) -> str:
    match kind:
        case Integer(low, high):
            return f"{low}..{high}"
        case Text(max_chars):
            return f"0..{max_chars} characters"
        case Rows(_, max_rows, min_rows):
            return f"{min_rows}..{max_rows} rows"
        case Uuid():
            return "16"
        case Octets(min_bytes, max_bytes):
            return f"{min_bytes}" if min_bytes == max_bytes else f"{min_bytes}..{max_bytes}"
        case _:
            return ""


def _prose(cls: type[Any]) -> str:
    """A docstring as Markdown, its lines joined."""
    doc = cls.__doc__ or ""
    paragraphs = [" ".join(part.split()) for part in doc.split("\n\n")]
    return "\n\n".join(paragraphs).replace("``", "`")


def _summary(cls: type[Any]) -> str:
    return re.split(r"[.;:](?:\s|$)", _prose(cls))[0]


def _anchor(cls: type[Message]) -> str:
    arrow = _ARROWS[cls.direction].replace(" → ", "--")
    return f"{cls.message}-{arrow}"


_BLOCKS: Final = {
    "index": _index,
    "messages": _messages,
    "vocabularies": _vocabularies,
    "settings": _settings,
    "example": _example,
}


if __name__ == "__main__":
    DOCUMENT.write_text(rewritten(DOCUMENT.read_text()))
    CDDL.write_text(cddl.as_text())
