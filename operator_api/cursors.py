"""Page cursors: where a page ended, in a form callers need not understand."""

import base64
import binascii
from datetime import datetime
from uuid import UUID

from charging.views import PageKey
from operator_api.parameters import EARLIEST, LATEST
from operator_api.problems import CursorInvalid

MOST_DIGITS = 18
"""Of a number in a cursor: more than any row has."""


def write_text(text: str) -> str:
    """A cursor that ends at a text key."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_text(cursor: str | None) -> str | None:
    """The text key of a cursor. Raises CursorInvalid."""
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise CursorInvalid(cursor) from error
    if not text or "\x00" in text:
        raise CursorInvalid(cursor)
    return text


def read_number(cursor: str | None) -> int | None:
    """The number a cursor ends at. Raises CursorInvalid."""
    text = read_text(cursor)
    if text is None or cursor is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > MOST_DIGITS:
        raise CursorInvalid(cursor)
    return int(text)


def write_pair(at: datetime, row_id: UUID) -> str:
    """A cursor that ends at a row by its time and id."""
    return write_text(f"{at.isoformat()} {row_id}")


def read_pair(cursor: str | None) -> tuple[datetime, UUID] | None:
    """The time and id a cursor ends at. Raises CursorInvalid."""
    text = read_text(cursor)
    if text is None or cursor is None:
        return None
    at, _, row_id = text.partition(" ")
    try:
        pair = (datetime.fromisoformat(at), UUID(row_id))
    except ValueError as error:
        raise CursorInvalid(cursor) from error
    if pair[0].tzinfo is None or not EARLIEST <= pair[0] <= LATEST:
        raise CursorInvalid(cursor)
    return pair


def write_key(key: PageKey) -> str:
    """A cursor that ends at a session."""
    return write_pair(key.created_at, key.session_id)


def read_key(cursor: str | None) -> PageKey | None:
    """The session a cursor ends at. Raises CursorInvalid."""
    pair = read_pair(cursor)
    return None if pair is None else PageKey(*pair)
