"""Structured logs: coloured lines on a terminal, JSON elsewhere, and never a secret."""

import logging
import re
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, TextIO, cast

import structlog

HIDDEN = "[hidden]"
MAX_FILE_BYTES = 10 * 1024 * 1024

_SECRET_NAME = re.compile(
    r"password|passwd|secret|token|authorization|cookie|private|dsn|payload|phone|claim_code|^key$|(?:api|api_v3|encryption|device|merchant|ca)_key",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(
    r"(?P<head>\w+://[^:/@\s]+:)[^@\s]+(?=@)"
    r"|(?P<word>\bpassword=)[^\s]+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    re.DOTALL,
)


def set_up(
    process: str, *, to: Path | None = None, level: int = logging.INFO, as_json: bool | None = None
) -> None:
    """Send the logs of this process to stderr, or to a file when the terminal is needed for something else.

    One JSON object a line, or readable lines: as `as_json` says, else by whether the output is a terminal.

    Standard-library logs of the parts we use (web server, job queue) come the same way from WARNING on.
    """
    output = sys.stderr if to is None else _open(to)
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _process_adder(process),
        structlog.processors.format_exc_info,
        hide_secrets,
    ]
    renderer = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if as_json or (as_json is None and not output.isatty())
        else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(output),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)


def hide_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: hides values whose names or forms are those of secrets, also inside mappings."""
    for name, value in event.items():
        event[name] = HIDDEN if _SECRET_NAME.search(name) else _clean(value)
    return event


def clean_text(text: str) -> str:
    """Hide passwords in addresses and private keys in a text."""
    return _SECRET_VALUE.sub(lambda match: (match["head"] or match["word"] or "") + HIDDEN, text)


def _open(path: Path) -> TextIO:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > MAX_FILE_BYTES:
        path.replace(path.with_suffix(path.suffix + ".1"))
    return path.open("a", encoding="utf-8", buffering=1)


def _clean(value: Any) -> Any:
    match value:
        case str():
            return clean_text(value)
        case bytes():
            return f"[{len(value)} bytes]"
        case dict():
            items = cast("dict[Any, Any]", value)
            return {
                name: HIDDEN if _SECRET_NAME.search(str(name)) else _clean(inner)
                for name, inner in items.items()
            }
        case list() | tuple():
            return [_clean(inner) for inner in cast("list[Any] | tuple[Any, ...]", value)]
        case _:
            return value


def _process_adder(process: str) -> structlog.types.Processor:
    def add(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("process", process)
        return event

    return add
