"""Which piles may speak: what must be known of a pile before a frame of its is opened."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from charging.piles import PileState


@dataclass(frozen=True)
class Standing:
    """A pile's state and shard as registered."""

    pile_id: str
    shard: int
    state: PileState

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", PileState(self.state))


def of(conn: Connection[TupleRow], pile_ids: Sequence[str]) -> list[Standing]:
    """The standing of those piles that are registered, in no order."""
    with conn.cursor(row_factory=class_row(Standing)) as cursor:
        return cursor.execute(
            "SELECT pile_id, shard, state FROM pile WHERE pile_id = ANY(%(pile_ids)s)",
            {"pile_ids": list(pile_ids)},
        ).fetchall()
