"""What comes after its day was compressed: every new sample once, every report right."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from charging import backlog, meter, pile_clocks, session_curves, site_loads
from charging.meter_frames import MeterFrame
from charging.session_curves import SampleSpan
from charging.site_loads import LOCAL
from database import timescale as database_timescale
from database.pool import Connection
from tests import meter_frames

DAY = (
    (datetime.now(UTC) - timedelta(days=30))
    .astimezone(LOCAL)
    .replace(hour=9, minute=0, second=0, microsecond=0)
)
PILES = [f"late-{number}" for number in range(3)]
TABLES = ("meter_frame", "meter_sample")


def _frames(sessions: dict[str, UUID], *, count: int) -> Sequence[MeterFrame]:
    return [
        frame
        for pile_id in PILES
        for frame in meter_frames.steady(
            pile_id=pile_id, session_id=sessions[pile_id], since=DAY, count=count
        )
    ]


def _stored(conn: Connection, sessions: dict[str, UUID]) -> tuple[int, int, int]:
    row = conn.execute(
        """
        SELECT (SELECT count(*) FROM meter_frame WHERE pile_id = ANY(%(pile_ids)s)), count(*),
               count(DISTINCT (pile_id, port_no, sampled_at))
          FROM meter_sample WHERE pile_id = ANY(%(pile_ids)s)
        """,
        {"pile_ids": list(sessions)},
    ).fetchone()
    assert row is not None
    return row


def _compress(conn: Connection) -> None:
    for table in TABLES:
        while database_timescale.compress_next(conn, table, older_than=timedelta(days=7)):
            pass


def _refresh(conn: Connection) -> None:
    _run_jobs(conn, "policy_refresh_continuous_aggregate")


def _run_jobs(conn: Connection, kind: str) -> None:
    for (job_id,) in conn.execute(
        "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = %(kind)s ORDER BY job_id",
        {"kind": kind},
    ).fetchall():
        conn.execute("CALL run_job(%(job_id)s)", {"job_id": job_id})


@pytest.fixture
def sessions(timescale: Connection) -> dict[str, UUID]:
    """A session on each pile, sixty frames of each stored, compressed and told in the reports."""
    meter_frames.register(timescale, *PILES, site_id="late")
    sessions = {pile_id: uuid4() for pile_id in PILES}
    timescale.execute("DELETE FROM meter_sample WHERE pile_id = ANY(%(piles)s)", {"piles": PILES})
    timescale.execute("DELETE FROM meter_frame WHERE pile_id = ANY(%(piles)s)", {"piles": PILES})
    meter.write_batch(timescale, _frames(sessions, count=60), takes_copy=False)
    _compress(timescale)
    _refresh(timescale)
    return sessions


def test_a_replay_into_compressed_days_adds_what_is_new_and_nothing_twice(
    timescale: Connection, sessions: dict[str, UUID]
) -> None:
    assert _stored(timescale, sessions) == (180, 180, 180)
    again = meter.write_batch(timescale, _frames(sessions, count=80), takes_copy=False)
    assert (again.frames, again.samples) == (60, 60)
    once_more = meter.write_batch(timescale, _frames(sessions, count=80), takes_copy=False)
    assert (once_more.frames, once_more.samples) == (0, 0)
    assert _stored(timescale, sessions) == (240, 240, 240)


def test_a_curve_joins_what_was_compressed_with_what_came_late(
    timescale: Connection, sessions: dict[str, UUID]
) -> None:
    meter.write_batch(timescale, _frames(sessions, count=80), takes_copy=False)
    span = SampleSpan(sessions[PILES[0]], PILES[0], since=DAY, until=DAY + timedelta(hours=1))
    points = session_curves.curve(timescale, span, most_points=1_000)
    assert [point.elapsed_s for point in points] == list(range(0, 80 * 30, 30))


def test_a_curve_leaves_the_batches_of_other_sessions_closed(
    timescale: Connection, sessions: dict[str, UUID]
) -> None:
    _run_jobs(timescale, "policy_compression")
    span = SampleSpan(sessions[PILES[0]], PILES[0], since=DAY, until=DAY + timedelta(hours=1))
    plans = {
        session_id: "\n".join(
            line
            for (line,) in timescale.execute(
                """
                EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) SELECT energy_dwh FROM meter_sample
                 WHERE session_id = %(session_id)s AND pile_id = %(pile_id)s
                   AND sampled_at >= %(since)s AND sampled_at < %(until)s
                """,
                {**asdict(span), "session_id": session_id},
            )
        )
        for session_id in (span.session_id, uuid4())
    }
    own, strange = plans.values()
    assert "bloom" in own
    assert "Rows Removed by Filter: 1" not in own
    assert "Rows Removed by Filter: 1" in strange


def test_reports_of_a_compressed_day_count_late_samples_after_the_next_refresh(
    timescale: Connection, sessions: dict[str, UUID]
) -> None:
    before = site_loads.of_day(timescale, site_id="late", day=DAY.date()).whole
    assert before.busy_s == 3 * 60 * 30
    meter.write_batch(timescale, _frames(sessions, count=80), takes_copy=False)
    _refresh(timescale)
    by_hour = site_loads.of_day(timescale, site_id="late", day=DAY.date()).whole
    [by_day] = site_loads.of_days(
        timescale, site_id="late", first_day=DAY.date(), last_day=DAY.date(), now=datetime.now(UTC)
    )
    assert (by_hour.busy_s, by_hour.energy_dws) == (3 * 80 * 30, 3 * 80 * 30 * 2_400)
    assert by_day == by_hour


def test_frames_of_now_and_of_long_ago_leave_the_days_between_alone(
    timescale: Connection, sessions: dict[str, UUID]
) -> None:
    now = datetime.now(UTC)
    late = [frame._replace(received_at=now) for frame in _frames(sessions, count=80)]
    live = [
        frame._replace(pile_id=PILES[0], sampled_at=now - age, received_at=now)
        for frame, age in zip(late, (timedelta(hours=5), timedelta(hours=1), timedelta(0)), strict=False)
    ]
    older, of_now = backlog.apart([*live, *late])
    for part in (*older, of_now):
        with timescale.transaction():
            meter.write_batch(timescale, part, takes_copy=False)
    stale = timescale.execute(
        """
        SELECT _timescaledb_functions.to_timestamp(lowest_modified_value),
               _timescaledb_functions.to_timestamp(greatest_modified_value)
          FROM _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log
         WHERE hypertable_id = (SELECT id FROM _timescaledb_catalog.hypertable WHERE table_name = 'meter_sample')
        """
    ).fetchall()
    assert any(since.date() == DAY.date() for since, _ in stale)
    assert all(until - since < timedelta(days=1) for since, until in stale)


def test_a_compressed_day_with_late_samples_is_compressed_again(
    timescale: Connection, sessions: dict[str, UUID]
) -> None:
    meter.write_batch(timescale, _frames(sessions, count=80), takes_copy=False)
    _run_jobs(timescale, "policy_compression")
    assert _stored(timescale, sessions) == (240, 240, 240)
    again = meter.write_batch(timescale, _frames(sessions, count=80), takes_copy=False)
    assert again.frames == 0


def test_windows_reach_back_farther_than_what_is_believed_and_end_before_retention(
    timescale: Connection,
) -> None:
    starts = timescale.execute(
        """
        SELECT (config ->> 'start_offset')::interval FROM timescaledb_information.jobs
         WHERE proc_name = 'policy_refresh_continuous_aggregate'
        """
    ).fetchall()
    kept = timescale.execute(
        """
        SELECT now() - (now() - (config ->> 'drop_after')::interval) FROM timescaledb_information.jobs
         WHERE proc_name = 'policy_retention' AND hypertable_name = 'meter_sample'
        """
    ).fetchall()
    assert len(starts) == 3
    assert all(pile_clocks.OLDEST < start < kept[0][0] for (start,) in starts)


def test_port_hours_pile_days_and_site_days_are_aggregates_that_agree(
    timescale: Connection, sessions: dict[str, UUID]
) -> None:
    views = timescale.execute(
        "SELECT view_name FROM timescaledb_information.continuous_aggregates ORDER BY view_name"
    ).fetchall()
    assert [name for (name,) in views] == ["pile_load_day", "port_load_hour", "site_load_day"]
    told = timescale.execute(
        """
        SELECT (SELECT (sum(energy_dws), sum(samples))::text FROM port_load_hour WHERE site_id = 'late'),
               (SELECT (sum(energy_dws), sum(samples))::text FROM pile_load_day WHERE site_id = 'late'),
               (SELECT (sum(energy_dws), sum(samples))::text FROM site_load_day WHERE site_id = 'late')
        """
    ).fetchone()
    assert told == (f"({180 * 30 * 2_400},180)",) * 3
