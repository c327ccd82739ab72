"""What the gateway remembers of each pile between batches: its standing, and the keys to open its frames.

A standing is asked for again after STANDING_MAX_AGE_S, for all piles of a batch and others that speak these days at
once: a revoked pile is cut off within that time, and no frame costs a query of its own.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from time import monotonic

import structlog

from charging import enrolment, standings
from charging.enrolment import SecretVault
from charging.errors import SecretUnreadable
from charging.standings import Standing
from database.pool import Connection
from protocol.envelope import Opener
from protocol.topics import Direction

STANDING_MAX_AGE_S = 2.0
MAX_ASKED_AHEAD = 500
LATELY_S = 30.0
"""Piles heard within this time are asked for together with those that are due."""
KEYS_MIN_AGE_S = 2.0
"""A pile that names an unknown epoch has its keys read again, but not more often than this on average."""
READS_AT_ONCE = 3
"""So many readings may follow at once: a new key is used within milliseconds of being offered."""
MAX_PILES = 100_000

log = structlog.get_logger()


@dataclass(slots=True)
class KnownPile:
    """A pile that spoke; `standing` is None for one nobody registered, `opener` None until its keys are read.

    `epochs` are those the opener was made of, `offered` those of them no frame was read under yet.
    """

    standing: Standing | None
    checked_s: float
    heard_s: float
    opener: Opener | None = None
    epochs: tuple[int, ...] = ()
    offered: frozenset[int] = frozenset()
    keys_read_s: float = float("-inf")
    reads_left: float = READS_AT_ONCE


class PileRegistry:
    """Remembers piles, bounded; one thread uses it: the writer's. Only `find` may be called by another."""

    def __init__(self, *, vault: SecretVault, seconds: Callable[[], float] = monotonic) -> None:
        self._vault = vault
        self._seconds = seconds
        self._piles: OrderedDict[str, KnownPile] = OrderedDict()

    def refresh(self, conn: Connection, pile_ids: Iterable[str]) -> None:
        """Ask for the standing of those piles that are new or were not asked for lately."""
        now_s = self._seconds()
        oldest_s = now_s - STANDING_MAX_AGE_S
        due: list[str] = []
        for pile_id in set(pile_ids):
            known = self._piles.get(pile_id)
            if known is not None:
                known.heard_s = now_s
            if known is None or known.checked_s <= oldest_s:
                due.append(pile_id)
        if due:
            self._ask(conn, sorted({*due, *self._due_soon(now_s)}), now_s)

    def refresh_ahead(self, conn: Connection) -> None:
        """Ask for those that will be due soon, so that no frame of theirs waits for it."""
        now_s = self._seconds()
        self._ask(conn, sorted(self._due_soon(now_s)), now_s)

    def _ask(self, conn: Connection, due: Sequence[str], now_s: float) -> None:
        if not due:
            return
        found = {standing.pile_id: standing for standing in standings.of(conn, due)}
        for pile_id in due:
            known = self._piles.setdefault(pile_id, KnownPile(None, now_s, now_s))
            known.standing = found.get(pile_id)
            known.checked_s = now_s
            if known.standing is not None and known.standing.epochs != known.epochs:
                # A key was retired or added since: what the old ones open is not to be read any more.
                known.opener = None
            self._piles.move_to_end(pile_id)
        while len(self._piles) > MAX_PILES:
            self._piles.popitem(last=False)

    def _due_soon(self, now_s: float) -> Iterator[str]:
        """Others that speak these days and will be due soon: asking for many costs what asking for one does."""
        soon = (
            pile_id
            for pile_id, known in reversed(self._piles.items())
            if known.checked_s <= now_s - STANDING_MAX_AGE_S / 2 and known.heard_s >= now_s - LATELY_S
        )
        return islice(soon, MAX_ASKED_AHEAD)

    def find(self, pile_id: str) -> KnownPile | None:
        """A pile as last asked for; None when it was forgotten or never asked for."""
        return self._piles.get(pile_id)

    def read_keys(self, conn: Connection, pile_id: str) -> Opener | None:
        """Read a pile's keys anew; None when that was done a moment ago or they cannot be read."""
        known = self._piles[pile_id]
        if not self._may_read(known):
            return None
        try:
            secrets = enrolment.secrets_of(conn, self._vault, pile_id)
        except SecretUnreadable as error:
            log.error("device_secret_unreadable", pile_id=pile_id, epoch=error.epoch)
            return None
        known.epochs = tuple(secret.epoch for secret in secrets)
        known.offered = frozenset(secret.epoch for secret in secrets if not secret.in_use)
        known.opener = Opener({secret.epoch: secret.secret for secret in secrets}, direction=Direction.UP)
        return known.opener

    def _may_read(self, known: KnownPile) -> bool:
        now_s = self._seconds()
        earned = (now_s - known.keys_read_s) / KEYS_MIN_AGE_S
        known.reads_left = min(READS_AT_ONCE, known.reads_left + earned)
        known.keys_read_s = now_s
        if known.reads_left < 1:
            return False
        known.reads_left -= 1
        return True
