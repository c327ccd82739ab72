"""`pileway bench survive`: are exactly the frames sent stored, while every part is killed and restarted?

Gateways (two, on one lane), broker and database are killed with SIGKILL at random points and restarted by their
supervisor, links break, frames leave out of order, twice, and again after each break. Then the database is compared
with what was sent, frame by frame. The same seed kills the same parts at the same frames; how far each part was at that
moment is the machine's affair.
"""

import json
import time
from collections import Counter
from dataclasses import asdict

from rich.console import Console
from rich.progress import MofNCompleteColumn
from rich.table import Table

from pileway.bench import survive_stage
from pileway.bench.figures import progress_bar
from pileway.bench.survive_check import Verdict
from pileway.bench.survive_piles import Told
from pileway.errors import PilewayError
from pileway.settings import Settings

REST_S = 1.0
"""After each kill, before the next: some strike while the parts still recover, most do not."""


class NotExact(PilewayError):
    """The database does not hold exactly what was sent."""


def run(
    settings: Settings,
    *,
    frames: int,
    kills: int,
    pile_count: int,
    per_s: float,
    kept_s: float,
    seed: int,
    as_json: bool,
) -> None:
    """Send, kill, compare and tell; with `as_json` one JSON object on the last line.

    Raises NotExact when anything is lost, doubled or changed, and other PilewayErrors.
    """
    schedule = survive_stage.plan(seed, frames=frames, kills=kills)
    begun_s = time.monotonic()
    with progress_bar(MofNCompleteColumn()) as progress:
        task = progress.add_task("starting", total=frames)

        def say(words: str) -> None:
            progress.update(task, description=words)

        def tick(told: Told) -> None:
            progress.update(task, completed=told.first)

        with survive_stage.opened(
            settings, frames=frames, pile_count=pile_count, per_s=per_s, kept_s=kept_s, seed=seed, say=say
        ) as stage:
            sending_s = time.monotonic()
            for number, kill in enumerate(schedule, start=1):
                say(f"{number - 1} of {len(schedule)} kills done; next {kill.part}")
                stage.wait(lambda told, kill=kill: told.first >= kill.at_frame, tick=tick)
                stage.kill(kill.part)
                time.sleep(REST_S)
            say("letting the piles finish")
            stage.wait_for_all()
            stage.wait(lambda told: not told.waiting, tick=tick)
            told = stage.told()
            say("waiting until all is stored")
            stage.wait_until_stored(tick=lambda stored: progress.update(task, completed=stored))
            stored_s = time.monotonic() - sending_s
            say("waiting for what was said again")
            stage.drain()
            say("comparing")
            verdict = stage.judged()
            restarts = stage.restarts()
    killed = dict(sorted(Counter(kill.part for kill in schedule).items()))
    report = _report(
        verdict, told, killed, restarts, seed=seed, seconds=time.monotonic() - begun_s, stored_s=stored_s
    )
    Console(highlight=False).print(_table(report, killed))
    if as_json:
        print(json.dumps(report))
    if not verdict.exact:
        raise NotExact(
            f"{verdict.missing} frames are missing, {verdict.strangers} were never sent or are there twice,"
            f" {verdict.different} differ"
        )


def _report(
    verdict: Verdict,
    told: Told,
    kills: dict[str, int],
    restarts: dict[str, int],
    *,
    seed: int,
    seconds: float,
    stored_s: float,
) -> dict[str, object]:
    """By the names it has in JSON."""
    return {
        "exact": verdict.exact,
        **asdict(verdict),
        "kills": kills,
        "restarts": restarts,
        "published": told.said,
        "said_again": told.again,
        "sent_twice": told.doubled,
        "taken_for_nobody": told.unheard,
        "links_lost": told.lost_links,
        "seed": seed,
        "seconds": round(seconds, 1),
        "seconds_to_stored": round(stored_s, 1),
    }


def _table(report: dict[str, object], kills: dict[str, int]) -> Table:
    table = Table(title="Sent, killed, compared")
    table.add_column("")
    table.add_column("", justify="right")
    for name, words in (
        ("sent", "frames sent"),
        ("stored", "frames stored"),
        ("samples", "samples stored"),
        ("missing", "frames missing"),
        ("strangers", "frames nobody sent, or twice"),
        ("different", "frames whose samples differ"),
        ("kills", "kills with SIGKILL"),
        ("published", "times a frame was published"),
        ("said_again", "of these again after a break"),
        ("sent_twice", "of these twice on purpose"),
        ("taken_for_nobody", "taken while nobody subscribed"),
        ("links_lost", "links of piles lost"),
        ("seconds", "seconds"),
        ("exact", "exactly what was sent is stored"),
    ):
        value = report[name]
        if name == "kills":
            shown = ", ".join(f"{part} {count}" for part, count in kills.items())
        elif isinstance(value, bool):
            shown = "yes" if value else "NO"
        else:
            shown = f"{value:,}"
        table.add_row(words, shown)
    return table
