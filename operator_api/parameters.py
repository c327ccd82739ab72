"""Parameters that several endpoints share, and what an id may look like."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query
from pydantic import AwareDatetime, Field

PILE_ID_PATTERN = "^[A-Za-z0-9_-]+$"
SITE_ID_PATTERN = "^[a-z0-9-]+$"
"""Of sites and parties alike."""
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
"""Piles are told milliseconds that end in 2248; sums with an instant stay far from the calendar's ends."""
PRINTABLE_PATTERN = r"^[^\x00-\x1f\x7f]+$"

Instant = Annotated[AwareDatetime, Field(ge=EARLIEST, le=LATEST)]
OnlySite = Annotated[
    str | None, Query(max_length=63, pattern=SITE_ID_PATTERN, description="Only this site's")
]
OnlyPile = Annotated[
    str | None, Query(max_length=64, pattern=PILE_ID_PATTERN, description="Only this pile's")
]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before")]
