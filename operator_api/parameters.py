"""Parameters that several endpoints share, and what an id may look like."""

from typing import Annotated

from fastapi import Query

PILE_ID_PATTERN = "^[A-Za-z0-9_-]+$"
SITE_ID_PATTERN = "^[a-z0-9-]+$"
"""Of sites and parties alike."""
PRINTABLE_PATTERN = r"^[^\x00-\x1f\x7f]+$"

OnlySite = Annotated[
    str | None, Query(max_length=63, pattern=SITE_ID_PATTERN, description="Only this site's")
]
OnlyPile = Annotated[
    str | None, Query(max_length=64, pattern=PILE_ID_PATTERN, description="Only this pile's")
]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before")]
