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
            return leases.take(conn, LANE, f"gateway-{owner}", 30) is not None

    with ThreadPoolExecutor(8) as gateways:
        assert sum(gateways.map(reach, range(8))) == 1


def test_lanes_somebody_holds_are_told_from_lapsed_and_free_ones(conn: Connection) -> None:
    leases.take(conn, LANE, "gateway-a", 30)
    leases.take(conn, LANE + 1, "gateway-b", -1)
    assert leases.held(conn, range(8)) == [LANE]


def test_a_lane_whose_holder_is_gone_is_free_soon_and_its_lapse_not_waited_for(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as waiting:
        with psycopg.connect(dsn, autocommit=True) as holder:
            assert leases.take(holder, LANE, "gateway-a", 600)
            assert leases.take(waiting, LANE, "gateway-b", 600) is None
        lease = wait_until(lambda: leases.take(waiting, LANE, "gateway-b", 600))
        assert lease.unserved_s >= leases.PATIENCE_S


def test_a_holder_that_renews_over_another_connection_keeps_its_lane(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as waiting:
        with psycopg.connect(dsn, autocommit=True) as broken:
            assert leases.take(broken, LANE, "gateway-a", 600)
        wait_until(lambda: leases.take(waiting, LANE, "gateway-b", 600) is None and orphaned(waiting))
        with psycopg.connect(dsn, autocommit=True) as fresh:
            assert leases.renew(fresh, LANE, "gateway-a", 600)
            assert not orphaned(waiting)
            assert leases.take(waiting, LANE, "gateway-b", 600) is None


def test_a_lease_of_an_older_version_is_judged_by_its_lapse_alone(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO lane_lease (lane, owner, expires_at) VALUES (3, 'old', now() + interval '1 hour')"
        )
        assert leases.take(conn, LANE, "gateway-b", 30) is None
        assert not orphaned(conn)
        conn.execute("UPDATE lane_lease SET expires_at = now()")
        assert leases.take(conn, LANE, "gateway-b", 30)


def orphaned(conn: Connection) -> bool:
    """Whether somebody found the lane's holder gone."""
    row = conn.execute("SELECT orphaned_at IS NOT NULL FROM lane_lease WHERE lane = 3").fetchone()
    return row is not None and bool(row[0])
