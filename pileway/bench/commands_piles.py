"""The piles of a benchmark: they speak the real encrypted protocol, know one command, and answer it at once.

A `stop` for a session that ended long ago is the neutral command: the pile answers `already_ended`, and nothing but
the command's own row changes. One process serves all of them, and the bare client that is the measure of the rest.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from uuid import UUID

from paho.mqtt.client import Client

from pileway import logs
from pileway.bench.clients import Access, Clients
from protocol import codec, frames, messages, topics
from protocol.envelope import Counter, Opener, Sealer
from protocol.fields import Message
from protocol.topics import Direction
from protocol.words import BootReason, ClockState, StopResult

EPOCH = 1
BOOT = 1
PORT_COUNT = 2
ECHO_ID = "bench-echo"
ECHO_DOWN = f"v1/echo/{ECHO_ID}/down/echo"
ECHO_UP = f"v1/echo/{ECHO_ID}/up/echo"
"""Outside every shard, so that no gateway hears it."""
TURN_S = 0.5

HELLO = "piles are up"


@dataclass(frozen=True)
class PileIdentity:
    """What an enrolled pile holds."""

    pile_id: str
    secret: bytes
    access: Access


@dataclass
class _Pile:
    identity: PileIdentity
    first_heard_ns: dict[UUID, int]
    """When each command first arrived, by the monotonic clock that all processes of a machine share."""
    seq: int = 0
    welcome: bool = False
    sealer: Sealer = field(init=False)
    opener: Opener = field(init=False)

    def __post_init__(self) -> None:
        secret = self.identity.secret
        self.sealer = Sealer(secret, epoch=EPOCH, direction=Direction.UP)
        self.opener = Opener({EPOCH: secret}, direction=Direction.DOWN)

    @property
    def topic(self) -> str:
        pile_id = self.identity.pile_id
        return topics.subscription(Direction.DOWN, shard=topics.shard_of(pile_id), pile_id=pile_id)

    def say(self, client: Client, message: Message) -> None:
        self.seq += 1
        frame = frames.seal(
            message,
            sealer=self.sealer,
            pile_id=self.identity.pile_id,
            counter=Counter(BOOT, self.seq),
        )
        client.publish(frame.topic, frame.payload, qos=1)

    def hear(self, client: Client, topic: str, payload: bytes) -> None:
        heard_ns = time.monotonic_ns()
        opened = self.opener.open(topic, payload)
        message = codec.decode(Direction.DOWN, topic.rpartition("/")[2], opened.body)
        if isinstance(message, messages.Stop):
            self.first_heard_ns.setdefault(message.command_id, heard_ns)
            self.say(
                client,
                messages.StopAck(
                    command_id=message.command_id,
                    session_id=message.session_id,
                    port=message.port,
                    result=StopResult.ALREADY_ENDED,
                    at_ms=time.time_ns() // 1_000_000,
                ),
            )
        elif isinstance(message, messages.BootAck):
            self.welcome = True

    def boot(self, client: Client) -> None:
        self.say(
            client,
            messages.Boot(
                at_ms=time.time_ns() // 1_000_000,
                connection=1,
                reason=BootReason.POWER,
                model="bench",
                hardware="A",
                firmware="1.0.0",
                protocol=messages.PROTOCOL_VERSION,
                port_count=PORT_COUNT,
                signal_dbm=-70,
                unsent=0,
                clock=ClockState.SYNCED,
            ),
        )


def serve(identities: Sequence[PileIdentity], echo: Access, log_path: Path, pipe: Pipe) -> None:
    """Answer commands until the pipe closes.

    Says HELLO once every pile has heard the answer to its boot; whatever is sent then is answered with what was
    heard since: command ids and monotonic nanoseconds.
    """
    logs.set_up("bench-piles", to=log_path)
    heard_ns: dict[UUID, int] = {}
    clients = Clients()
    clients.connect(ECHO_ID, echo, topic=ECHO_DOWN, heard=_echo)
    piles = [_Pile(identity, heard_ns) for identity in identities]
    for pile in piles:
        pile.boot(
            clients.connect(pile.identity.pile_id, pile.identity.access, topic=pile.topic, heard=pile.hear)
        )
    while not all(pile.welcome for pile in piles):
        clients.turn(TURN_S)
    pipe.send(HELLO)
    clients.watch(pipe)
    try:
        while True:
            clients.turn(TURN_S)
            while pipe.poll():
                pipe.recv()
                pipe.send(heard_ns)
                heard_ns.clear()
    except EOFError:
        clients.close()


def _echo(client: Client, _topic: str, payload: bytes) -> None:
    client.publish(ECHO_UP, payload, qos=1)
