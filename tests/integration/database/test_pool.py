"""Connections of the pool wait for nothing without a limit."""

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from database.pool import IDLE_IN_TRANSACTION_LIMIT_S, LOCK_LIMIT_S, open_pool
from tests.waiting import wait_until


def test_waits_for_locks_for_clients_and_for_the_network_are_limited(dsn: str) -> None:
    with open_pool(dsn, min_size=1, max_size=1, timeout_s=10) as pool, pool.connection() as conn:
        assert conn.execute("SHOW lock_timeout").fetchone() == (f"{LOCK_LIMIT_S}s",)
        assert conn.execute("SHOW jit").fetchone() == ("off",)
        assert conn.execute("SHOW idle_in_transaction_session_timeout").fetchone() == (
            f"{IDLE_IN_TRANSACTION_LIMIT_S}s",
        )
        asked = conn.info.get_parameters()
        for limit in ("tcp_user_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count"):
            assert int(asked[limit]) > 0


def test_what_the_address_itself_asks_for_stands(dsn: str) -> None:
    own = make_conninfo(dsn, options="-c lock_timeout=7s", tcp_user_timeout=1234)
    with open_pool(own, min_size=1, max_size=1, timeout_s=10) as pool, pool.connection() as conn:
        assert conn.execute("SHOW lock_timeout").fetchone() == ("7s",)
        assert conn.execute("SHOW idle_in_transaction_session_timeout").fetchone() != ("0",)
        assert conn.info.get_parameters()["tcp_user_timeout"] == "1234"


def test_a_lock_that_is_never_let_go_costs_an_error_and_not_the_connection(dsn: str) -> None:
    impatient = make_conninfo(dsn, options="-c lock_timeout=200ms")
    with open_pool(impatient, min_size=2, max_size=2, timeout_s=10) as pool, pool.connection() as holder:
        holder.execute("LOCK TABLE lane_lease")
        with pool.connection() as waiting:
            with pytest.raises(psycopg.errors.LockNotAvailable):
                waiting.execute("SELECT count(*) FROM lane_lease")
            waiting.rollback()
            assert waiting.execute("SELECT 1").fetchone() == (1,)


def test_a_transaction_its_owner_forgot_gives_its_locks_back(dsn: str) -> None:
    forgetful = make_conninfo(dsn, options="-c idle_in_transaction_session_timeout=200ms")
    with open_pool(forgetful, min_size=2, max_size=2, timeout_s=10) as pool:
        with pool.connection() as forgotten, pool.connection() as other:
            forgotten.execute("LOCK TABLE lane_lease")
            pid = {"pid": forgotten.info.backend_pid}
            other.autocommit = True
            wait_until(
                lambda: other.execute("SELECT FROM pg_stat_activity WHERE pid = %(pid)s", pid).rowcount == 0
            )
            other.autocommit = False
            with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
                forgotten.execute("SELECT 1")
        with pool.connection() as conn:
            assert conn.execute("SELECT count(*) FROM lane_lease").fetchone() == (0,)
