"""Seals messages to piles and gives them to the link of the pile's lane.

A pile accepts only a growing Partial IV, and none may ever be used twice under a key. Counters therefore come from
the database in blocks, reserved and committed before the first is used: a gateway that dies leaves a gap, and two
that overlap never share a counter. One thread seals, so that the order of counters is the order of sending. What
goes to a pile behind a host goes inside a message to the host.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

from psycopg_pool import ConnectionPool

from charging import enrolment, key_rotation, standings
from charging.commands import Command, CommandKind
from charging.enrolment import DownCounters, SecretVault
from charging.errors import PileUnknown
from database.pool import Connection
from gateway import relaying
from gateway.link import Link
from protocol import frames, topics
from protocol.envelope import Counter, Sealer
from protocol.fields import Message
from protocol.topics import Direction

COUNTERS_PER_BLOCK = 256
MAX_PILES = 100_000


@dataclass
class _Channel:
    """The key a pile is spoken to under, what is left of its block of counters, and its host if it has one."""

    sealer: Sealer
    counters: DownCounters
    next_seq: int
    host: str | None


class Downlink:
    """Sends messages down. One thread uses it, the outbox's; `forget_all` may be called from any."""

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
        self._forgets_all = Event()

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
        self._forget_if_told()
        host = self._host_of(pile_id)
        carrier = host or pile_id
        link = self._link_of(topics.shard_of(carrier))
        if link is None:
            return False
        if host is not None:
            channel = self._channel(pile_id, host)
            message = relaying.wrap(
                message,
                child=pile_id,
                child_sealer=channel.sealer,
                child_counter=self._next(pile_id, channel),
            )
        channel = self._channel(carrier, None)
        counter = self._next(carrier, channel)
        frame = frames.seal(message, sealer=channel.sealer, pile_id=carrier, counter=counter)
        return link.publish(frame.topic, frame.payload, expiry_s=expiry_s, on_taken=on_taken)

    def serves(self, pile_id: str) -> bool:
        """Whether this process holds the lane that leads to the pile, connected or not.

        Raises psycopg's errors.
        """
        self._forget_if_told()
        return self._link_of(topics.shard_of(self._host_of(pile_id) or pile_id)) is not None

    def with_secret(self, command: Command) -> Command:
        """The command as it can be told: an offer of a new secret gets it from where it is kept wrapped.

        Raises SecretUnreadable.
        """
        if command.kind is not CommandKind.KEY_ROTATE:
            return command
        with self._pool.connection() as conn:
            return key_rotation.with_secret(conn, self._vault, command)

    def forget(self, pile_id: str) -> None:
        """Read the pile's keys anew before the next message: it booted, perhaps after enrolling again."""
        self._channels.pop(pile_id, None)

    def forget_all(self) -> None:
        """Read everything anew before the next message: others may have spoken to the piles of a lane meanwhile.

        A lane that comes back brings piles that heard higher counters than are left of the blocks kept here.
        """
        self._forgets_all.set()

    def _forget_if_told(self) -> None:
        if self._forgets_all.is_set():
            self._forgets_all.clear()
            self._channels.clear()

    def _host_of(self, pile_id: str) -> str | None:
        channel = self._channels.get(pile_id)
        if channel is not None:
            return channel.host
        with self._pool.connection() as conn:
            return standings.host_of(conn, pile_id)

    def _channel(self, pile_id: str, host: str | None) -> _Channel:
        channel = self._channels.get(pile_id)
        if channel is None:
            channel = self._channels[pile_id] = self._open(pile_id, host)
            if len(self._channels) > MAX_PILES:
                self._channels.popitem(last=False)
        return channel

    def _next(self, pile_id: str, channel: _Channel) -> Counter:
        """The next counter of a pile, which is used up with this."""
        if channel.next_seq >= channel.counters.end_seq:
            channel.counters = self._reserve(pile_id, channel.sealer.epoch)
            channel.next_seq = channel.counters.first_seq
        counter = Counter(channel.counters.boot, channel.next_seq)
        channel.next_seq += 1
        return counter

    def _open(self, pile_id: str, host: str | None) -> _Channel:
        with self._pool.connection() as conn:
            secrets = enrolment.secrets_of(conn, self._vault, pile_id)
        # One that was offered and not used yet the pile may not hold: it is spoken to under the one before.
        newest = next((secret for secret in secrets if secret.in_use), None)
        if newest is None:
            raise PileUnknown(pile_id)
        counters = self._reserve(pile_id, newest.epoch)
        sealer = Sealer(newest.secret, epoch=newest.epoch, direction=Direction.DOWN)
        # A pile that never heard anything may hold (0, 0) as the last counter, and the next must be greater.
        return _Channel(sealer, counters, next_seq=max(counters.first_seq, 1), host=host)

    def _reserve(self, pile_id: str, epoch: int) -> DownCounters:
        with self._pool.connection() as conn, conn.transaction():
            return enrolment.reserve_down_counters(
                conn, pile_id=pile_id, epoch=epoch, count=COUNTERS_PER_BLOCK
            )
