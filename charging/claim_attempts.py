"""How often claim codes may be guessed: counted in the database, so that no restart and no second process forgets.

An attempt is charged before the code is looked at and given back when the code was right: however many come at
once, no more than the limit are ever looked at. All times are the machine's own clock.
"""

import ipaddress
from datetime import datetime, timedelta

from psycopg import Connection
from psycopg.rows import TupleRow

from charging.errors import TooManyAttempts

ATTEMPT_WINDOW = timedelta(minutes=10)
"""Refusals are forgotten so long after the first of them."""
MOST_PER_PILE = 10
MOST_PER_SOURCE = 60
"""Of one address: many piles of a compound may stand behind one."""
FORGOTTEN_AT_ONCE = 100

_IPV6_NETWORK_BITS = 64


def charge(conn: Connection[TupleRow], *, pile_id: str, source: str, now: datetime) -> None:
    """Count one attempt; to be committed, also when it is refused, before the code is looked at.

    Raises TooManyAttempts.
    """
    _forget_old(conn, now=now)
    for scope, name, most in (
        ("source", _network(source), MOST_PER_SOURCE),
        ("pile", pile_id, MOST_PER_PILE),
    ):
        row = conn.execute(
            """
            INSERT INTO claim_attempt AS known (scope, name, began_at, failures)
            VALUES (%(scope)s, %(name)s, %(now)s, 1)
            ON CONFLICT (scope, name) DO UPDATE
               SET failures = CASE WHEN known.began_at > %(window_began)s
                                   THEN least(known.failures + 1, %(most)s + 1) ELSE 1 END,
                   began_at = CASE WHEN known.began_at > %(window_began)s THEN known.began_at ELSE %(now)s END
            RETURNING failures
            """,
            {
                "scope": scope,
                "name": name,
                "now": now,
                "window_began": now - ATTEMPT_WINDOW,
                "most": most,
            },
        ).fetchone()
        assert row is not None, "an upsert returns its row"
        if row[0] > most:
            raise TooManyAttempts(pile_id)


def give_back(conn: Connection[TupleRow], *, pile_id: str, source: str) -> None:
    """The attempt was no guess: the code was right, or was not looked at."""
    conn.execute(
        """
        UPDATE claim_attempt SET failures = greatest(failures - 1, 0)
         WHERE (scope = 'pile' AND name = %(pile_id)s) OR (scope = 'source' AND name = %(source)s)
        """,
        {"pile_id": pile_id, "source": _network(source)},
    )


def _forget_old(conn: Connection[TupleRow], *, now: datetime) -> None:
    conn.execute(
        """
        DELETE FROM claim_attempt WHERE (scope, name) IN (
            SELECT scope, name FROM claim_attempt
             WHERE began_at <= %(before)s LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
        """,
        {"before": now - ATTEMPT_WINDOW, "limit": FORGOTTEN_AT_ONCE},
    )


def _network(source: str) -> str:
    """The address; of IPv6 the network one customer is given, whose addresses cost nothing."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source[:64]
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, _IPV6_NETWORK_BITS), strict=False))
    return str(address)
