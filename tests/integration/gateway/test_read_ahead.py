"""Frames opened before their turn are judged in their turn, by what is known then."""

from collections.abc import Sequence
from threading import Event
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from psycopg_pool import ConnectionPool

from charging.meter_frames import MeterFrame
from database.pool import Connection
from gateway import hearing
from gateway.hearing import Heard
from gateway.inbound import Ahead, Inbound, Reading, Refused
from gateway.link import Frame
from gateway.pile_registry import STANDING_MAX_AGE_S, PileRegistry
from gateway.read_ahead import AHEAD_FRAMES, ReadAhead
from gateway.replay_window import ReplayWindow
from gateway.sample_batch import BatchLimits, SampleBatch
from protocol.sample_columns import FEWEST_BODIES
from tests.integration.gateway.conftest import VAULT, WAIT_S, HandPile, now

if TYPE_CHECKING:
    from tests.integration.gateway.conftest import Street

PILE = "YQ-01"
SESSION = UUID(int=5)
MAX_FRAMES = 200


class Seconds:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class NoWards:
    """Nobody is suspected here; who is shut out may speak."""

    def heard_barred(self, pile_id: str) -> None:
        """It is refused."""

    def suspects(self, pile_id: str, signs: object) -> None:
        raise AssertionError(pile_id, signs)


@pytest.fixture
def pile(laid_out: "Street") -> HandPile:
    """A pile that only seals."""
    return HandPile(PILE, laid_out.enrol(PILE), Client(CallbackAPIVersion.VERSION2))


@pytest.fixture
def seconds() -> Seconds:
    """The registry's clock."""
    return Seconds()


@pytest.fixture
def inbound(seconds: Seconds) -> Inbound:
    """Reads frames and remembers those that were committed."""
    registry = PileRegistry(vault=VAULT, seconds=seconds)
    return Inbound(registry=registry, window=ReplayWindow(), wards=NoWards())


def _delivered(topic: str, payload: bytes, *, mid: int = 1, redelivered: bool = False) -> Frame:
    return Frame(cast("Any", None), 1, mid, 1, redelivered, topic, payload, now())


def _frames(pile: HandPile, count: int) -> list[Frame]:
    sealed = [pile.seal(pile.meter(SESSION)) for _ in range(count)]
    return [_delivered(one.topic, one.payload, mid=mid) for mid, one in enumerate(sealed, 1)]


def _told(readings: Sequence[Reading]) -> list[object]:
    return [
        reading.message if isinstance(reading, Heard) else getattr(reading, "reason", type(reading))
        for reading in readings
    ]


def _metered(readings: Sequence[Reading]) -> list[MeterFrame]:
    heard = [reading for reading in readings if isinstance(reading, Heard)]
    return [frame._replace(samples=list(frame.samples)) for frame in hearing.meter_frames(heard)]


@pytest.mark.parametrize("company", [0, FEWEST_BODIES])
def test_frames_opened_ahead_are_read_as_others_are(
    pile: HandPile, inbound: Inbound, pool: ConnectionPool[Connection], company: int
) -> None:
    first, second, third, *others = _frames(pile, 3 + company)
    damaged = third._replace(payload=third.payload[:-1] + b"\0")
    nonsense = _delivered(pile.topic("meter"), pile.seal_body(pile.topic("meter"), b"\x80"))
    stranger = first._replace(topic=pile.topic("meter", pile_id="XX-99"))
    frames = [first, first._replace(redelivered=True), second, damaged, nonsense, stranger, *others]
    with pool.connection() as conn:
        readings = inbound.read(conn, frames)
        expected, metered = _told(readings), _metered(readings)
        opened = inbound.open_ahead(frames)
        assert [ahead is not None for ahead in opened] == [*[True] * 3, *[False] * 3, *[True] * company]
        readings = inbound.read(conn, frames, opened)
    assert (_told(readings), _metered(readings)) == (expected, metered)
    assert expected[3:6] == ["forged", "malformed", "unknown_pile"]


def test_what_was_committed_after_a_frame_was_opened_makes_it_a_repeat(
    pile: HandPile, inbound: Inbound, pool: ConnectionPool[Connection]
) -> None:
    [frame] = _frames(pile, 1)
    with pool.connection() as conn:
        readings = inbound.read(conn, [frame])
        opened = inbound.open_ahead([frame])
        inbound.committed(readings)
        assert _told(inbound.read(conn, [frame], opened)) == ["replayed"]


def test_a_frame_opened_under_a_secret_retired_since_is_refused(
    pile: HandPile, inbound: Inbound, seconds: Seconds, laid_out: "Street", pool: ConnectionPool[Connection]
) -> None:
    early, late = _frames(pile, 2)
    with pool.connection() as conn:
        inbound.read(conn, [early])
        opened = inbound.open_ahead([late])
        assert opened[0] is not None
        conn.commit()
        laid_out.execute("UPDATE pile_key SET retired_at = now()")
        seconds.now_s += STANDING_MAX_AGE_S
        [reading] = inbound.read(conn, [late], opened)
    assert isinstance(reading, Refused)
    assert reading.reason == "unknown_epoch"


def test_standings_are_asked_for_while_nobody_waits_before_they_are_too_old(
    pile: HandPile, inbound: Inbound, seconds: Seconds, laid_out: "Street", pool: ConnectionPool[Connection]
) -> None:
    early, late = _frames(pile, 2)
    with pool.connection() as conn:
        conn.autocommit = True
        inbound.read(conn, [early])
        laid_out.execute("UPDATE pile SET state = 'quarantined'")
        seconds.now_s += STANDING_MAX_AGE_S * 0.6
        assert inbound.read(conn, []) == []
        seconds.now_s += STANDING_MAX_AGE_S * 0.3
        [reading] = inbound.read(conn, [late])
    assert isinstance(reading, Refused)
    assert reading.reason == "pile_quarantined"


def test_what_was_opened_is_handed_over_in_the_order_of_arrival_and_bounded(
    pile: HandPile, inbound: Inbound, pool: ConnectionPool[Connection]
) -> None:
    frames = [frame for frame in _frames(pile, 10) for _ in range(AHEAD_FRAMES // 5)]
    with pool.connection() as conn:
        inbound.read(conn, frames[:1])
    stop = Event()
    batch = SampleBatch(limits=BatchLimits(max_frames=MAX_FRAMES), capacity_frames=len(frames))
    assert not batch.put_many(frames)
    batch.close()
    stop.set()
    ahead = ReadAhead(batch=batch, inbound=inbound, stop=stop)
    ahead.start()
    taken: list[Frame] = []
    while not ahead.ended:
        some, opened = ahead.take(timeout_s=WAIT_S)
        assert len(some) == len(opened) < AHEAD_FRAMES + MAX_FRAMES
        assert all(one is not None and one.message for one in opened)
        taken += some
    assert taken == frames


class Noting(Inbound):
    """Says when it opened a second batch."""

    def __init__(self, seconds: Seconds) -> None:
        super().__init__(
            registry=PileRegistry(vault=VAULT, seconds=seconds), window=ReplayWindow(), wards=NoWards()
        )
        self.batches = 0
        self.again = Event()

    def open_ahead(self, frames: Sequence[Frame]) -> list[Ahead | None]:
        self.batches += 1
        if self.batches > 1:
            self.again.set()
        return [None] * len(frames)


def test_nothing_is_opened_while_the_writer_judges(pile: HandPile, seconds: Seconds) -> None:
    inbound, stop = Noting(seconds), Event()
    frames = _frames(pile, 1) * (2 * AHEAD_FRAMES)
    batch = SampleBatch(limits=BatchLimits(max_frames=AHEAD_FRAMES), capacity_frames=len(frames))
    assert not batch.put_many(frames)
    ahead = ReadAhead(batch=batch, inbound=inbound, stop=stop)
    ahead.start()
    taken, _ = ahead.take(timeout_s=WAIT_S)
    assert len(taken) == AHEAD_FRAMES
    assert not inbound.again.wait(0.05)
    ahead.judged()
    assert inbound.again.wait(WAIT_S)
    batch.close()
    stop.set()
    ahead.take(timeout_s=WAIT_S)


class Panic(BaseException):
    """What a codec in another language raises when it is at its wits' end."""


class Panicking(Inbound):
    """Cannot open anything ahead."""

    def open_ahead(self, frames: Sequence[Frame]) -> list[Ahead | None]:
        raise Panic(len(frames))


def test_a_panic_while_reading_ahead_leaves_the_frames_to_the_writer(
    pile: HandPile, seconds: Seconds
) -> None:
    inbound = Panicking(
        registry=PileRegistry(vault=VAULT, seconds=seconds), window=ReplayWindow(), wards=NoWards()
    )
    frames = _frames(pile, 3)
    stop = Event()
    batch = SampleBatch(limits=BatchLimits(), capacity_frames=len(frames))
    assert not batch.put_many(frames)
    ahead = ReadAhead(batch=batch, inbound=inbound, stop=stop)
    ahead.start()
    taken, opened = ahead.take(timeout_s=WAIT_S)
    assert (taken, opened) == (frames, [None] * 3)
    batch.close()
    stop.set()
    ahead.take(timeout_s=WAIT_S)
    assert ahead.ended
