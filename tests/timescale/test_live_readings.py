"""The newest reading is the newest sample, in whichever day's chunk that lies."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from charging import live_readings, meter
from database.pool import Connection
from tests import charging_sessions, meter_frames

EVENING = datetime(2026, 5, 4, 22, tzinfo=UTC)
PILE = "over-midnight"


def test_the_newest_readings_are_found_on_both_sides_of_midnight(timescale: Connection) -> None:
    """One session ends before the chunk does, one goes on in the next, and one has not been sampled."""
    sessions = [charging_sessions.charging(uuid4(), pile_id=PILE, since=EVENING) for _ in range(3)]
    meter_frames.register(timescale, PILE)
    last: list[datetime] = []
    for session, count, port_no in zip(sessions, (60, 400), (1, 2), strict=False):
        frames = meter_frames.steady(
            pile_id=PILE,
            session_id=session.session_id,
            since=EVENING + timedelta(seconds=port_no),
            count=count,
            port_no=port_no,
        )
        with timescale.transaction():
            meter.write_batch(timescale, frames, takes_copy=False)
        last.append(frames[-1].sampled_at)
    assert last[0].date() < last[1].date()
    readings = live_readings.newest(timescale, sessions)
    assert {session_id: reading.sampled_at for session_id, reading in readings.items()} == {
        session.session_id: at for session, at in zip(sessions, last, strict=False)
    }
