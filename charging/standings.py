"""Which piles may speak: what must be known of a pile before a frame of its is opened."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from charging.pile_states import PileState


@dataclass(frozen=True)
class Standing:
    """A pile's state, shard and host as registered, and the epochs of the secrets it may use, newest first."""

    pile_id: str
    shard: int
    state: PileState
    parent_pile_id: str | None
    epochs: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "state", PileState(self.state))
        object.__setattr__(self, "epochs", tuple(self.epochs))


def of(conn: Connection[TupleRow], pile_ids: Sequence[str]) -> list[Standing]:
    """The standing of those piles that are registered, in no order."""
    with conn.cursor(row_factory=class_row(Standing)) as cursor:
        return cursor.execute(
            """
            SELECT pile_id, shard, state, parent_pile_id,
                   ARRAY(SELECT epoch FROM pile_key
                          WHERE pile_key.pile_id = pile.pile_id AND retired_at IS NULL ORDER BY epoch DESC) AS epochs
              FROM pile WHERE pile_id = ANY(%(pile_ids)s)
            """,
            {"pile_ids": list(pile_ids)},
        ).fetchall()


def host_of(conn: Connection[TupleRow], pile_id: str) -> str | None:
    """The host a pile stands behind; None for one with a connection of its own, or unknown."""
    row = conn.execute(
        "SELECT parent_pile_id FROM pile WHERE pile_id = %(pile_id)s", {"pile_id": pile_id}
    ).fetchone()
    return row[0] if row is not None else None
