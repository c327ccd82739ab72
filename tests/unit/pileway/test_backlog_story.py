"""Which live frames `pileway bench backlog` counts to the replay, and which to the outage in its middle."""

from pileway.bench.backlog import Story
from pileway.bench.backlog_gateway import Lag
from pileway.bench.backlog_piles import Told
from pileway.bench.survive_check import Verdict


def story(*sampled_and_stored: tuple[float, float], outage: bool = True) -> Story:
    """Calm from 0 s, a replay from 10 s to 100 s, the database away from 20 s to 30 s."""
    return Story(
        calm_s=0.0,
        replay_s=10.0,
        away_s=20.0 if outage else 10.0,
        back_s=30.0 if outage else 10.0,
        drained_s=100.0,
        lags=[Lag(stored_s, (stored_s - sampled_s) * 1000) for sampled_s, stored_s in sampled_and_stored],
        backlog=0,
        told=Told(),
        verdict=Verdict(sent=0, stored=0, samples=0, missing=0, strangers=0, different=0),
        refused=0,
        memory_mb=(0.0, 0.0),
        held_most=0,
        dropped=0,
        processors={},
    )


def seconds(latencies_ns: list[int]) -> list[float]:
    return [round(one / 1e9, 3) for one in latencies_ns]


def test_frames_before_the_outage_and_slow_ones_after_it_belong_to_the_replay() -> None:
    told = story((5, 6), (12, 13), (50, 57), (101, 102))
    assert seconds(told.calm_ns) == [1]
    assert seconds(told.replaying_ns) == [1, 7]
    assert told.caught_up_s == 30


def test_what_was_sampled_before_the_database_was_back_ends_the_outage_when_it_is_stored() -> None:
    told = story((19, 33), (25, 34), (32, 35), (40, 41))
    assert told.caught_up_s == 34
    assert seconds(told.replaying_ns) == [1]


def test_without_an_outage_the_whole_replay_counts() -> None:
    told = story((9, 12), (11, 19), (20, 21), outage=False)
    assert told.caught_up_s == 10
    assert seconds(told.replaying_ns) == [8, 1]
