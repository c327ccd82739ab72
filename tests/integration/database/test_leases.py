"""A lane has one owner at a time, by the database's clock."""

from concurrent.futures import ThreadPoolExecutor

import psycopg

from database import leases
from database.pool import Connection
from tests.waiting import wait_until

LANE = 3


def test_free_lane_is_taken_and_kept_from_others(conn: Connection) -> None:
    assert leases.take(conn, LANE, "gateway-a", 30)
    assert leases.take(conn, LANE, "gateway-a", 30)
    assert not leases.take(conn, LANE, "gateway-b", 30)
    assert leases.renew(conn, LANE, "gateway-a", 30)
    assert not leases.renew(conn, LANE, "gateway-b", 30)


def test_lapsed_lease_is_free_to_take_and_lost_to_its_owner(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        assert leases.take(conn, LANE, "gateway-a", 0.2)
        wait_until(lambda: leases.take(conn, LANE, "gateway-b", 30))
        assert not leases.renew(conn, LANE, "gateway-a", 30)
        assert not leases.release(conn, LANE, "gateway-a")
        assert leases.renew(conn, LANE, "gateway-b", 30)


def test_released_lane_is_free_at_once(conn: Connection) -> None:
    leases.take(conn, LANE, "gateway-a", 30)
    assert leases.renew(conn, LANE, "gateway-a", 30)
    assert leases.release(conn, LANE, "gateway-a")
    assert not leases.renew(conn, LANE, "gateway-a", 30)
    assert leases.take(conn, LANE, "gateway-b", 30)


def test_of_many_gateways_that_reach_for_a_lane_one_gets_it(dsn: str) -> None:
    def reach(owner: int) -> bool:
        with psycopg.connect(dsn) as conn:
            return leases.take(conn, LANE, f"gateway-{owner}", 30)

    with ThreadPoolExecutor(8) as gateways:
        assert sum(gateways.map(reach, range(8))) == 1


def test_lanes_somebody_holds_are_told_from_lapsed_and_free_ones(conn: Connection) -> None:
    leases.take(conn, LANE, "gateway-a", 30)
    leases.take(conn, LANE + 1, "gateway-b", -1)
    assert leases.held(conn, range(8)) == [LANE]
