"""Structured logs: coloured lines on a terminal, JSON elsewhere, and never a secret."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, cast

import structlog

HIDDEN = "[hidden]"

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


def set_up(process: str, *, level: int = logging.INFO, as_json: bool | None = None) -> None:
    """Send all logs of this process to stderr; `as_json` None means JSON unless stderr is a terminal.

    Standard-library logs of the parts we use (web server, job queue) come the same way from WARNING on.
    """
    if as_json is None:
        as_json = not sys.stderr.isatty()
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _process_adder(process),
        structlog.processors.format_exc_info,
        hide_secrets,
    ]
    renderer = (
        structlog.processors.JSONRenderer(ensure_ascii=False) if as_json else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
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
