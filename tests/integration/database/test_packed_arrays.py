"""Arrays packed here arrive as the server's own."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from database.packed_arrays import TextArray, TimestamptzArray, microseconds
from database.pool import Connection

INSTANTS = [
    datetime(2000, 1, 1, tzinfo=UTC),
    datetime(1970, 1, 1, microsecond=1, tzinfo=UTC),
    datetime(2026, 3, 1, 20, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=8))),
]


@pytest.mark.parametrize("texts", [[], [""], ["P-1", 'a"b\\c,{}', "NULL", "充电桩"]])
def test_texts_arrive_as_they_were(conn: Connection, texts: list[str]) -> None:
    row = conn.execute(
        "SELECT coalesce(array_agg(text), '{}') FROM unnest(%s) AS text", [TextArray.of(texts)]
    )
    assert row.fetchone() == (texts,)


@pytest.mark.parametrize("instants", [[], INSTANTS])
def test_instants_arrive_to_the_microsecond(conn: Connection, instants: list[datetime]) -> None:
    packed = TimestamptzArray.of([microseconds(at) for at in instants])
    row = conn.execute("SELECT coalesce(array_agg(at), '{}') FROM unnest(%s) AS at", [packed])
    assert row.fetchone() == (instants,)
