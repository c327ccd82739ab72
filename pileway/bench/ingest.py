"""`pileway bench ingest`: how fast frames become durable samples, beside a bare subscriber and a bare COPY.

Everything runs on this machine and shares its processors: broker, database with fsync on, one gateway process, the
load. Frames wait at the broker in two equal persistent sessions; the bare subscriber empties one, the gateway the
other. Then the gateway is given half of what it reached, and every frame's way from leaving to commit is timed.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from pileway.bench import ingest_stage
from pileway.bench.figures import percentile_ms, progress_bar
from pileway.bench.ingest_stage import Measured
from pileway.settings import Settings

STEPS = 3
STEPS_A_WAY = 6


def run(
    settings: Settings,
    *,
    frames: int,
    pile_count: int,
    port_count: int,
    seconds: float,
    ways: Sequence[str],
    as_json: bool,
) -> None:
    """Measure each way to the broker ("tls", "plain") and print a table, with `as_json` one JSON object below it.

    Raises PilewayError.
    """
    with progress_bar() as progress:
        task = progress.add_task("starting", total=STEPS + STEPS_A_WAY * len(ways))

        def say(words: str) -> None:
            progress.update(task, description=words, advance=1)

        with ingest_stage.opened(settings, pile_count=pile_count, port_count=port_count, say=say) as stage:
            measured = {way: stage.measure(way, frames=frames, seconds=seconds, say=say) for way in ways}
            say("counting")
            stage.check()
    figures = {way: _figures(one, ports=port_count) for way, one in measured.items()}
    console = Console(highlight=False)
    console.print(_table(figures))
    console.print(_processes(figures))
    console.print(
        f"{frames} frames of {port_count} ports from {pile_count} piles a way, QoS 1, AES-256-GCM, fsync on,"
        f" {os.cpu_count()} processors"
    )
    if as_json:
        print(
            json.dumps({**figures[ways[0]], "ways": figures, "frames": frames, "processors": os.cpu_count()})
        )


def _figures(one: Measured, *, ports: int) -> dict[str, Any]:
    """By the names they have in JSON."""
    frames_per_s = one.frames / one.gateway_s
    subscriber_per_s = one.frames / one.subscriber_s
    copy_samples_per_s = one.frames * ports / one.copy_s
    return {
        "frames_per_s": round(frames_per_s),
        "samples_per_s": round(frames_per_s * ports),
        "subscriber_frames_per_s": round(subscriber_per_s),
        "copy_samples_per_s": round(copy_samples_per_s),
        "ratio_to_subscriber": round(frames_per_s / subscriber_per_s, 3),
        "ratio_to_copy": round(frames_per_s * ports / copy_samples_per_s, 3),
        "latency_ms_p50": percentile_ms(one.latencies_ns, 50),
        "latency_ms_p99": percentile_ms(one.latencies_ns, 99),
        "latency_at_frames_per_s": round(one.paced_per_s),
        "gateway_rss_mb": one.drain["gateway"]["rss_mb"],
        "processes": one.drain,
        "processes_at_half_load": one.paced,
    }


def _table(figures: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(title="Durable ingest beside its floors")
    table.add_column("")
    for way in figures:
        table.add_column(way, justify="right")
    for name, words in (
        ("frames_per_s", "gateway: durable frames/s"),
        ("subscriber_frames_per_s", "bare subscriber: frames/s"),
        ("ratio_to_subscriber", "of the bare subscriber"),
        ("samples_per_s", "gateway: durable samples/s"),
        ("copy_samples_per_s", "bare COPY: samples/s"),
        ("ratio_to_copy", "of the bare COPY"),
        ("latency_at_frames_per_s", "half load: frames/s"),
        ("latency_ms_p50", "leaving to commit p50, ms"),
        ("latency_ms_p99", "leaving to commit p99, ms"),
    ):
        table.add_row(words, *(f"{one[name]:,}" for one in figures.values()))
    return table


def _processes(figures: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(title="Processors (percent of one) and memory (MB)")
    for heading in ("", "part", "emptying: CPU", "memory", "half load: CPU", "memory"):
        table.add_column(heading, justify="right" if heading not in ("", "part") else "left")
    for way, one in figures.items():
        for part, cost in one["processes"].items():
            half = one["processes_at_half_load"][part]
            table.add_row(
                way, part, *(f"{each[name]:g}" for each in (cost, half) for name in ("cpu_percent", "rss_mb"))
            )
    return table
