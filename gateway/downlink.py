"""Seals messages to piles and gives them to the link of the pile's lane.

A pile accepts only a growing Partial IV, and none may ever be used twice under a key. Counters therefore come from
the database in blocks, reserved and committed before the first is used: a gateway that dies leaves a gap, and two
that overlap never share a counter. One thread seals, so that the order of counters is the order of sending.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from psycopg_pool import ConnectionPool

from charging import enrolment
from charging.enrolment import DownCounters, SecretVault
from charging.errors import PileUnknown
from database.pool import Connection
from gateway.link import Link
from protocol import frames, topics
from protocol.envelope import Counter, Sealer
from protocol.fields import Message
from protocol.topics import Direction

COUNTERS_PER_BLOCK = 256
MAX_PILES = 100_000


@dataclass
class _Channel:
    """A pile's newest key and what is left of its block of counters."""

    sealer: Sealer
    counters: DownCounters
    next_seq: int


class Downlink:
    """Sends messages down. One thread uses it: the outbox's."""

    def __init__(
        self,
        *,
        pool: ConnectionPool[Connection],
        vault: SecretVault,
        link_of: Callable[[int], Link | None],
    ) -> None:
        """`link_of` finds the link that serves a shard, None while there is none."""
        self._pool = pool
        self._vault = vault
        self._link_of = link_of
        self._channels: OrderedDict[str, _Channel] = OrderedDict()

    def send(
        self,
        pile_id: str,
        message: Message,
        *,
        expiry_s: int,
        on_taken: Callable[[bool], None] | None = None,
    ) -> bool:
        """Seal and publish; False when no link can take it now.

        Raises ProtocolError for a message that may not be sent, PileUnknown for a pile without keys,
        SecretUnreadable, and psycopg's errors.
        """
        link = self._link_of(topics.shard_of(pile_id))
        if link is None:
            return False
        channel = self._channel(pile_id)
        counter = Counter(channel.counters.boot, channel.next_seq)
        channel.next_seq += 1
        frame = frames.seal(message, sealer=channel.sealer, pile_id=pile_id, counter=counter)
        return link.publish(frame.topic, frame.payload, expiry_s=expiry_s, on_taken=on_taken)

    def forget(self, pile_id: str) -> None:
        """Read the pile's keys anew before the next message: it booted, perhaps after enrolling again."""
        self._channels.pop(pile_id, None)

    def _channel(self, pile_id: str) -> _Channel:
        channel = self._channels.get(pile_id)
        if channel is None:
            channel = self._channels[pile_id] = self._open(pile_id)
            if len(self._channels) > MAX_PILES:
                self._channels.popitem(last=False)
        elif channel.next_seq >= channel.counters.end_seq:
            channel.counters = self._reserve(pile_id, channel.sealer.epoch)
            channel.next_seq = channel.counters.first_seq
        return channel

    def _open(self, pile_id: str) -> _Channel:
        with self._pool.connection() as conn:
            secrets = enrolment.secrets_of(conn, self._vault, pile_id)
        if not secrets:
            raise PileUnknown(pile_id)
        newest = secrets[0]
        counters = self._reserve(pile_id, newest.epoch)
        sealer = Sealer(newest.secret, epoch=newest.epoch, direction=Direction.DOWN)
        # A pile that never heard anything may hold (0, 0) as the last counter, and the next must be greater.
        return _Channel(sealer, counters, next_seq=max(counters.first_seq, 1))

    def _reserve(self, pile_id: str, epoch: int) -> DownCounters:
        with self._pool.connection() as conn, conn.transaction():
            return enrolment.reserve_down_counters(
                conn, pile_id=pile_id, epoch=epoch, count=COUNTERS_PER_BLOCK
            )
