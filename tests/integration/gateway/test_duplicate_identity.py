"""Two devices that share one identity are told as one event, and an honest pile never is."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from psycopg_pool import ConnectionPool

from charging import identity_conflicts
from charging.identity_conflicts import ConflictKind
from database.pool import Connection
from gateway.identity_watch import Sign
from gateway.inbound import Inbound
from gateway.link import Frame
from gateway.pile_registry import PileRegistry
from gateway.replay_window import ReplayWindow
from protocol import messages
from tests.integration.gateway.conftest import VAULT, HandPile, now

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import Street

    ConnectPile = Callable[..., HandPile]
    StartGateway = Callable[..., Any]
    Until = Callable[..., None]

PILE = "YQ-01"
KINDS = ("duplicate_identity", "counter_reused", "counter_went_back")


def told(street: "Street") -> list[str]:
    return [kind for kind in KINDS for _ in street.events(PILE, kind)]


def _above(least: int, number: Callable[[], int]) -> bool:
    return number() > least


def twin_of(pile: "HandPile", *, boot: int) -> "HandPile":
    """Another device with the same identity; it takes turns on the same connection."""
    return replace(pile, boot=boot, seq=0)


def test_two_devices_that_take_turns_are_one_event_with_a_count(
    connect_pile: "ConnectPile",
    start_gateway: "StartGateway",
    laid_out: "Street",
    until: "Until",
    pool: ConnectionPool[Connection],
) -> None:
    start_gateway()
    one = connect_pile(PILE)
    one.boot = 7
    one.say(one.heartbeat(connection=1))
    other = twin_of(one, boot=4)
    for turn in range(2, 8):
        other.say(other.heartbeat(connection=turn))
        one.say(one.heartbeat(connection=turn))

    def observations() -> int:
        with pool.connection() as conn:
            return sum(known.observations for known in identity_conflicts.of_pile(conn, PILE, limit=10))

    until(lambda: observations() == 5)
    assert told(laid_out) == ["duplicate_identity"]
    assert laid_out.events(PILE, "duplicate_identity")[0]["suggested"] == "quarantine"


def test_a_board_copied_with_its_counters_is_told_by_numbers_used_twice(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    start_gateway()
    one = connect_pile(PILE)
    one.boot = 7
    other = twin_of(one, boot=7)

    def reused() -> int:
        return laid_out.refusals().get("counter_reused", 0)

    for turn in range(1, 6):
        before = reused()
        one.say(one.heartbeat(connection=turn))
        other.say(messages.TimeRequest(at_ms=turn))
        until(partial(_above, before, reused))
    until(lambda: told(laid_out) == ["duplicate_identity", "counter_reused"])


def test_reconnecting_rebooting_and_dying_late_tell_nothing(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    gateway = start_gateway()
    pile = connect_pile(PILE)
    said = 0
    for _ in range(3):
        pile.boots()
        will = pile.seal(messages.Gone(connection=1))
        late = pile.seal(pile.heartbeat(connection=1))
        for connection in (1, 2, 3):
            pile.say(pile.heartbeat(connection=connection))
        pile.publish(*late)
        pile.publish(*will)
        said += 6
    until(lambda: gateway.health.writer.frames == said)
    frame = pile.say(pile.heartbeat(connection=4))
    pile.publish(*frame)
    until(lambda: laid_out.refusals() == {"replayed": 1})
    gateway.warden.make_round()
    assert told(laid_out) == []


class Signs:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ConflictKind]] = []

    def heard_barred(self, pile_id: str) -> None:
        """Nobody is shut out."""

    def suspects(self, pile_id: str, signs: Sequence[Sign]) -> None:
        self.told += [(pile_id, sign.kind) for sign in signs]


def test_a_batch_read_again_until_it_is_committed_tells_of_a_number_used_twice_once(
    laid_out: "Street", pool: ConnectionPool[Connection]
) -> None:
    one = HandPile(PILE, laid_out.enrol(PILE), Client(CallbackAPIVersion.VERSION2))
    other = twin_of(one, boot=one.boot)
    sealed = [one.seal(one.heartbeat(connection=1)), other.seal(messages.TimeRequest(at_ms=0))]
    batch = [
        Frame(cast("Any", None), 1, mid, 1, False, frame.topic, frame.payload, now())
        for mid, frame in enumerate(sealed, 1)
    ]
    signs = Signs()
    inbound = Inbound(registry=PileRegistry(vault=VAULT), window=ReplayWindow(), wards=signs)
    with pool.connection() as conn:
        inbound.read(conn, batch)
        readings = inbound.read(conn, batch)
        assert signs.told == []
        inbound.committed(readings)
        assert signs.told == [(PILE, ConflictKind.COUNTER_REUSED)]
        # The acknowledgement was lost.
        inbound.committed(inbound.read(conn, [frame._replace(redelivered=True) for frame in batch]))
    assert signs.told == [(PILE, ConflictKind.COUNTER_REUSED)]
