"""Claim codes work once and in time; down counters are never handed out twice."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from psycopg_pool import ConnectionPool

from charging import enrolment, piles, sites
from charging.enrolment import COUNTERS_PER_BOOT, SecretVault
from charging.errors import ClaimRefused, PileUnknown, SecretUnreadable
from database.pool import Connection

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
VAULT = SecretVault(b"k" * 32)


@pytest.fixture
def claimed(conn: Connection) -> str:
    """A claim code of pile P1, good for an hour."""
    sites.add(conn, site_id="yuquan", name="玉泉新村", address="北京", now=NOW)
    piles.register(conn, pile_id="P1", site_id="yuquan", model="m", port_count=2, power_limit_w=2000, now=NOW)
    code = enrolment.issue_claim_code(conn, pile_id="P1", expires_at=NOW + timedelta(hours=1), now=NOW)
    conn.commit()
    return code


def redeem(
    conn: Connection, code: str, *, pile_id: str = "P1", key: bytes = b"k" * 32, now: datetime = NOW
) -> None:
    enrolment.redeem_claim_code(conn, pile_id=pile_id, code=code, key_sha256=key, now=now)


def test_the_pile_that_used_a_code_may_ask_again_until_it_expires(conn: Connection, claimed: str) -> None:
    redeem(conn, claimed)
    redeem(conn, claimed)
    with pytest.raises(ClaimRefused):
        redeem(conn, claimed, now=NOW + timedelta(hours=1))


def test_a_code_works_once_however_it_is_typed(conn: Connection, claimed: str) -> None:
    redeem(conn, claimed.lower().replace("-", " "))
    with pytest.raises(ClaimRefused):
        redeem(conn, claimed, key=b"another key of 32 bytes exactly!")


def test_a_late_code_or_one_of_another_pile_is_refused(conn: Connection, claimed: str) -> None:
    with pytest.raises(ClaimRefused):
        redeem(conn, claimed, now=NOW + timedelta(hours=1))
    with pytest.raises(ClaimRefused):
        redeem(conn, claimed, pile_id="P2")


def test_the_database_never_sees_the_code_or_the_secret(conn: Connection, claimed: str) -> None:
    provision(conn)
    stored = conn.execute("SELECT code_sha256, wrapped_secret FROM pile_claim, pile_key").fetchone()
    assert stored is not None
    plain = claimed.replace("-", "").encode()
    assert all(plain not in value and b"s" * 32 not in value for value in stored)


def test_a_code_for_an_unknown_pile_is_refused(conn: Connection) -> None:
    with pytest.raises(PileUnknown):
        enrolment.issue_claim_code(conn, pile_id="P9", expires_at=NOW, now=NOW)


def provision(conn: Connection, *, vault: SecretVault = VAULT) -> int:
    return enrolment.provision(
        conn,
        vault,
        pile_id="P1",
        secret=b"s" * 32,
        certificate_serial=f"{datetime.now(UTC).timestamp()}",
        certificate_expires_at=NOW + timedelta(days=365),
        now=NOW,
    )


@pytest.mark.usefixtures("claimed")
def test_enrolling_again_opens_a_new_epoch(conn: Connection) -> None:
    assert [provision(conn), provision(conn)] == [1, 2]
    assert [known.epoch for known in enrolment.secrets_of(conn, VAULT, "P1")] == [2]


@pytest.mark.usefixtures("claimed")
def test_only_the_newest_secret_is_read_after_enrolling_anew(conn: Connection) -> None:
    provision(conn)
    other = SecretVault(b"o" * 32)
    with pytest.raises(SecretUnreadable):
        enrolment.secrets_of(conn, other, "P1")
    provision(conn, vault=other)
    assert [known.epoch for known in enrolment.secrets_of(conn, other, "P1")] == [2]


@pytest.mark.usefixtures("claimed")
def test_a_new_board_whose_boots_begin_again_is_heard(conn: Connection) -> None:
    provision(conn)
    piles.seen(conn, {"P1": (50, 9)}, now=NOW)
    provision(conn)
    assert not piles.get(conn, "P1").online
    piles.seen(conn, {"P1": (1, 1)}, now=NOW)
    assert piles.get(conn, "P1").online


@pytest.mark.usefixtures("claimed")
def test_counters_reserved_at_once_by_many_never_overlap(
    conn: Connection, pool: ConnectionPool[Connection]
) -> None:
    provision(conn)
    conn.commit()

    def reserve(_: int) -> list[tuple[int, int]]:
        with pool.connection() as own:
            block = enrolment.reserve_down_counters(own, pile_id="P1", epoch=1, count=10)
        return [(block.boot, seq) for seq in range(block.first_seq, block.end_seq)]

    with ThreadPoolExecutor(8) as threads:
        counters = [counter for block in threads.map(reserve, range(40)) for counter in block]
    assert len(counters) == len(set(counters)) == 400


@pytest.mark.usefixtures("claimed")
def test_used_up_sequence_numbers_go_on_in_the_next_boot(conn: Connection) -> None:
    provision(conn)
    conn.execute("UPDATE pile_key SET down_seq = %s", [COUNTERS_PER_BOOT - 5])
    last = enrolment.reserve_down_counters(conn, pile_id="P1", epoch=1, count=5)
    first = enrolment.reserve_down_counters(conn, pile_id="P1", epoch=1, count=5)
    assert (last.boot, last.end_seq) == (0, COUNTERS_PER_BOOT)
    assert (first.boot, first.first_seq) == (1, 0)
