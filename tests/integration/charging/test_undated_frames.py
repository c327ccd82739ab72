"""Frames without a date: placed by their session's start, and stored once however often they are said."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from charging import backlog, cards, live_readings, meter, session_curves, sessions, starts
from charging.meter_frames import MeterFrame
from tests.integration.charging.code_stand import tell
from tests.integration.charging.stand import PILE, Stand, meter_for
from tests.meter_frames import steady

EVERY = timedelta(seconds=30)


def undated(
    session_id: UUID, *, count: int, received_at: datetime, pile_id: str = PILE
) -> Sequence[MeterFrame]:
    """Frames of every 30 s since the start that all arrive within a second."""
    began = datetime(1970, 1, 1, tzinfo=UTC)
    return [
        frame._replace(dated=False, received_at=received_at + number * timedelta(milliseconds=20))
        for number, frame in enumerate(
            steady(pile_id=pile_id, session_id=session_id, since=began, count=count + 1, every=EVERY)[1:]
        )
    ]


def instants(stand: Stand) -> list[datetime]:
    return [at for (at,) in stand.conn.execute("SELECT sampled_at FROM meter_frame ORDER BY 1").fetchall()]


def test_samples_of_a_pile_without_a_date_lie_where_their_session_has_them(stand: Stand) -> None:
    session = stand.charging()
    begun_at = stand.now
    stand.now = datetime(1970, 1, 1, 0, 5, tzinfo=UTC)
    meter_for(stand, session.session_id, minutes=2, power_dw=1800, received_at=begun_at, dated=False)
    points = session_curves.curve(stand.conn, session_curves.span_of(session), most_points=10)
    assert [point.sampled_at - begun_at for point in points] == [timedelta(minutes=1), timedelta(minutes=2)]
    running = sessions.get(stand.conn, session.session_id)
    assert live_readings.newest(stand.conn, [running])[session.session_id].sampled_at == points[-1].sampled_at


def test_samples_without_a_date_before_anything_is_known_lie_where_they_arrived(stand: Stand) -> None:
    session = stand.paid()
    arrived_at = stand.now
    stand.now = datetime(1970, 1, 1, 0, 5, tzinfo=UTC)
    meter_for(stand, session.session_id, minutes=1, power_dw=1800, received_at=arrived_at, dated=False)
    [point] = session_curves.curve(stand.conn, session_curves.span_of(session), most_points=10)
    assert point.sampled_at == arrived_at


def test_an_undated_frame_that_begins_its_session_is_stored_once_though_said_again(stand: Stand) -> None:
    session = stand.paid()
    said = undated(session.session_id, count=4, received_at=stand.now + timedelta(minutes=2))
    assert meter.write_batch(stand.conn, said).frames == 4
    begun_at = sessions.get(stand.conn, session.session_id).started_at
    assert begun_at is not None
    assert instants(stand) == [begun_at + number * EVERY for number in range(1, 5)]
    again = undated(session.session_id, count=5, received_at=stand.now + timedelta(minutes=2, seconds=30))
    assert meter.write_batch(stand.conn, again).frames == 1
    assert sessions.get(stand.conn, session.session_id).started_at == begun_at


def test_the_piles_word_for_the_start_moves_no_frame_that_came_before_it(stand: Stand) -> None:
    session = stand.paid()
    said = undated(session.session_id, count=2, received_at=stand.now + timedelta(minutes=1))
    meter.write_batch(stand.conn, said)
    [command] = stand.due()
    starts.started(
        stand.conn,
        pile_id=PILE,
        session_id=session.session_id,
        command_id=command.command_id,
        claimed_at=stand.now + timedelta(seconds=7),
        now=stand.now + timedelta(minutes=2),
    )
    assert meter.write_batch(stand.conn, said).frames == 0


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "of_another_pile"])
def test_of_a_session_without_a_start_the_first_arrival_counts(stand: Stand, known: bool) -> None:
    session_id = stand.paid().session_id if known else uuid4()
    said = undated(session_id, count=2, received_at=stand.now, pile_id="YQ-02")
    again = undated(session_id, count=3, received_at=stand.now + timedelta(seconds=30), pile_id="YQ-02")
    assert meter.write_batch(stand.conn, [*said, *again[:1]]).frames == 2
    assert meter.write_batch(stand.conn, again).frames == 1
    assert instants(stand) == [frame.received_at for frame in (*said, again[2])]


def test_a_frame_stored_before_its_session_by_card_was_told_of_is_not_stored_again(stand: Stand) -> None:
    cards.register(stand.conn, site_id="yuquan", number="04A1", label="17", now=stand.now)
    session_id = uuid4()
    said = undated(session_id, count=2, received_at=stand.now)
    meter.write_batch(stand.conn, said)
    assert tell(stand, session_id, source="card", number="04A1") == (session_id, True)
    again = undated(session_id, count=3, received_at=stand.now + timedelta(seconds=30))
    assert meter.write_batch(stand.conn, again).frames == 1
    assert instants(stand) == [*(frame.received_at for frame in said), stand.now + 3 * EVERY]


def test_a_batch_that_fails_after_its_older_days_stores_undated_frames_once(stand: Stand) -> None:
    session = stand.paid()
    said = undated(session.session_id, count=3, received_at=stand.now + timedelta(minutes=2))
    older = steady(pile_id="YQ-02", session_id=uuid4(), since=stand.now - timedelta(days=3), count=2)
    batch = [*said, *(frame._replace(received_at=stand.now) for frame in older)]
    for fails in (True, False):
        parts, others = backlog.apart(batch)
        for part in parts:
            meter.write_batch(stand.conn, part)
        with stand.conn.transaction(force_rollback=fails):
            meter.write_batch(stand.conn, others)
    assert len(instants(stand)) == 5
