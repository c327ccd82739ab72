"""Page cursors: where a page ended, in a form callers need not understand."""

import base64
import binascii
from datetime import datetime
from uuid import UUID

from charging.views import PageKey
from operator_api.problems import CursorInvalid


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


def write_key(key: PageKey) -> str:
    """A cursor that ends at a session."""
    return write_text(f"{key.created_at.isoformat()} {key.session_id}")


def read_key(cursor: str | None) -> PageKey | None:
    """The session a cursor ends at. Raises CursorInvalid."""
    text = read_text(cursor)
    if text is None or cursor is None:
        return None
    at, _, session_id = text.partition(" ")
    try:
        key = PageKey(datetime.fromisoformat(at), UUID(session_id))
    except ValueError as error:
        raise CursorInvalid(cursor) from error
    if key.created_at.tzinfo is None:
        raise CursorInvalid(cursor)
    return key
