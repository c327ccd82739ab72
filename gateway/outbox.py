"""What goes down to piles: answers after a commit, and commands from their durable rows.

A commit that enqueues a command tells the outbox by NOTIFY, command and all; once a second it looks by itself, and
notes what it sent and nobody answered meanwhile: a sending that is forgotten costs one more. A command is sent again
with its own id until the pile answers or its deadline passes, which charging decides; the deadline travels as MQTT
message expiry and inside the message. After a boot nothing goes down before the answer to it.
Receipts come last, few a turn: nobody waits for one as somebody waits for a command, and a lost one costs a repeat.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event, Lock
from time import monotonic
from typing import Protocol
from uuid import UUID

import structlog
from psycopg import InterfaceError, OperationalError
from psycopg_pool import ConnectionPool

from charging import command_outbox
from charging.command_outbox import News
from charging.commands import Command
from charging.errors import ChargingError
from database.pool import Connection
from gateway import telling
from gateway.command_bell import CommandBell
from gateway.downlink import Downlink
from gateway.hearing import Reply
from gateway.kept_connection import KeptConnection
from gateway.measures import Measures
from gateway.reply_queue import ReplyQueue
from protocol.errors import ProtocolError

POLL_S = 1.0
DATABASE_WAIT_S = 1.0
DUE_LIMIT = 200
NOTE_AFTER_S = 0.3
"""A sending is noted after so long: most piles have answered by then, and the answer says that it was sent."""
MAX_TRIES = 1000
"""So many sendings not noted, and they are noted at once."""
REPLY_EXPIRY_S = 60
"""A pile repeats what it wants answered, so an old answer is worth nothing."""
MAX_REPLIES = 20_000
MAX_RECEIPTS = 100_000
"""One for each pile of a large gateway, which a planned stop posts at once."""
RECEIPTS_PER_TURN = 100
RECEIPTS_S = 0.05
"""No more are begun in a turn after so long: the first message to a pile is several questions to the database."""
LAST_RECEIPTS_S = 5.0
"""In the last turn."""
MAX_KEPT_BACK = 100
"""Commands kept back for one silent pile; what is left out comes due again by itself."""

log = structlog.get_logger()


@dataclass
class OutboxHealth:
    """Counters since the process began; written by the outbox's thread, those of what is dropped under its lock."""

    commands_sent: int = 0
    commands_unsendable: int = 0
    replies_sent: int = 0
    replies_dropped: int = 0
    receipts_sent: int = 0
    receipts_dropped: int = 0
    listening: bool = False
    turned_s: float = field(default_factory=monotonic)
    """When its loop last turned, or last got through with an answer, by the monotonic clock."""


class Shards(Protocol):
    """Which shards this process can send to now."""

    def serving(self) -> Sequence[int]:
        """Those of lanes that are held and connected."""
        ...


class Outbox:
    """Sends, in one thread; `hold`, `rekeyed` and what posts are called by the writer's."""

    def __init__(
        self,
        *,
        pool: ConnectionPool[Connection],
        listen_dsn: str,
        downlink: Downlink,
        shards: Shards,
        clock: Callable[[], datetime],
        speed: float,
        resend: timedelta,
        measures: Measures,
        stop: Event,
    ) -> None:
        """`resend` in the clock's time; `speed` is how many clock seconds pass in a real one."""
        self.health = OutboxHealth()
        self._conn = KeptConnection(pool, autocommit=True)
        self._downlink = downlink
        self._shards = shards
        self._clock = clock
        self._speed = speed
        self._resend = resend
        self._measures = measures
        self._stop = stop
        self._bell = CommandBell(listen_dsn)
        self._replies = ReplyQueue(limit=MAX_REPLIES)
        self._receipts = ReplyQueue(limit=MAX_RECEIPTS)
        self._boot_replies: dict[str, Reply] = {}
        self._lock = Lock()
        self._silent: dict[str, dict[UUID, Command]] = {}
        self._rekeyed: set[str] = set()
        self._look_s = 0.0
        self._tries: dict[UUID, bool] = {}
        self._note_s = 0.0
        self._found: frozenset[UUID] = frozenset()

    def hold(self, pile_ids: Iterable[str]) -> None:
        """Keep these piles' commands back until the answer to their boot is out."""
        with self._lock:
            for pile_id in pile_ids:
                self._silent.setdefault(pile_id, {})

    def rekeyed(self, pile_ids: Iterable[str]) -> None:
        """Read these piles' keys anew before the next message to them."""
        with self._lock:
            self._rekeyed.update(pile_ids)

    def post(self, replies: Sequence[Reply]) -> None:
        """Send these answers next; of the answers to a pile's boots the newest."""
        boot_replies = {reply.pile_id: reply for reply in replies if reply.opens_boot}
        with self._lock:
            self._boot_replies.update(boot_replies)
            self._rekeyed.update(boot_replies)
            self.health.replies_dropped += self._replies.put(
                reply for reply in replies if not reply.opens_boot
            )
        if replies:
            self._bell.ring()

    def post_receipts(self, receipts: Sequence[Reply]) -> None:
        """Send these when nothing else is to be sent."""
        with self._lock:
            self.health.receipts_dropped += self._receipts.put(receipts)
        if receipts:
            self._bell.ring()

    def run(self) -> None:
        """Send until `stop` is set, and once more for what was posted before."""
        try:
            stopping = False
            while not stopping:
                stopping = self._stop.is_set()
                self.health.turned_s = monotonic()
                try:
                    self.health.listening = self._bell.wait(self._pause_s(stopping))
                    boots = self._begin_turn(receipts=MAX_RECEIPTS if stopping else RECEIPTS_PER_TURN)
                    self._send_replies(boots)
                    self._send_news(self._bell.take_news())
                    if stopping or monotonic() >= self._look_s:
                        self._send_due()
                    elif monotonic() >= self._note_s or len(self._tries) >= MAX_TRIES:
                        self._note_tries()
                    self._send_receipts(for_s=LAST_RECEIPTS_S if stopping else RECEIPTS_S)
                except (OperationalError, InterfaceError) as error:
                    log.warning("outbox_waits_for_database", error=type(error).__name__)
                    self._stop.wait(DATABASE_WAIT_S)
                except Exception:
                    log.exception("outbox_failed")
        finally:
            self._bell.close()
            self._conn.close()

    @property
    def waiting(self) -> int:
        """Answers and commands kept back that are not out yet."""
        with self._lock:
            kept_back = sum(len(commands) for commands in self._silent.values())
            return len(self._replies) + len(self._receipts) + len(self._boot_replies) + kept_back

    def lanes_changed(self) -> None:
        """Look now, and read all keys and counters anew: a lane was taken or dropped."""
        self._downlink.forget_all()
        self.ring()

    def ring(self) -> None:
        """Look now: the lanes changed, or the process is to stop."""
        self._look_s = 0.0
        self._bell.ring()

    def _pause_s(self, stopping: bool) -> float:
        if stopping or self._receipts:
            return 0.0
        until_s = min(self._look_s, self._note_s) if self._tries else self._look_s
        return max(0.0, min(POLL_S, until_s - monotonic()))

    def _begin_turn(self, *, receipts: int) -> Sequence[Reply]:
        """The boots to answer; what else is to go out in this turn its queue has."""
        with self._lock:
            # At one moment: nothing may overtake the answer to a boot, nor that go out under the keys before it.
            rekeyed, self._rekeyed = self._rekeyed, set()
            boots = list(self._boot_replies.values())
            self._replies.begin_turn(most=MAX_REPLIES)
            self._receipts.begin_turn(most=receipts)
        for pile_id in rekeyed:
            self._downlink.forget(pile_id)
        return boots

    def _send_replies(self, boots: Sequence[Reply]) -> None:
        for reply in boots:
            self._send_boot_reply(reply)
        while (reply := self._replies.take()) is not None:
            self._count_reply(sent=self._try(reply, of=self._replies))

    def _send_receipts(self, *, for_s: float) -> None:
        until_s = monotonic() + for_s
        while monotonic() < until_s and (receipt := self._receipts.take()) is not None:
            sent = self._try(receipt, of=self._receipts)
            self.health.receipts_sent += sent
            with self._lock:
                self.health.receipts_dropped += not sent

    def _try(self, reply: Reply, *, of: ReplyQueue) -> bool:
        try:
            return self._send_reply(reply)
        except (OperationalError, InterfaceError):
            of.give_back(reply)
            raise
        except (ProtocolError, ChargingError):
            return False

    def _send_boot_reply(self, reply: Reply) -> None:
        """Kept until it is out: the pile may never ask again, and its commands wait for this."""
        try:
            sent = self._send_reply(reply)
            if not sent and self._downlink.serves(reply.pile_id):
                return
        except (OperationalError, InterfaceError):
            raise
        except (ProtocolError, ChargingError):
            sent = False
        except Exception:
            self._end_boot(reply)
            raise
        self._count_reply(sent=sent)
        kept_back = self._end_boot(reply)
        if sent:
            self._send_told(kept_back)
            # What was asked for while the pile counted as offline was not told of.
            self._look_s = 0.0

    def _end_boot(self, reply: Reply) -> list[Command]:
        """The commands that waited for this answer; none when the pile booted again, for they wait on."""
        with self._lock:
            if self._boot_replies.get(reply.pile_id) is not reply:
                return []
            del self._boot_replies[reply.pile_id]
            return list(self._silent.pop(reply.pile_id, {}).values())

    def _send_reply(self, reply: Reply) -> bool:
        self.health.turned_s = monotonic()
        try:
            message = reply.message_at(self._clock())
            return self._downlink.send(reply.pile_id, message, expiry_s=REPLY_EXPIRY_S)
        except (ProtocolError, ChargingError) as error:
            log.error("reply_unsendable", pile_id=reply.pile_id, error=type(error).__name__)
            raise

    def _count_reply(self, *, sent: bool) -> None:
        self.health.replies_sent += sent
        with self._lock:
            self.health.replies_dropped += not sent

    def _send_news(self, news: Sequence[News]) -> None:
        """Send what was told of; what is kept back or cannot go now stays pending, to be found by looking."""
        serving = frozenset(self._shards.serving()) if news else frozenset[int]()
        fresh: list[Command] = []
        for shard, command in news:
            if shard not in serving:
                continue
            if command is None:
                self._look_s = 0.0
            elif command.command_id not in self._found:
                fresh.append(command)
        self._send_told([command for command in fresh if not self._keep_back(command)])

    def _send_told(self, commands: Iterable[Command]) -> None:
        """Send what was told of; what no link took is found by looking."""
        for command in commands:
            if self._send_command(command):
                if not self._tries:
                    self._note_s = monotonic() + NOTE_AFTER_S
                self._tries[command.command_id] = True

    def _send_due(self) -> None:
        """Look for what is due, the news of which was lost or which nobody answered."""
        self._look_s = monotonic() + POLL_S
        self._note_tries()
        found: set[UUID] = set()
        while shards := self._shards.serving():
            with self._conn.use() as conn:
                due = command_outbox.due(conn, shards=shards, limit=DUE_LIMIT, now=self._clock())
            # Of one whose row is held nothing is noted, and it is found again: another time, not in the same look.
            fresh = [command for command in due if command.command_id not in found]
            found.update(command.command_id for command in fresh)
            for command in fresh:
                self._tries[command.command_id] = not self._keep_back(command) and self._send_command(command)
            self._note_tries()
            if not fresh or len(due) < DUE_LIMIT:
                break
        # Their news may still be on its way to us.
        self._found = frozenset(found)

    def _note_tries(self) -> None:
        """Write down what was tried; what was answered meanwhile is not written again."""
        if self._tries:
            with self._conn.use() as conn:
                command_outbox.note_tries(conn, self._tries, resend=self._resend, now=self._clock())
            self._tries.clear()

    def _keep_back(self, command: Command) -> bool:
        with self._lock:
            kept_back = self._silent.get(command.pile_id)
            if kept_back is None:
                return False
            if len(kept_back) < MAX_KEPT_BACK:
                kept_back[command.command_id] = command
            return True

    def _send_command(self, command: Command) -> bool:
        """Whether a link took it."""
        left_s = (command.expires_at - self._clock()).total_seconds() / self._speed
        if left_s <= 0:
            return False
        self._measures.sending(command)
        try:
            message = telling.message_of(self._downlink.with_secret(command))
            sent = self._downlink.send(
                command.pile_id,
                message,
                expiry_s=math.ceil(left_s),
                on_taken=_reporter(command.command_id, command.pile_id),
            )
        except (ProtocolError, ChargingError, KeyError, ValueError) as error:
            self.health.commands_unsendable += 1
            log.error(
                "command_unsendable",
                command_id=str(command.command_id),
                pile_id=command.pile_id,
                kind=command.kind,
                error=type(error).__name__,
            )
            return False
        self.health.commands_sent += sent
        return sent


def _reporter(command_id: UUID, pile_id: str) -> Callable[[bool], None]:
    def report(taken: bool) -> None:
        event = "command_taken_by_broker" if taken else "command_without_listener"
        log.debug(event, command_id=str(command_id), pile_id=pile_id)

    return report
