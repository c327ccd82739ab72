"""Nothing is acknowledged before it is committed, and nothing that was not acknowledged is lost."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest

from gateway.flood_guard import FloodLimits
from gateway.sample_batch import BatchLimits
from gateway.service import SPARE_FRAMES, Gateway
from protocol import messages
from protocol.envelope import Counter

if TYPE_CHECKING:
    from tests.conftest import Broker
    from tests.integration.gateway.conftest import GatewayProcess, HandPile, Street

    ConnectPile = Callable[..., HandPile]
    StartGateway = Callable[..., Gateway]
    Until = Callable[[Callable[[], object]], None]

FRAMES = 20


@contextmanager
def _meter_blocked(dsn: str) -> Generator[psycopg.Connection]:
    """While this lasts no batch with a meter frame can commit."""
    with psycopg.connect(dsn) as conn:
        conn.execute("LOCK TABLE meter_frame IN ACCESS EXCLUSIVE MODE")
        yield conn
        conn.rollback()


def _blocked_writers(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as conn:
        rows = conn.execute(
            """
            SELECT pid FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock' AND backend_type = 'client backend'
            """
        ).fetchall()
    return [pid for (pid,) in rows]


def _say_meter_frames(pile: "HandPile", *, count: int = FRAMES) -> None:
    session_id = uuid4()
    begin = datetime.now(UTC)
    for n in range(count):
        pile.say(pile.meter(session_id, at=begin + timedelta(seconds=n), energy_dwh=n))


def test_a_frame_is_acknowledged_only_after_its_commit(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until", dsn: str
) -> None:
    gateway = start_gateway()
    pile = connect_pile("YQ-01")
    with _meter_blocked(dsn):
        pile.say(pile.meter(uuid4()))
        until(lambda: _blocked_writers(dsn))
        assert gateway.health.links[0].acks == 0
    until(lambda: gateway.health.links[0].acks == 1)
    assert laid_out.count("meter_frame") == 1


def test_frames_of_long_ago_share_a_batch_with_those_of_now_and_no_transaction(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until", dsn: str
) -> None:
    gateway = start_gateway()
    pile = connect_pile("YQ-01")
    ages = (timedelta(days=30), timedelta(0), timedelta(days=3))
    with _meter_blocked(dsn):
        pile.say(pile.meter(uuid4()))
        until(lambda: _blocked_writers(dsn))
        # These wait together for the writer and come as one batch.
        for n in range(2):
            for age in ages:
                pile.say(pile.meter(uuid4(), at=datetime.now(UTC) - age - timedelta(seconds=n + 1)))
        until(lambda: gateway.health.waiting_frames == 2 * len(ages))
    until(lambda: gateway.health.links[0].acks == 1 + 2 * len(ages))
    with psycopg.connect(dsn) as conn:
        told = conn.execute(
            "SELECT count(*), max(sampled_at) - min(sampled_at) FROM meter_frame GROUP BY xmin::text"
        ).fetchall()
    assert sum(count for count, _ in told) == 1 + 2 * len(ages)
    assert max(spread for _, spread in told) < timedelta(hours=1)


def test_a_connection_lost_before_the_commit_costs_a_retry_and_no_frame(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until", dsn: str
) -> None:
    gateway = start_gateway()
    pile = connect_pile("YQ-01")
    with _meter_blocked(dsn) as conn:
        _say_meter_frames(pile)
        until(lambda: _blocked_writers(dsn))
        for pid in _blocked_writers(dsn):
            conn.execute("SELECT pg_terminate_backend(%s)", (pid,))
        until(lambda: gateway.health.writer.retries)
        assert gateway.health.links[0].acks == 0
    until(lambda: gateway.health.links[0].acks == FRAMES)
    assert laid_out.count("meter_frame") == FRAMES
    assert laid_out.refusals() == {}


def test_a_killed_gateway_loses_no_frame(
    connect_pile: "ConnectPile",
    spawn_gateway: "Callable[[], GatewayProcess]",
    start_gateway: "StartGateway",
    laid_out: "Street",
    until: "Until",
    dsn: str,
) -> None:
    first = spawn_gateway()
    pile = connect_pile("YQ-01")
    with _meter_blocked(dsn):
        _say_meter_frames(pile, count=FRAMES // 2)
        until(lambda: _blocked_writers(dsn))
        first.kill9()
        _say_meter_frames(pile, count=FRAMES // 2)
    second = start_gateway()
    until(lambda: laid_out.count("meter_frame") == FRAMES)
    until(lambda: second.health.links[0].acks == FRAMES)
    assert second.health.links[0].redeliveries > 0
    assert laid_out.count("meter_sample") == FRAMES
    assert laid_out.refusals() == {}


def test_counters_down_only_grow_across_a_killed_gateway(
    connect_pile: "ConnectPile",
    spawn_gateway: "Callable[[], GatewayProcess]",
    start_gateway: "StartGateway",
) -> None:
    first = spawn_gateway()
    pile = connect_pile("YQ-01")
    pile.boots()
    pile.boots()
    first.kill9()
    start_gateway()
    pile.boots()
    pile.say(messages.TimeRequest(at_ms=0))
    pile.hears(messages.Time)
    counters = pile.counters_down
    assert len(counters) == 4
    assert counters == sorted(set(counters))
    assert Counter(0, 0) < counters[0]


def test_acknowledgements_of_an_older_connection_are_dropped(
    connect_pile: "ConnectPile",
    start_gateway: "StartGateway",
    laid_out: "Street",
    until: "Until",
    broker: "Broker",
    dsn: str,
) -> None:
    gateway = start_gateway()
    pile = connect_pile("YQ-01")
    link = gateway.health.links[0]
    with _meter_blocked(dsn):
        _say_meter_frames(pile)
        until(lambda: _blocked_writers(dsn))
        broker.restart()
        until(lambda: link.connections == 2 and link.connected)
    until(lambda: link.stale_acks > 0)
    until(lambda: link.acks == FRAMES)
    assert laid_out.count("meter_frame") == FRAMES
    assert laid_out.refusals() == {}
    assert gateway.health.writer.repeated > 0


def test_a_gateway_that_stops_in_order_leaves_nothing_behind(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until"
) -> None:
    gateway = start_gateway()
    pile = connect_pile("YQ-01")
    _say_meter_frames(pile)
    until(lambda: gateway.health.links[0].frames == FRAMES)
    gateway.stop()
    _say_meter_frames(pile)
    again = start_gateway()
    until(lambda: laid_out.count("meter_frame") == 2 * FRAMES)
    until(lambda: again.health.links[0].acks == FRAMES)
    assert again.health.links[0].redeliveries == 0


_FAIL_ON_INSERT = """
    CREATE FUNCTION fail_for_yq02() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.pile_id = 'YQ-02' THEN RAISE EXCEPTION 'a message the database does not take'; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER fail_for_yq02 BEFORE INSERT ON pile_telemetry FOR EACH ROW EXECUTE FUNCTION fail_for_yq02();
    CREATE TRIGGER fail_for_yq02 BEFORE INSERT ON meter_frame FOR EACH ROW EXECUTE FUNCTION fail_for_yq02();
    """
_FAIL_ON_COMMIT = """
    CREATE FUNCTION fail_for_yq02() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.pile_id = 'YQ-02' THEN RAISE EXCEPTION 'a message the commit does not take'; END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER fail_for_yq02 AFTER INSERT ON pile_telemetry DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION fail_for_yq02();
    CREATE CONSTRAINT TRIGGER fail_for_yq02 AFTER INSERT ON meter_frame DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION fail_for_yq02();
    """


_OUT_OF_MEMORY = _FAIL_ON_INSERT.replace("take';", "take' USING ERRCODE = 'out_of_memory';")
_TOO_COMPLEX = _FAIL_ON_INSERT.replace("take';", "take' USING ERRCODE = 'statement_too_complex';")


@pytest.mark.parametrize(
    "poison",
    [_FAIL_ON_INSERT, _FAIL_ON_COMMIT, _OUT_OF_MEMORY, _TOO_COMPLEX],
    ids=["on_insert", "on_commit", "out_of_memory", "too_complex"],
)
def test_a_poison_message_is_put_aside_and_harms_no_other(
    poison: str,
    connect_pile: "ConnectPile",
    start_gateway: "StartGateway",
    laid_out: "Street",
    until: "Until",
    dsn: str,
) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(poison.encode())
    gateway = start_gateway()
    good, bad = connect_pile("YQ-01"), connect_pile("YQ-02")
    with _meter_blocked(dsn):
        good.say(good.meter(uuid4()))
        until(lambda: _blocked_writers(dsn))
        # These wait together for the writer and come as one batch.
        bad.say(bad.heartbeat())
        good.say(good.heartbeat())
        bad.say(bad.meter(uuid4()))
        _say_meter_frames(good)
    until(lambda: gateway.health.links[0].acks == FRAMES + 4)
    assert laid_out.refusals() == {"handler_error": 2}
    assert laid_out.count("meter_frame") == FRAMES + 1
    assert laid_out.count("pile_telemetry") == 1
    assert not gateway.health.writer.database_away


def test_while_the_database_is_away_memory_is_bounded_and_nothing_is_lost(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until", dsn: str
) -> None:
    gateway = start_gateway()
    pile = connect_pile("YQ-01")
    with _meter_blocked(dsn):
        pile.say(pile.meter(uuid4()))
        until(lambda: _blocked_writers(dsn))
        _say_meter_frames(pile, count=150)
        until(lambda: gateway.health.waiting_frames == 99)
        link = gateway.health.links[0]
        assert (link.frames, link.overflows) == (100, 0)
    until(lambda: laid_out.count("meter_frame") == 151)


def test_a_backlog_beyond_all_room_is_stored_over_one_connection(
    connect_pile: "ConnectPile", start_gateway: "StartGateway", laid_out: "Street", until: "Until", dsn: str
) -> None:
    """Mosquitto 2.0.11 sends more of a backlog than the receive maximum; the link takes it as fast as it is stored."""
    gateway = start_gateway(
        flood_limits=FloodLimits(frames_per_s=100_000), batch_limits=BatchLimits(max_frames=10)
    )
    pile = connect_pile("YQ-01")
    with _meter_blocked(dsn):
        pile.say(pile.meter(uuid4()))
        until(lambda: _blocked_writers(dsn))
        _say_meter_frames(pile, count=3 * SPARE_FRAMES)
    until(lambda: laid_out.count("meter_frame") == 3 * SPARE_FRAMES + 1)
    link = gateway.health.links[0]
    assert (link.connections, link.overflows) == (1, 0)
