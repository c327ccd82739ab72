"""What is measured adds up: distributions, live and replayed samples, commands and their answers."""

from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from charging.commands import Command, CommandKind, CommandState
from gateway.measures import (
    MAX_OPEN_COMMANDS,
    REPLAYED_AFTER_S,
    BatchSteps,
    BatchStory,
    CommandStory,
    Distribution,
    Measures,
)

NOW = datetime(2026, 6, 15, 10, 0, tzinfo=UTC)


class Told:
    """Keeps what a tracing system is told."""

    def __init__(self) -> None:
        self.batches: list[BatchStory] = []
        self.commands: list[CommandStory] = []

    def batch(self, story: BatchStory) -> None:
        self.batches.append(story)

    def command(self, story: CommandStory) -> None:
        self.commands.append(story)


def measures(*, speed: float = 1.0, told: Told | None = None) -> Measures:
    return Measures(clock=lambda: NOW, speed=speed, tracing=told)


def commit(measured: Measures, *ages_s: float) -> None:
    """One batch with dated samples of these ages by the clock."""
    steps = BatchSteps()
    steps.decoded_s = steps.written_s = steps.committed_s = steps.acknowledged_s = steps.began_s
    measured.committed(
        steps,
        frames=len(ages_s),
        first_received_at=NOW - timedelta(seconds=1),
        sampled_ms=[round((NOW.timestamp() - age_s) * 1000) for age_s in ages_s],
        repeated=0,
        refused=0,
    )


def command() -> Command:
    """A stop, asked for two seconds ago."""
    return Command(
        command_id=uuid4(),
        pile_id="YQ-01",
        session_id=None,
        kind=CommandKind.STOP,
        body={},
        state=CommandState.PENDING,
        created_at=NOW - timedelta(seconds=2),
        expires_at=NOW + timedelta(hours=1),
        send_count=0,
    )


@given(st.lists(st.floats(min_value=0, max_value=20)))
def test_many_values_at_once_count_like_each_by_itself(values: list[float]) -> None:
    single, many = Distribution((1.0, 2.5, 10.0)), Distribution((1.0, 2.5, 10.0))
    for one in values:
        single.add(one)
    many.add_sorted(sorted(values))
    assert many.counts == single.counts
    assert sum(many.counts) == len(values)
    assert abs(many.total - single.total) < 1e-6


def test_replayed_samples_are_kept_apart_from_live_ones() -> None:
    measured = measures()
    commit(measured, 0.2, 3.0, REPLAYED_AFTER_S + 1, 90_000.0)
    assert sum(measured.lag_s.counts) == 2
    assert sum(measured.replayed_age_s.counts) == 2
    assert measured.lag_s.counts[bisect_left(measured.lag_s.bounds, 3.0)] == 1


def test_lag_is_in_real_seconds_on_an_accelerated_clock() -> None:
    measured = measures(speed=1200.0)
    commit(measured, 1200.0)
    assert abs(measured.lag_s.total - 1.0) < 0.01
    assert sum(measured.replayed_age_s.counts) == 0


def test_a_pile_whose_clock_is_ahead_takes_nothing_off_a_sum() -> None:
    measured = measures()
    commit(measured, -5.0)
    assert measured.lag_s.counts[0] == 1
    assert measured.lag_s.total == 0.0


def test_an_answer_is_measured_once_from_its_request() -> None:
    told = Told()
    measured, sent = measures(told=told), command()
    measured.sending(sent)
    measured.sending(sent)
    for _ in range(2):
        measured.answered(sent.command_id, "stopped")
    measured.answered(uuid4(), "stopped")
    assert measured.outcomes == {("stop", "stopped"): 1}
    assert measured.answer_s["stop"].total == 2.0
    [story] = told.commands
    assert story.command_id == sent.command_id
    assert story.since_request_s == 2.0
    assert story.since_sending_s < 2.0


def test_commands_nobody_answers_do_not_pile_up() -> None:
    measured, first = measures(), command()
    measured.sending(first)
    for _ in range(MAX_OPEN_COMMANDS):
        measured.sending(command())
    measured.answered(first.command_id, "done")
    assert not measured.outcomes


def test_a_batch_is_told_with_how_long_its_first_frame_waited() -> None:
    told = Told()
    commit(measures(told=told), 1.0, 2.0)
    [story] = told.batches
    assert (story.frames, story.meter_frames) == (2, 2)
    assert 0.9 < story.waited_s <= 1.01
