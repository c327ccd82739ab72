"""`pileway bench live`: from a sample leaving its pile to the page that shows it, at many watched sessions.

Broker, database, gateway and API are processes of their own and share the machine's processors with the load and the
watchers: one connection of server-sent events each. The clock starts when a frame leaves and stops when the event with
its reading has arrived.
"""

import asyncio
import json
import os
import signal
import threading
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pileway import api, home, logs
from pileway.bench import (
    child_processes,
    installations,
    live_watchers,
    meter_fleet,
    publishing,
    served_gateway,
)
from pileway.bench.clients import Access
from pileway.bench.figures import percentile_ms
from pileway.bench.installations import Say
from pileway.bench.live_watchers import Watcher, until
from pileway.bench.meter_fleet import SAMPLE_S, Fleet
from pileway.bench.processors import Reading
from pileway.bench.publishing import GO, Publish, Published
from pileway.errors import PilewayError
from pileway.settings import Settings

PORT_COUNT = 10
READY_LIMIT_S = 120.0
GRACE_S = 15.0
GOAL_MS = 2000
WARM_UP_ROUNDS = 1

_LISTENER = """
listener {port} 127.0.0.1
allow_anonymous true
"""
"""For the load, which speaks for every pile; made for this run and gone with it."""


class WatchersDeaf(PilewayError):
    """Watchers did not hear of the first samples."""


@dataclass(frozen=True)
class Stage:
    """Parts that run, and the way of the load to the broker."""

    settings: Settings
    fleet: Fleet
    access: Access
    load: Pipe
    parts: dict[int, str]

    async def publish(self, numbers: range, *, per_s: float) -> Published:
        """Let the piles say these frames."""
        limit_s = GRACE_S + 2 * len(numbers) / per_s
        self.load.send(Publish(self.access, numbers, per_s))
        await asyncio.to_thread(child_processes.receive, self.load, "the load", limit_s=limit_s)
        self.load.send(GO)
        return await asyncio.to_thread(child_processes.receive, self.load, "the load", limit_s=limit_s)


@dataclass(frozen=True)
class Measured:
    """From when each sample was due to leave to its arrival, in ns, and what the parts cost."""

    latencies_ns: Sequence[int]
    processes: dict[str, dict[str, float]]


def run(settings: Settings, *, session_count: int, rounds: int, every_s: float, as_json: bool) -> None:
    """Watch so many sessions, each sampled every `every_s` seconds, and print a table, with `as_json` one JSON object.

    Raises PilewayError.
    """
    console = Console(stderr=True)
    with console.status("starting") as status, opened(settings, session_count, say=status.update) as stage:
        measured = asyncio.run(_measure(stage, rounds=rounds, every_s=every_s, say=status.update))
    figures = _figures(measured, session_count=session_count, every_s=every_s)
    Console(highlight=False).print(_table(figures))
    if as_json:
        print(json.dumps(figures))


@contextmanager
def opened(settings: Settings, session_count: int, *, say: Say) -> Generator[Stage]:
    """Run all of it in a folder beside the home and leave nothing behind. Raises PilewayError."""
    port = home.free_port()
    with ExitStack() as stack:
        running = stack.enter_context(
            installations.installed(settings, progress=say, broker_addition=_LISTENER.format(port=port))
        ).with_values(port=home.free_port(), enrolment_port=home.free_port())
        say("enrolling piles and opening sessions")
        # Sessions that go on now: their price is told with each reading.
        fleet = meter_fleet.enrolled(
            running, pile_count=-(-session_count // PORT_COUNT), port_count=PORT_COUNT, back=timedelta(0)
        )
        say("starting gateway, API and load")
        pipes: dict[str, Pipe] = {}
        for name, serve, arguments in (
            ("gateway", served_gateway.serve, (running,)),
            ("api", serve_api, (running,)),
            ("load", publishing.serve, (fleet,)),
        ):
            log_path = running.home / "log" / f"{name}.log"
            pipes[name] = stack.enter_context(child_processes.start(serve, *arguments, log_path))
        parts = {child_processes.receive(pipe, f"the {name}"): name for name, pipe in pipes.items()}
        access = replace(installations.gateway_access(running), broker_url=f"mqtt://127.0.0.1:{port}")
        yield Stage(running, fleet, access, pipes["load"], parts)


def serve_api(settings: Settings, log_path: Path, pipe: Pipe) -> None:
    """The API as its own process runs it, until the pipe closes. Says its process id first."""
    logs.set_up("api", to=log_path)

    def wait_for_end() -> None:
        try:
            pipe.recv()
        except EOFError:
            os.kill(os.getpid(), signal.SIGTERM)

    pipe.send(os.getpid())
    threading.Thread(target=wait_for_end, name="pipe", daemon=True).start()
    api.run(settings)


async def _measure(stage: Stage, *, rounds: int, every_s: float, say: Say) -> Measured:
    watchers = [Watcher(session_id) for pile in stage.fleet.piles for session_id in pile.session_ids]
    say(f"{len(watchers)} watchers connect")
    pile_count = len(stage.fleet.piles)
    async with live_watchers.watching(watchers, stage.settings.port):
        if not await until(lambda: all(watcher.heard for watcher in watchers), limit_s=READY_LIMIT_S):
            raise WatchersDeaf("not every watcher was connected")
        say("first samples")
        await _round_trip(stage, range(pile_count, (1 + WARM_UP_ROUNDS) * pile_count), watchers, every_s)
        say(f"{rounds} samples of each session")
        first = 1 + WARM_UP_ROUNDS
        numbers = range(first * pile_count, (first + rounds) * pile_count)
        before = Reading.of(stage.parts)
        due_ns = await _round_trip(stage, numbers, watchers, every_s)
        processes = Reading.of(stage.parts).since(before)
    by_session = {watcher.session_id: watcher for watcher in watchers}
    latencies_ns: list[int] = []
    for number, at_ns in zip(numbers, due_ns, strict=True):
        turn, place = divmod(number, pile_count)
        for session_id in stage.fleet.piles[place].session_ids:
            heard_ns = by_session[session_id].heard_ns(turn * SAMPLE_S)
            assert heard_ns is not None, "every watcher heard of the last round"
            latencies_ns.append(heard_ns - at_ns)
    return Measured(latencies_ns, processes)


async def _round_trip(stage: Stage, numbers: range, watchers: Sequence[Watcher], every_s: float) -> list[int]:
    """Publish whole rounds and wait until every watcher heard of the last; when each frame was due, in ns."""
    published = await stage.publish(numbers, per_s=len(stage.fleet.piles) / every_s)
    last_s = numbers[-1] // len(stage.fleet.piles) * SAMPLE_S
    if not await until(
        lambda: all(watcher.newest_s >= last_s for watcher in watchers), limit_s=READY_LIMIT_S
    ):
        deaf = sum(watcher.newest_s < last_s for watcher in watchers)
        raise WatchersDeaf(f"{deaf} of {len(watchers)} watchers did not hear of the newest samples")
    return list(published.due_ns.values())


def _figures(measured: Measured, *, session_count: int, every_s: float) -> dict[str, Any]:
    """By the names they have in JSON."""
    in_time = sum(latency_ns <= GOAL_MS * 1_000_000 for latency_ns in measured.latencies_ns)
    return {
        "watched_sessions": session_count,
        "samples_per_s": round(session_count / every_s, 1),
        "samples": len(measured.latencies_ns),
        "latency_ms_p50": percentile_ms(measured.latencies_ns, 50),
        "latency_ms_p99": percentile_ms(measured.latencies_ns, 99),
        "latency_ms_max": percentile_ms(measured.latencies_ns, 100),
        "within_2_s": round(in_time / len(measured.latencies_ns), 5),
        "processes": measured.processes,
        "processors": os.cpu_count(),
    }


def _table(figures: dict[str, Any]) -> Table:
    table = Table(title="From a sample to the page that shows it")
    table.add_column("")
    table.add_column("", justify="right")
    for name, words in (
        ("watched_sessions", "watched sessions, each by a page"),
        ("samples_per_s", "samples/s"),
        ("samples", "samples timed"),
        ("latency_ms_p50", "p50, ms"),
        ("latency_ms_p99", "p99, ms"),
        ("latency_ms_max", "longest, ms"),
        ("within_2_s", "share within 2 s"),
    ):
        table.add_row(words, f"{figures[name]:,}")
    for part, cost in figures["processes"].items():
        table.add_row(f"{part}: percent of a processor", f"{cost['cpu_percent']:g}")
    return table
