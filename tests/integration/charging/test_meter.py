"""Meter frames: stored once whatever comes twice, by COPY and by INSERT alike."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from charging import events, meter, piles, session_curves
from charging.events import EventKind
from charging.meter_frames import MeterFrame, PortSample
from charging.piles import Telemetry
from charging.session_curves import SampleSpan
from database.pool import Connection
from tests.meter_frames import in_a_block

START = datetime(2026, 3, 1, 12, 10, tzinfo=UTC)
SESSIONS = [uuid4() for _ in range(3)]
SPAN = SampleSpan(SESSIONS[0], "P1", since=START, until=START + timedelta(hours=12))


def sample(session_id: UUID, *, elapsed_s: int, energy_dwh: int) -> PortSample:
    return PortSample(
        session_id=session_id,
        port_no=1,
        elapsed_s=elapsed_s,
        voltage_dv=2204,
        current_ma=1500,
        power_dw=1800,
        power_min_dw=1700,
        power_max_dw=1900,
        power_mean_dw=1800,
        power_factor_milli=560,
        energy_dwh=energy_dwh,
        temperature_dc=312,
        phase=0,
        window_s=30,
    )


def frame(pile_id: str, elapsed_s: int) -> MeterFrame:
    return MeterFrame(
        pile_id=pile_id,
        sampled_at=START + timedelta(seconds=elapsed_s),
        received_at=START + timedelta(seconds=elapsed_s + 1),
        samples=[
            sample(session, elapsed_s=elapsed_s, energy_dwh=elapsed_s * 1800 // 3600) for session in SESSIONS
        ],
    )


def stored(conn: Connection) -> tuple[int, int, int]:
    row = conn.execute(
        """
        SELECT (SELECT count(*) FROM meter_frame), count(*), count(DISTINCT (pile_id, port_no, sampled_at, session_id))
          FROM meter_sample
        """
    ).fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize("takes_copy", [True, False])
def test_frames_sent_twice_in_any_batches_are_stored_once(conn: Connection, takes_copy: bool) -> None:
    frames = [frame(pile_id, elapsed_s) for pile_id in ("P1", "P2") for elapsed_s in range(0, 300, 30)]
    first = meter.write_batch(conn, frames[:12], takes_copy=takes_copy)
    again = meter.write_batch(conn, frames[5:] + frames[10:], takes_copy=takes_copy)
    assert (first.frames, again.frames) == (12, 8)
    assert stored(conn) == (20, 60, 60)


def test_samples_in_columns_are_stored_as_others_are(conn: Connection) -> None:
    frames = [frame(pile_id, elapsed_s) for pile_id in ("P1", "P-22") for elapsed_s in range(0, 300, 30)]
    meter.write_batch(conn, in_a_block(frames)[:12])
    meter.write_batch(conn, [*in_a_block(frames)[5:], *in_a_block(frames)[10:]])
    rows = conn.execute("TABLE meter_sample").fetchall()
    conn.rollback()
    meter.write_batch(conn, frames)
    assert sorted(rows) == sorted(conn.execute("TABLE meter_sample").fetchall())
    assert len(rows) == 60


def test_of_two_frames_of_one_instant_in_a_batch_the_first_counts(conn: Connection) -> None:
    first, second = frame("P1", 60), frame("P1", 60)._replace(samples=frame("P1", 3600).samples)
    meter.write_batch(conn, [first, second])
    assert session_curves.highest_energy_dwh(conn, SPAN) == first.samples[0].energy_dwh


def test_copy_and_insert_store_the_same_rows(conn: Connection) -> None:
    meter.write_batch(conn, [frame("P1", 30)], takes_copy=True)
    copied = conn.execute("SELECT * FROM meter_sample ORDER BY session_id").fetchall()
    conn.rollback()
    meter.write_batch(conn, [frame("P1", 30)], takes_copy=False)
    assert conn.execute("SELECT * FROM meter_sample ORDER BY session_id").fetchall() == copied


def test_a_rolled_back_batch_leaves_its_frames_free_to_come_again(conn: Connection) -> None:
    with conn.transaction(force_rollback=True):
        meter.write_batch(conn, [frame("P1", 30)])
    assert meter.write_batch(conn, [frame("P1", 30)]).frames == 1


def test_a_long_curve_is_thinned_and_keeps_its_last_point(conn: Connection) -> None:
    meter.write_batch(conn, [frame("P1", elapsed_s) for elapsed_s in range(0, 30_000, 30)])
    points = session_curves.curve(conn, SPAN, most_points=100)
    assert len(points) <= 100
    assert points[-1].elapsed_s == 29_970
    assert points == sorted(points, key=lambda point: point.sampled_at)


def test_slots_end_on_the_half_hour(conn: Connection) -> None:
    meter.write_batch(conn, [frame("P1", elapsed_s) for elapsed_s in range(0, 3600, 30)])
    slots = session_curves.slots(conn, SPAN)
    assert [(slot.slot_at.hour, slot.slot_at.minute) for slot in slots] == [(12, 0), (12, 30), (13, 0)]
    assert slots[0].elapsed_s == 20 * 60 - 30
    assert session_curves.highest_energy_dwh(conn, SPAN) == slots[-1].energy_dwh


def test_a_span_holds_its_pile_and_its_hours_alone(conn: Connection) -> None:
    meter.write_batch(conn, [frame("P1", elapsed_s) for elapsed_s in range(0, 3600, 30)])
    meter.write_batch(conn, [frame("P2", 7200)])
    narrow = replace(SPAN, since=START + timedelta(minutes=10), until=START + timedelta(minutes=20))
    assert [point.elapsed_s for point in session_curves.curve(conn, narrow, most_points=100)] == list(
        range(600, 1200, 30)
    )
    assert session_curves.highest_energy_dwh(conn, narrow) == frame("P1", 1170).samples[0].energy_dwh
    assert session_curves.highest_energy_dwh(conn, replace(SPAN, pile_id="P3")) == 0


def test_the_slots_of_many_sessions_are_those_of_each(conn: Connection) -> None:
    meter.write_batch(conn, [frame("P1", elapsed_s) for elapsed_s in range(0, 3600, 30)])
    spans = [replace(SPAN, session_id=session_id) for session_id in (*SESSIONS[:2], uuid4())]
    spans[1] = replace(spans[1], until=START + timedelta(minutes=30))
    found = session_curves.slots_of_many(conn, spans)
    assert found == {span.session_id: session_curves.slots(conn, span) for span in spans[:2]}
    assert [len(slots) for slots in found.values()] != [3, 3]


UNBELIEVABLE = [START - timedelta(days=401), START + timedelta(days=365 * 200)]


def _days(conn: Connection) -> list[tuple[str, datetime]]:
    return conn.execute(
        """
        SELECT 'meter_frame', sampled_at FROM meter_frame
         UNION ALL SELECT 'meter_sample', sampled_at FROM meter_sample
         UNION ALL SELECT 'pile_telemetry', sampled_at FROM pile_telemetry
         UNION ALL SELECT 'pile_event', occurred_at FROM pile_event
        """
    ).fetchall()


@pytest.mark.parametrize("claim", UNBELIEVABLE)
def test_an_unbelievable_date_is_replaced_by_the_arrival_and_told_once_an_hour(
    conn: Connection, claim: datetime
) -> None:
    meter.write_batch(
        conn,
        [frame("P1", 30 * n)._replace(sampled_at=claim + timedelta(seconds=30 * n)) for n in range(3)],
    )
    telemetry = Telemetry(
        pile_id="P1",
        boot=1,
        connection=1,
        sampled_at=claim,
        signal_dbm=-70,
        board_temperature_dc=300,
        mains_dv=2300,
        power_dw=0,
        energy_wh=0,
        leakage_ma=0,
        unsent=0,
    )
    piles.heartbeat(conn, telemetry, now=START)
    events.record(conn, pile_id="P1", kind=EventKind.ALARM_RAISED, now=START, occurred_at=claim)
    assert stored(conn) == (3, 9, 9)
    assert all(abs(at - START) < timedelta(hours=1) for _, at in _days(conn))
    told = [event.kind for event in events.newest(conn, "P1", limit=10)]
    assert sorted(told) == [EventKind.ALARM_RAISED, EventKind.CLOCK_WRONG]
