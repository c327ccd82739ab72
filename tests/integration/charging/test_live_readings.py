"""What a batch tells: readings of watched sessions, many in one notification, and nothing of any other."""

from collections.abc import Generator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import psycopg
import pytest

from charging import live_readings, meter, session_curves, sessions
from charging.live_readings import CHANGES, READINGS, Reading
from charging.session_states import BEFORE_CHARGE, SessionState
from database.pool import Connection
from tests.integration.charging.stand import PILE, Stand
from tests.meter_frames import steady

OTHER_PILE = "YQ-02"
EVERY = timedelta(seconds=30)


class Ear:
    """Hears what is notified on both channels."""

    def __init__(self, dsn: str) -> None:
        self._conn: Connection = psycopg.connect(dsn, autocommit=True, connect_timeout=10)
        self._conn.execute("LISTEN session_live")
        self._conn.execute("LISTEN session_readings")

    def close(self) -> None:
        self._conn.close()

    def heard(self) -> list[tuple[str, str]]:
        """Everything up to now: what is committed was queued before the mark."""
        self._conn.execute("SELECT pg_notify('session_live', 'mark')")
        told: list[tuple[str, str]] = []
        for note in self._conn.notifies(timeout=20, stop_after=1):
            if note.payload == "mark":
                return told
            told.append((note.channel, note.payload))
        return told + self.heard()


@pytest.fixture
def ear(dsn: str) -> Generator[Ear]:
    ear = Ear(dsn)
    yield ear
    ear.close()


def write(stand: Stand, session_id: UUID, *, since: datetime, count: int = 1, pile_id: str = PILE) -> None:
    frames = steady(pile_id=pile_id, session_id=session_id, since=since, count=count + 1, every=EVERY)[1:]
    meter.write_batch(stand.conn, frames)
    stand.conn.commit()


def watch(stand: Stand, session_ids: Sequence[UUID], *, life_s: float = 60.0) -> None:
    live_readings.watch(stand.conn, session_ids, life_s=life_s)
    stand.conn.commit()


def watches(stand: Stand) -> set[UUID]:
    return {row[0] for row in stand.conn.execute("SELECT session_id FROM session_watch").fetchall()}


def version(stand: Stand, session_id: UUID) -> tuple[object, ...] | None:
    """Where the row is, and who wrote it: another one once it was rewritten."""
    return stand.conn.execute(
        "SELECT ctid::text, xmin::text FROM charging_session WHERE session_id = %s", (session_id,)
    ).fetchone()


def test_a_session_nobody_watches_is_neither_told_of_nor_rewritten(stand: Stand, ear: Ear) -> None:
    session = stand.charging()
    stand.conn.commit()
    ear.heard()
    before = version(stand, session.session_id)
    write(stand, session.session_id, since=stand.now, count=3)
    assert ear.heard() == []
    assert version(stand, session.session_id) == before


def test_watched_sessions_are_told_of_with_their_newest_reading_in_one_notification(
    stand: Stand, ear: Ear
) -> None:
    both = [stand.charging(port_no=port_no).session_id for port_no in (1, 2)]
    watch(stand, both)
    ear.heard()
    frames = [
        steady(pile_id=PILE, session_id=session_id, since=stand.now, count=4, every=EVERY, port_no=port_no)
        for port_no, session_id in enumerate(both, start=1)
    ]
    merged = [one._replace(samples=[*one.samples, *two.samples]) for one, two in zip(*frames, strict=True)]
    meter.write_batch(stand.conn, merged[1:])
    stand.conn.commit()
    [(channel, payload)] = ear.heard()
    assert channel == READINGS
    newest = merged[-1].samples[0]
    assert {reading.session_id: reading for reading in live_readings.unpack(payload)} == {
        session_id: Reading(
            session_id,
            merged[-1].sampled_at,
            newest.elapsed_s,
            newest.power_dw,
            newest.energy_dwh,
            newest.phase,
        )
        for session_id in both
    }


def test_samples_of_several_half_hours_at_once_only_tell_that_the_session_changed(
    stand: Stand, ear: Ear
) -> None:
    session = stand.charging()
    watch(stand, [session.session_id])
    ear.heard()
    write(stand, session.session_id, since=stand.now, count=70)
    assert ear.heard() == [(CHANGES, str(session.session_id))]


def test_samples_of_another_pile_tell_nothing_and_begin_nothing(stand: Stand, ear: Ear) -> None:
    session, starting = stand.charging(), stand.paid(port_no=2)
    watch(stand, [session.session_id, starting.session_id])
    ear.heard()
    for session_id in (session.session_id, starting.session_id):
        write(stand, session_id, since=stand.now, pile_id=OTHER_PILE)
    assert ear.heard() == []
    assert sessions.get(stand.conn, starting.session_id).state is starting.state
    assert live_readings.newest(stand.conn, [session]) == {}


@pytest.mark.parametrize("state", sorted(BEFORE_CHARGE))
def test_the_first_sample_begins_a_session_in_any_state_before_its_charge(
    stand: Stand, state: SessionState
) -> None:
    session = stand.paid()
    stand.conn.execute(
        "UPDATE charging_session SET state = %s, started_at = NULL WHERE session_id = %s",
        (state, session.session_id),
    )
    write(stand, session.session_id, since=stand.now)
    running = sessions.get(stand.conn, session.session_id)
    assert (running.state, running.started_at) == (SessionState.CHARGING, stand.now)


def test_a_session_that_fell_silent_keeps_its_newest_reading_while_others_of_its_pile_go_on(
    stand: Stand,
) -> None:
    silent, busy = stand.charging(port_no=1), stand.charging(port_no=2)
    many = 2 * session_curves.NEWEST_SAMPLES
    write(stand, silent.session_id, since=stand.now, count=2)
    write(stand, busy.session_id, since=stand.now + 5 * EVERY, count=many)
    found = live_readings.newest(stand.conn, [silent, busy])
    assert found[silent.session_id].sampled_at == stand.now + 2 * EVERY
    assert found[busy.session_id].sampled_at == stand.now + (5 + many) * EVERY


def test_a_lapsed_watch_counts_for_nothing_and_is_swept(stand: Stand, ear: Ear) -> None:
    lapsed, kept = stand.charging(port_no=1).session_id, stand.charging(port_no=2).session_id
    watch(stand, [lapsed], life_s=-60.0)
    ear.heard()
    write(stand, lapsed, since=stand.now)
    assert ear.heard() == []
    assert watches(stand) == {lapsed}
    watch(stand, [kept])
    assert watches(stand) == {kept}


def test_a_watch_is_never_shortened_by_another_watcher(stand: Stand, ear: Ear) -> None:
    session_id = stand.charging().session_id
    watch(stand, [session_id], life_s=60.0)
    watch(stand, [session_id], life_s=-60.0)
    ear.heard()
    write(stand, session_id, since=stand.now)
    assert [channel for channel, _ in ear.heard()] == [READINGS]
