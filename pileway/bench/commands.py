"""`pileway bench commands`: how long a durable command takes, beside a bare MQTT round trip on the same broker.

The clock of a command starts when business code, in the middle of its transaction, asks for the command; it stops when
the one who waits hears that the pile's answer is committed. The floor is a QoS 1 message down and one up between bare
clients, measured in the same run right before, while everything else is connected and idle.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from pileway.bench import commands_load, commands_stage
from pileway.bench.commands_load import CommandSeries, Series
from pileway.bench.figures import percentile_ms, progress_bar
from pileway.errors import PilewayError
from pileway.settings import Settings

SWITCH_INTERVAL_S = 0.0005
"""The load's threads hand over quickly: what waits for them must not be measured."""


class CommandsUnanswered(PilewayError):
    """Commands or echoes were lost, so that there is nothing to compare."""


@dataclass(frozen=True, kw_only=True)
class Rated:
    """Figures of one rate: milliseconds, and how many times the floor."""

    rate_per_s: int
    floor: Series
    commands: CommandSeries

    def figures(self) -> dict[str, float | int]:
        """By the names they have in JSON."""
        floor, asked = self.floor, self.commands
        floor_p50, floor_p99 = (
            percentile_ms(floor.round_trips_ns, 50),
            percentile_ms(floor.round_trips_ns, 99),
        )
        command_p50, command_p99 = (
            percentile_ms(asked.round_trips_ns, 50),
            percentile_ms(asked.round_trips_ns, 99),
        )
        return {
            "floor_ms_p50": floor_p50,
            "floor_ms_p99": floor_p99,
            "command_ms_p50": command_p50,
            "command_ms_p99": command_p99,
            "ratio_p50": round(command_p50 / floor_p50, 2),
            "ratio_p99": round(command_p99 / floor_p99, 2),
            "stored_ms_p50": percentile_ms(asked.stored_ns, 50),
            "sent_ms_p50": percentile_ms(asked.sent_ns, 50),
            "answered_ms_p50": percentile_ms(asked.answered_ns, 50),
            "asked": asked.asked,
            "answered": len(asked.round_trips_ns),
            "asked_per_s": round(asked.asked / asked.seconds, 1),
            "late_ms_p99": percentile_ms(asked.late_ns, 99),
        }


def run(
    settings: Settings,
    *,
    rates: Sequence[int],
    seconds: float,
    pile_count: int,
    lane_count: int,
    as_json: bool,
) -> None:
    """Measure every rate for so many seconds and print a table, with `as_json` one JSON object below it.

    Raises PilewayError.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with progress_bar() as progress:
        task = progress.add_task("starting", total=2 * seconds * len(rates))

        def say(words: str) -> None:
            progress.update(task, description=words)

        with commands_stage.open_stage(
            settings, pile_count=pile_count, lane_count=lane_count, progress=say
        ) as stage:
            measured: list[Rated] = []
            for place, rate in enumerate(rates):

                def tick(done_s: float, start_s: float = 2 * seconds * place) -> None:
                    progress.update(task, completed=start_s + min(done_s, seconds))

                def second_tick(done_s: float, start_s: float = 2 * seconds * place + seconds) -> None:
                    progress.update(task, completed=start_s + min(done_s, seconds))

                say(f"bare round trips at {rate}/s")
                floor = commands_load.bare_round_trips(stage.access, rate=rate, seconds=seconds, tick=tick)
                say(f"commands at {rate}/s")
                asked = commands_load.durable_commands(stage, rate=rate, seconds=seconds, tick=second_tick)
                measured.append(Rated(rate_per_s=rate, floor=floor, commands=asked))
            say("stopping")
    for rated in measured:
        if not rated.floor.round_trips_ns or not rated.commands.round_trips_ns:
            raise CommandsUnanswered(f"nothing was answered at {rated.rate_per_s}/s")
    console = Console(highlight=False)
    console.print(_table(measured))
    console.print(
        f"{pile_count} piles, {lane_count} lanes, {seconds:g} s a series, {os.cpu_count()} processors"
    )
    if as_json:
        print(json.dumps(_object(measured, seconds, pile_count, lane_count)))


def _object(measured: Sequence[Rated], seconds: float, pile_count: int, lane_count: int) -> dict[str, object]:
    return {
        "rates": {str(rated.rate_per_s): rated.figures() for rated in measured},
        "seconds": seconds,
        "piles": pile_count,
        "lanes": lane_count,
        "processors": os.cpu_count(),
    }


def _table(measured: Sequence[Rated]) -> Table:
    table = Table(title="Durable commands beside a bare MQTT round trip, in ms")
    table.add_column("per second", justify="right")
    table.add_column("")
    for heading in ("floor", "command", "ratio"):
        table.add_column(heading, justify="right")
    table.add_column("stored + sent + answered", justify="right")
    table.add_column("answered", justify="right")
    for rated in measured:
        figures = rated.figures()
        parts = " + ".join(f"{figures[f'{part}_ms_p50']:.2f}" for part in ("stored", "sent", "answered"))
        for quantile, rest in (
            ("p50", (parts, f"{figures['answered']} of {figures['asked']}")),
            ("p99", ("", f"{figures['asked_per_s']:g}/s")),
        ):
            table.add_row(
                str(rated.rate_per_s) if quantile == "p50" else "",
                quantile,
                f"{figures[f'floor_ms_{quantile}']:.2f}",
                f"{figures[f'command_ms_{quantile}']:.2f}",
                f"{figures[f'ratio_{quantile}']:.1f}",
                *rest,
            )
    return table
