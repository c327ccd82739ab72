"""Tells from counters alone that two devices speak as one pile, or that one has forgotten its counters. Pure.

Boots and connections of one device only grow, and within a boot a later connection has later sequence numbers.
Heartbeats and boots are never kept for later, so an older boot among them is a late frame once, and not twice with
the newer boot in between. An ordinary reconnect, a reboot, a late will or a late frame raises nothing.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from charging.identity_conflicts import ConflictKind
from protocol.envelope import Counter

MAX_PILES = 100_000
QUIET_S = 600.0
"""What was seen longer ago proves nothing together with what is seen now."""
BACKS_IN_A_ROW = 3
"""So many heartbeats of an older boot and none of the newer: the pile has lost its boot counter."""


class Sign(NamedTuple):
    """One observation, with the numbers that show it."""

    kind: ConflictKind
    detail: dict[str, int]


@dataclass(slots=True)
class _Voice:
    """What a pile said of itself: its newest boot, and the newest connection's sequence numbers there."""

    epoch: int
    boot: int
    connection: int
    first_seq: int
    last_seq: int
    backs: int = 0
    backs_in_a_row: int = 0
    took_turns: bool = False
    last_back_s: float = float("-inf")


class IdentityWatch:
    """Remembers piles, bounded; one thread uses it: the writer's. Frames delivered anew are not to be given."""

    def __init__(self) -> None:
        self._voices: OrderedDict[str, _Voice] = OrderedDict()

    def heard(
        self, pile_id: str, *, epoch: int, counter: Counter, connection: int, now_s: float
    ) -> Sign | None:
        """Take a heartbeat or boot that was new; a sign when it contradicts what was heard before."""
        voice = self._voices.get(pile_id)
        if voice is None or epoch > voice.epoch:
            self._begin(pile_id, epoch, counter, connection)
            return None
        if epoch < voice.epoch:
            return None
        if now_s - voice.last_back_s > QUIET_S:
            voice.backs = voice.backs_in_a_row = 0
            voice.took_turns = False
        if counter.boot < voice.boot:
            return self._back(voice, counter, now_s)
        voice.backs_in_a_row = 0
        voice.took_turns = voice.took_turns or voice.backs > 0
        if counter.boot > voice.boot:
            voice.boot, voice.connection = counter.boot, connection
            voice.first_seq = voice.last_seq = counter.seq
            return None
        return self._same_boot(voice, counter, connection, now_s)

    def reused(self, pile_id: str, *, epoch: int, counter: Counter, now_s: float) -> list[Sign]:
        """Another message came under a counter used before: that is a sign, and in turns with new ones two."""
        signs = [Sign(ConflictKind.COUNTER_REUSED, {"boot": counter.boot, "seq": counter.seq})]
        voice = self._voices.get(pile_id)
        if voice is not None and voice.epoch == epoch and counter.boot == voice.boot:
            turns = self._back(voice, counter, now_s)
            if turns is not None and turns.kind is ConflictKind.DUPLICATE_IDENTITY:
                signs.append(turns)
        return signs

    def _begin(self, pile_id: str, epoch: int, counter: Counter, connection: int) -> None:
        self._voices[pile_id] = _Voice(epoch, counter.boot, connection, counter.seq, counter.seq)
        self._voices.move_to_end(pile_id)
        if len(self._voices) > MAX_PILES:
            self._voices.popitem(last=False)

    def _back(self, voice: _Voice, counter: Counter, now_s: float) -> Sign | None:
        voice.last_back_s = now_s
        voice.backs += 1
        voice.backs_in_a_row += 1
        detail = {"boot": counter.boot, "newest_boot": voice.boot}
        if voice.took_turns:
            return Sign(ConflictKind.DUPLICATE_IDENTITY, detail)
        if voice.backs_in_a_row >= BACKS_IN_A_ROW:
            return Sign(ConflictKind.COUNTER_WENT_BACK, detail)
        return None

    def _same_boot(self, voice: _Voice, counter: Counter, connection: int, now_s: float) -> Sign | None:
        crossed = (connection < voice.connection and counter.seq > voice.first_seq) or (
            connection > voice.connection and counter.seq < voice.last_seq
        )
        detail = {"boot": voice.boot, "connection": connection, "other_connection": voice.connection}
        if connection > voice.connection:
            voice.connection = connection
            voice.first_seq = voice.last_seq = counter.seq
        elif connection == voice.connection:
            voice.first_seq = min(voice.first_seq, counter.seq)
            voice.last_seq = max(voice.last_seq, counter.seq)
        if not crossed:
            return None
        voice.last_back_s = now_s
        return Sign(ConflictKind.DUPLICATE_IDENTITY, detail)
