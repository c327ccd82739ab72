"""Parties: who takes a share of the revenue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from billing.errors import PartyConflict


class PartyKind(StrEnum):
    """What a party is to a site; `property` is the property manager (物业)."""

    OPERATOR = "operator"
    PROPERTY = "property"
    SUB_MERCHANT = "sub_merchant"
    PLATFORM = "platform"


@dataclass(frozen=True)
class Party:
    """A registered party."""

    party_id: str
    kind: PartyKind
    name: str
    created_at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", PartyKind(self.kind))


def add(
    conn: Connection[TupleRow], *, party_id: str, kind: PartyKind | str, name: str, now: datetime
) -> Party:
    """Register a party, or return it when it is registered already.

    Raises PartyConflict when the id is taken by a party of another kind or name.
    """
    wanted = PartyKind(kind)
    conn.execute(
        """
        INSERT INTO party (party_id, kind, name, created_at)
        VALUES (%(party_id)s, %(kind)s, %(name)s, %(now)s)
        ON CONFLICT (party_id) DO NOTHING
        """,
        {"party_id": party_id, "kind": wanted, "name": name, "now": now},
    )
    with conn.cursor(row_factory=class_row(Party)) as cursor:
        party = cursor.execute(
            "SELECT party_id, kind, name, created_at FROM party WHERE party_id = %(party_id)s",
            {"party_id": party_id},
        ).fetchone()
    assert party is not None
    for field, registered, given in (("kind", party.kind.value, wanted.value), ("name", party.name, name)):
        if registered != given:
            raise PartyConflict(party_id=party_id, field=field, registered=registered, given=given)
    return party


def list_all(conn: Connection[TupleRow]) -> tuple[Party, ...]:
    """Every registered party, by id."""
    with conn.cursor(row_factory=class_row(Party)) as cursor:
        cursor.execute("SELECT party_id, kind, name, created_at FROM party ORDER BY party_id")
        return tuple(cursor.fetchall())
