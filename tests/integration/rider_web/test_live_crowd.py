"""A thousand riders on a thousand sessions: one batch reaches them all, and no session is loaded for it."""

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

import pytest
from psycopg_pool import ConnectionPool

from charging import meter
from database.pool import Connection
from pileway import street
from rider_web.live_hub import LiveHub, Subscription
from rider_web.session_facts import FactsReader, SessionFacts
from tests.integration.rider_web.street_stand import NOON, PORTS
from tests.meter_frames import steady

PILES = 100
CROWD = PILES * PORTS
LIMIT_S = 30.0

Place = tuple[str, int, UUID]


@dataclass
class Crowd:
    """A hub that counts what it loads, and sessions that charge, one on every port."""

    pool: ConnectionPool[Connection]
    places: Sequence[Place]
    hub: LiveHub[SessionFacts]
    loads: list[int] = field(default_factory=list[int])

    def batch(self, *, minutes: int) -> None:
        """What all piles measured so many minutes after noon, in one batch."""
        frames = [
            steady(pile_id=pile_id, session_id=session_id, since=NOON, count=2, port_no=port_no,
                   every=timedelta(minutes=minutes))[1]
            for pile_id, port_no, session_id in self.places
        ]  # fmt: skip
        by_pile = [frames[first : first + PORTS] for first in range(0, CROWD, PORTS)]
        merged = [
            ports[0]._replace(samples=[sample for frame in ports for sample in frame.samples])
            for ports in by_pile
        ]
        with self.pool.connection() as conn:
            meter.write_batch(conn, merged)


@pytest.fixture
def crowd(dsn: str, pool: ConnectionPool[Connection]) -> Generator[Crowd]:
    names = [f"CROWD-{number:03}" for number in range(PILES)]
    site = replace(street.STREET[0], piles=dict.fromkeys(names, PORTS))
    with pool.connection() as conn:
        street.lay_out(conn, sites=[site], now=NOON - timedelta(days=1))
        places: list[Place] = conn.execute(
            """
            INSERT INTO charging_session (session_id, pile_id, port_no, site_id, state, prepaid_fen, tariff_version_id,
                                          agreement_version_id, limit_s, limit_dwh, created_at, paid_at, started_at)
            SELECT gen_random_uuid(), pile_id, port_no, %(site_id)s, 'charging', 300,
                   (SELECT max(tariff_version_id) FROM tariff_version WHERE site_id = %(site_id)s),
                   (SELECT max(agreement_version_id) FROM agreement_version WHERE site_id = %(site_id)s),
                   36000, 20000, %(noon)s, %(noon)s, %(noon)s
              FROM pile_port ORDER BY pile_id, port_no
            RETURNING pile_id, port_no, session_id
            """,
            {"site_id": site.site_id, "noon": NOON},
        ).fetchall()
    with counting_hub(dsn, pool, places) as crowd:
        yield crowd


@contextmanager
def counting_hub(dsn: str, pool: ConnectionPool[Connection], places: Sequence[Place]) -> Generator[Crowd]:
    facts = FactsReader(pool)
    loads: list[int] = []

    def load(session_ids: Sequence[UUID]) -> dict[UUID, SessionFacts]:
        loads.append(len(session_ids))
        return facts.read(session_ids)

    with LiveHub(dsn, load) as hub:
        yield Crowd(pool, places, hub, loads)


def test_a_batch_reaches_a_thousand_watchers_without_a_load(crowd: Crowd) -> None:
    async def watch() -> None:
        loop = asyncio.get_running_loop()
        watchers = [crowd.hub.subscribe(session_id, loop) for _, _, session_id in crowd.places]
        first = await heard(watchers)
        assert {facts.watched.reading for facts in first} == {None}
        loads = sum(crowd.loads)
        for minutes in (1, 25):
            await asyncio.to_thread(crowd.batch, minutes=minutes)
            told = await heard(watchers)
            assert [facts.watched.session.session_id for facts in told] == [
                session_id for _, _, session_id in crowd.places
            ]
            assert {facts.watched.elapsed_s for facts in told} == {60 * minutes}
            assert all(sum(facts.fees_fen.values()) > 0 for facts in told) == (minutes == 25)
        assert (loads, sum(crowd.loads)) == (CROWD, CROWD)
        loaded = FactsReader(crowd.pool).read([session_id for _, _, session_id in crowd.places])
        assert {facts.watched.session.session_id: facts for facts in told} == loaded

    asyncio.run(watch())


async def heard(watchers: Sequence[Subscription[SessionFacts]]) -> list[SessionFacts]:
    """What each hears next."""
    found = await asyncio.gather(*(watcher.next(timeout_s=LIMIT_S) for watcher in watchers))
    return [facts for facts in found if facts is not None]
