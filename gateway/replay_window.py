"""Which frames of a pile have been committed, by their Partial IV: a repeat is known without a look at the tables.

Of the newest it also keeps a mark of their content: another content under the same Partial IV is no repeat but a
counter used twice, which takes the protection from both frames.

Storage is idempotent, so the window only has to be right about what it calls seen: what it has forgotten, or
never knew (a gateway starts without memory), is accepted and changes nothing. Sequence numbers come almost in
order, so a boot's numbers are a few runs, and an exact record of them stays small.
"""

from array import array
from bisect import bisect_right
from collections import OrderedDict

MAX_PILES = 100_000
MAX_BOOTS = 4
"""Boots remembered of one pile and epoch."""
MAX_RUNS = 64
"""Runs remembered of one boot; with more gaps than that the oldest run is forgotten."""
MARKS = 32
"""Contents remembered of one boot."""


class ReplayWindow:
    """Seen (epoch, boot, seq) of every pile. One thread uses it: the writer's."""

    def __init__(self, *, max_piles: int = MAX_PILES) -> None:
        self._max_piles = max_piles
        self._piles: OrderedDict[str, OrderedDict[tuple[int, int], _Runs]] = OrderedDict()

    def seen(self, pile_id: str, *, epoch: int, boot: int, seq: int) -> bool:
        """Whether this very frame was committed before."""
        boots = self._piles.get(pile_id)
        runs = boots.get((epoch, boot)) if boots else None
        return runs is not None and seq in runs

    def differs(self, pile_id: str, *, epoch: int, boot: int, seq: int, mark: int) -> bool:
        """Whether the frame seen under this Partial IV is known to have had another content."""
        boots = self._piles.get(pile_id)
        runs = boots.get((epoch, boot)) if boots else None
        return runs is not None and runs.mark_of(seq) not in (None, mark)

    def commit(self, pile_id: str, *, epoch: int, boot: int, seq: int, mark: int) -> None:
        """Remember a frame whose transaction is committed; `mark` is 64 bits of its content."""
        boots = self._piles.get(pile_id)
        if boots is None:
            boots = self._piles[pile_id] = OrderedDict()
            if len(self._piles) > self._max_piles:
                self._piles.popitem(last=False)
        else:
            self._piles.move_to_end(pile_id)
        runs = boots.get((epoch, boot))
        if runs is None:
            runs = boots[epoch, boot] = _Runs()
            if len(boots) > MAX_BOOTS:
                boots.popitem(last=False)
        runs.add(seq)
        runs.keep_mark(seq, mark)


class _Runs:
    """A set of integers as runs: `_firsts[i]` to `_lasts[i]`, both included, ascending and apart."""

    __slots__ = ("_firsts", "_lasts", "_marked", "_marks")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self._marked = array("q", (-1,) * MARKS)
        self._marks = array("Q", (0,) * MARKS)

    def mark_of(self, seq: int) -> int | None:
        """The content's mark, None when it was forgotten."""
        slot = seq % MARKS
        return self._marks[slot] if self._marked[slot] == seq else None

    def keep_mark(self, seq: int, mark: int) -> None:
        slot = seq % MARKS
        if self._marked[slot] < seq:
            self._marked[slot], self._marks[slot] = seq, mark

    def __contains__(self, seq: int) -> bool:
        if not self._lasts or seq > self._lasts[-1]:
            return False
        i = bisect_right(self._firsts, seq) - 1
        return i >= 0 and seq <= self._lasts[i]

    def add(self, seq: int) -> None:
        firsts, lasts = self._firsts, self._lasts
        if lasts and seq == lasts[-1] + 1:
            lasts[-1] = seq
            return
        i = bisect_right(firsts, seq) - 1
        if i >= 0 and seq <= lasts[i]:
            return
        joins_left = i >= 0 and lasts[i] + 1 == seq
        joins_right = i + 1 < len(firsts) and firsts[i + 1] == seq + 1
        if joins_left and joins_right:
            lasts[i] = lasts.pop(i + 1)
            del firsts[i + 1]
        elif joins_left:
            lasts[i] = seq
        elif joins_right:
            firsts[i + 1] = seq
        else:
            firsts.insert(i + 1, seq)
            lasts.insert(i + 1, seq)
            if len(firsts) > MAX_RUNS:
                del firsts[0], lasts[0]
