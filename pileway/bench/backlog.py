"""`pileway bench backlog`: many piles replay the frames of hours without a link, beside the frames of now.

Every pile has a connection and says what it samples as it samples it. Then all of them say at once what they kept,
each pacing itself by receipts, with the database away in the middle if that is wanted. In the end the database is
compared with what was made, frame by frame. A live frame's lag is from its instant to its commit.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.progress import MofNCompleteColumn
from rich.table import Table

from pileway.bench import backlog_stage
from pileway.bench.backlog_gateway import Lag
from pileway.bench.backlog_piles import Replay, Told
from pileway.bench.backlog_stage import Stage
from pileway.bench.figures import percentile_ms, progress_bar
from pileway.bench.installations import Say
from pileway.bench.survive_check import Verdict
from pileway.errors import PilewayError
from pileway.settings import Settings

OUTAGE_AT = 4
"""The database goes when one frame in so many of the backlog is stored."""

Tick = Callable[[Told], None]


class NotExact(PilewayError):
    """The database does not hold exactly what the piles made, or frames were refused."""


@dataclass(frozen=True, kw_only=True)
class Story:
    """What was seen, times in monotonic seconds; without an outage it begins and ends with the replay's beginning."""

    calm_s: float
    replay_s: float
    away_s: float
    back_s: float
    drained_s: float
    lags: Sequence[Lag]
    backlog: int
    told: Told
    verdict: Verdict
    refused: int
    memory_mb: tuple[float, float]
    held_most: int
    dropped: int
    processors: dict[str, dict[str, float]]

    @property
    def caught_up_s(self) -> float:
        """When the last frame was stored that the outage made late; without an outage, when the replay began."""
        return max([self.back_s, *(lag.at_s for lag in self.lags if self._made_late(lag))])

    @property
    def calm_ns(self) -> list[int]:
        """Latencies of the live frames before the replay."""
        return self._latencies_ns(self.calm_s, self.replay_s)

    @property
    def replaying_ns(self) -> list[int]:
        """Of those during the replay, but for the outage and the time until it was caught up with."""
        before = self._latencies_ns(self.replay_s, self.away_s)
        return before + self._latencies_ns(self.caught_up_s, self.drained_s)

    def _latencies_ns(self, from_s: float, to_s: float) -> list[int]:
        return [
            int(lag.ms * 1e6)
            for lag in self.lags
            if from_s <= lag.sampled_s < to_s and not self._made_late(lag)
        ]

    def _made_late(self, lag: Lag) -> bool:
        """Whether it was sampled before the database was back, and not stored before that went."""
        return self.away_s < self.back_s and lag.sampled_s < self.back_s and lag.at_s >= self.away_s


def run(
    settings: Settings,
    *,
    pile_count: int,
    port_count: int,
    hours: float,
    every_s: int,
    calm_s: float,
    outage_s: float,
    as_json: bool,
) -> None:
    """Replay, compare and tell; with `as_json` one JSON object on the last line.

    Raises NotExact when anything is lost, doubled, changed or refused, and other PilewayErrors.
    """
    with progress_bar(MofNCompleteColumn()) as progress:
        task = progress.add_task("starting", total=None)

        def say(words: str) -> None:
            progress.update(task, description=words)

        with backlog_stage.opened(
            settings, pile_count=pile_count, port_count=port_count, hours=hours, every_s=every_s, say=say
        ) as stage:
            story = _played(
                stage,
                calm_s=calm_s,
                outage_s=outage_s,
                say=say,
                tick=lambda told: progress.update(
                    task, completed=told.receipted, total=told.receipted + told.waiting
                ),
            )
    report = _report(story, pile_count=pile_count, hours=hours, every_s=every_s, outage_s=outage_s)
    Console(highlight=False).print(_table(report))
    if as_json:
        print(json.dumps(report))
    if not story.verdict.exact or story.refused:
        raise NotExact(
            f"{story.verdict.missing} frames are missing, {story.verdict.strangers} were never made or are there"
            f" twice, {story.verdict.different} differ, {story.refused} were refused"
        )


def _played(stage: Stage, *, calm_s: float, outage_s: float, say: Say, tick: Tick) -> Story:
    say("live frames alone")
    calm_from_s = time.monotonic()
    stage.rest(calm_s)
    memory_before = stage.noted()
    before = stage.reading()
    say("replaying")
    replay_s = away_s = back_s = time.monotonic()
    backlog = stage.told(Replay()).waiting
    if outage_s:
        stage.drain(tick, until_receipted=backlog // OUTAGE_AT)
        say("the database is away")
        away_s = time.monotonic()
        stage.database_away(outage_s)
        back_s = time.monotonic()
        say("replaying")
    told = stage.drain(tick)
    drained_s = time.monotonic()
    processors = stage.reading().since(before)
    frames = stage.end()
    told = stage.drain(tick)
    stage.wait_until_stored(frames)
    say("comparing")
    noted = stage.noted()
    return Story(
        calm_s=calm_from_s,
        replay_s=replay_s,
        away_s=away_s,
        back_s=back_s,
        drained_s=drained_s,
        lags=[*memory_before.lags, *noted.lags],
        backlog=backlog,
        told=told,
        verdict=stage.judged(frames),
        refused=stage.refused(),
        memory_mb=(memory_before.peak_mb, noted.peak_mb),
        held_most=stage.broker.held_most,
        dropped=stage.broker.dropped,
        processors=processors,
    )


def _report(
    story: Story, *, pile_count: int, hours: float, every_s: int, outage_s: float
) -> dict[str, object]:
    """By the names it has in JSON."""
    taken_s = story.drained_s - story.replay_s
    calm, replaying = story.calm_ns, story.replaying_ns
    return {
        "exact": story.verdict.exact,
        **asdict(story.verdict),
        "refused": story.refused,
        "piles": pile_count,
        "hours": hours,
        "every_s": every_s,
        "outage_s": outage_s,
        "backlog_frames": story.backlog,
        "drain_s": round(taken_s, 1),
        "drained_after_outage_s": round(story.drained_s - story.back_s, 1) if outage_s else None,
        "live_again_after_s": round(story.caught_up_s - story.back_s, 1) if outage_s else None,
        "backlog_frames_per_s": round(story.backlog / (taken_s - (story.back_s - story.away_s)), 1),
        "published": story.told.said,
        "published_again": story.told.said - story.verdict.sent,
        "links_lost": story.told.lost_links,
        "live_per_s": round(pile_count / every_s, 1),
        "live_frames_before": len(calm),
        "live_frames_during": len(replaying),
        **{
            f"live_{when}_ms_{name}": percentile_ms(latencies, percent) if latencies else None
            for when, latencies in (("before", calm), ("during", replaying))
            for name, percent in (("p50", 50), ("p99", 99), ("max", 100))
        },
        "gateway_mb_before": round(story.memory_mb[0], 1),
        "gateway_mb_peak": round(story.memory_mb[1], 1),
        "broker_held_most": story.held_most,
        "broker_dropped": story.dropped,
        "processors": story.processors,
    }


_ROWS = (
    ("backlog_frames", "frames kept, of all piles"),
    ("drain_s", "seconds until they were stored"),
    ("backlog_frames_per_s", "frames/s while the database was there"),
    ("drained_after_outage_s", "seconds until so after the outage"),
    ("live_again_after_s", "seconds after the outage until its live frames were stored"),
    ("live_per_s", "live frames/s"),
    ("live_before_ms_p50", "live frame to commit before the replay, p50 in ms"),
    ("live_before_ms_p99", "p99"),
    ("live_before_ms_max", "most"),
    ("live_during_ms_p50", "during the replay, without the outage, p50 in ms"),
    ("live_during_ms_p99", "p99"),
    ("live_during_ms_max", "most"),
    ("gateway_mb_before", "gateway's memory before, MB"),
    ("gateway_mb_peak", "gateway's memory at most, MB"),
    ("broker_held_most", "messages the broker held at most"),
    ("broker_dropped", "messages the broker dropped"),
    ("published", "times a frame was published"),
    ("published_again", "of these again"),
    ("refused", "frames refused"),
    ("sent", "frames made"),
    ("stored", "frames stored"),
    ("missing", "frames missing"),
    ("strangers", "frames nobody made, or twice"),
    ("different", "frames whose samples differ"),
    ("exact", "exactly what was made is stored"),
)


def _table(report: dict[str, object]) -> Table:
    table = Table(
        title=f"{report['piles']} piles replay {report['hours']} h at {report['every_s']} s,"
        f" the database away for {report['outage_s']} s"
    )
    table.add_column("")
    table.add_column("", justify="right")
    for name, words in _ROWS:
        value = report[name]
        if isinstance(value, bool):
            table.add_row(words, "yes" if value else "NO")
        elif value is not None:
            table.add_row(words, f"{value:,}")
    return table
