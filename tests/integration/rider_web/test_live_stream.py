"""Live streams: the state now, every change, never more than one a second, and again after the database was away."""

import asyncio
import json
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from psycopg_pool import PoolTimeout

from charging.live_readings import Reading
from charging.session_states import SessionState
from rider_web import live_hub
from rider_web.live_hub import HubFull, LiveHub
from tests.integration.rider_web.street_stand import StreetStand
from tests.waiting import wait_until


class Stream:
    """Server-sent events as a browser reads them."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def next(self) -> dict[str, Any]:
        """The next session event."""
        for line in self._lines:
            if line.startswith("data: "):
                return json.loads(line.removeprefix("data: "))
        raise AssertionError("the stream ended")

    def until(self, phase: str) -> dict[str, Any]:
        """Read on until a phase; the client's read timeout bounds the wait."""
        while (event := self.next())["phase"] != phase:
            pass
        return event


@contextmanager
def watching(stand: StreetStand, session_id: UUID, **query: str) -> Generator[Stream]:
    address = f"/api/rider/sessions/{session_id}/live"
    with stand.http.stream("GET", address, params=query) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Stream(response)


def test_a_watcher_hears_the_present_state_and_then_each_phase(stand: StreetStand) -> None:
    session_id = stand.order()
    with watching(stand, session_id, lang="en") as stream:
        assert stream.next()["headline"] == "Waiting for your payment"
        stand.pay(session_id)
        assert stream.until("starting")["headline"] == "Starting"
        stand.accept(session_id)
        stand.power_flows(session_id)
        stand.meter(session_id, power_w=200, minutes=30)
        charging = stream.until("charging")
        while charging["energy_wh"] == 0:
            charging = stream.next()
        assert (charging["power_w"], charging["shown"]["time"]) == (200.0, "0:30:00")
        stand.settle(session_id)
        assert stream.until("refunding")["headline"] == "Battery full"
    wait_until(lambda: stand.hub.subscriber_count == 0, what="the hub to forget the reader")


def test_a_session_is_told_at_most_once_a_second(stand: StreetStand) -> None:
    session_id = stand.charging()
    with watching(stand, session_id) as stream:
        stream.next()
        begin = time.monotonic()
        for _ in range(30):
            stand.meter(session_id)
        last = stand.view(session_id)["energy_wh"]
        events = 1
        while stream.next()["energy_wh"] < last:
            events += 1
        assert events <= 2 + (time.monotonic() - begin) / live_hub.LEAST_INTERVAL_S


def test_watchers_hear_a_change_made_while_the_database_was_away(stand: StreetStand) -> None:
    session_id = stand.charging()
    with watching(stand, session_id) as stream:
        stream.next()
        cut_listener(stand)
        stand.meter(session_id, minutes=3)
        event = stream.next()
        while event["energy_wh"] == 0:
            event = stream.next()
        assert event["energy_wh"] == 9.0
        cut_listener(stand)
        stand.settle(session_id)
        stream.until("refunding")


def test_a_session_nobody_may_watch_any_more_is_polled(
    stand: StreetStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = stand.order()
    monkeypatch.setattr(live_hub, "MAX_SUBSCRIBERS", 1)
    with watching(stand, session_id) as stream:
        stream.next()
        refused = stand.http.get(f"/api/rider/sessions/{session_id}/live")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "live_full")
        assert refused.headers["retry-after"]
        assert stand.view(session_id)["state"] == SessionState.CREATED


def test_a_load_that_gets_no_connection_is_tried_again_and_the_listener_stays(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_hub, "RELOAD_PAUSE_S", 0.1)
    listeners: list[list[int]] = []

    def load(session_ids: Sequence[UUID]) -> dict[UUID, Still]:
        listeners.append(listening(dsn))
        if len(listeners) == 1:
            raise PoolTimeout("the pool is busy")
        return dict.fromkeys(session_ids, Still())

    async def watch() -> Still | None:
        with LiveHub(dsn, load) as hub:
            return await hub.subscribe(uuid4(), asyncio.get_running_loop()).next(timeout_s=20)

    assert asyncio.run(watch()) == Still()
    assert len(listeners) == 2
    assert listeners[0] == listeners[1] != [], "the same connection listens"


@dataclass(frozen=True)
class Still:
    """A state that no reading changes."""

    def with_readings(self, _readings: Iterable[Reading], /) -> "Still":
        return self


def listening(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as conn:
        return [
            pid
            for (pid,) in conn.execute(
                """
                SELECT pid FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = 'pileway live hub'
                """
            )
        ]


def test_one_session_takes_a_bounded_number_of_watchers(stand: StreetStand) -> None:
    async def crowd() -> None:
        loop, session_id = asyncio.get_running_loop(), uuid4()
        watchers = [
            stand.hub.subscribe(session_id, loop) for _ in range(live_hub.MAX_SUBSCRIBERS_PER_SESSION)
        ]
        with pytest.raises(HubFull):
            stand.hub.subscribe(session_id, loop)
        stand.hub.unsubscribe(watchers[0])
        stand.hub.unsubscribe(watchers[0])
        stand.hub.subscribe(session_id, loop)

    asyncio.run(crowd())


def test_closing_the_hub_ends_every_stream(stand: StreetStand) -> None:
    session_id = stand.order()
    with watching(stand, session_id) as stream:
        stream.next()
        stand.hub.close()
        with pytest.raises(AssertionError, match="the stream ended"):
            stream.next()
    refused = stand.http.get(f"/api/rider/sessions/{session_id}/live")
    assert refused.status_code == 429


def cut_listener(stand: StreetStand) -> None:
    """Kill the hub's connection as a failing server would, and make sure that it is gone."""
    with psycopg.connect(stand.dsn, autocommit=True) as conn:
        killed = conn.execute(
            """
            SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE application_name = 'pileway live hub' AND datname = current_database()
            """
        ).fetchone()
    assert killed == (1,)
