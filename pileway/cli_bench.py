"""`pileway bench ...`: measure the platform on this machine.

What a command needs is imported when it runs, as in `pileway.cli`.
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pileway.cli_set_up import HomeOption, expected_failures, load_settings, set_up_logs

if TYPE_CHECKING:
    from pileway.settings import Settings

bench = typer.Typer(
    name="bench", help="Measure the platform on this machine, with parts of its own.", no_args_is_help=True
)

JsonOption = Annotated[bool, typer.Option("--json", help="The figures as one JSON object on the last line.")]

MOST_FRAMES = 500_000
"""Of `bench ingest`: the broker keeps a million messages for a client, and half is room enough."""


@bench.command("commands")
def bench_commands(
    rate: Annotated[
        list[int] | None,
        typer.Option(
            help="Commands a second; may be given again.", min=1, max=100_000, show_default="100, 1000"
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long each series takes.", min=0.1, max=3600)] = 10.0,
    piles: Annotated[int, typer.Option(help="Piles that answer.", min=1, max=1000)] = 128,
    lanes: Annotated[int, typer.Option(help="Lanes of the gateway: 1, 2, 4, ... 64.", min=1, max=64)] = 4,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """From a command's durable request to its committed answer, beside a bare MQTT round trip."""
    if 64 % lanes:
        raise typer.BadParameter("--lanes must divide the 64 shards")
    rates = rate or (100, 1000)
    if min(rates) * seconds < 1:
        raise typer.BadParameter("--rate and --seconds must make one command at least")
    with _measuring(home) as settings:
        from pileway.bench import commands as bench_module

        bench_module.run(
            settings,
            rates=rates,
            seconds=seconds,
            pile_count=piles,
            lane_count=lanes,
            as_json=as_json,
        )


@bench.command("frames")
def bench_frames(
    repeats: Annotated[int, typer.Option(help="Times each frame is read.", min=10, max=1_000_000)] = 1000,
    as_json: JsonOption = False,
) -> None:
    """What one frame costs to open, decode and check, genuine or hostile, beside its bare floor."""
    from pileway.bench import frames as bench_module

    bench_module.run(repeats=repeats, as_json=as_json)


@bench.command("ingest")
def bench_ingest(
    frames: Annotated[
        int, typer.Option(help="Frames waiting at the broker, each way.", min=1000, max=MOST_FRAMES)
    ] = 60_000,
    piles: Annotated[int, typer.Option(help="Piles that send.", min=1, max=5000)] = 200,
    ports: Annotated[int, typer.Option(help="Charging ports of each.", min=2, max=20)] = 10,
    seconds: Annotated[
        float, typer.Option(help="How long frames are timed at half load.", min=1, max=600)
    ] = 10.0,
    way: Annotated[
        list[str] | None,
        typer.Option(
            help="How the gateway reaches the broker; may be given again.", show_default="tls, plain"
        ),
    ] = None,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """From frames at the broker to committed samples, beside a bare subscriber and a bare COPY of the same."""
    ways = list(dict.fromkeys(way or ("tls", "plain")))
    if not {"tls", "plain"}.issuperset(ways):
        raise typer.BadParameter("--way is tls or plain")
    with _measuring(home) as settings:
        from pileway.bench import ingest as bench_module

        bench_module.run(
            settings,
            frames=frames,
            pile_count=piles,
            port_count=ports,
            seconds=seconds,
            ways=ways,
            as_json=as_json,
        )


@bench.command("survive")
def bench_survive(
    frames: Annotated[int, typer.Option(help="Frames to send.", min=1000, max=10_000_000)] = 1_000_000,
    kills: Annotated[int, typer.Option(help="How often each part is killed.", min=1, max=1000)] = 12,
    piles: Annotated[int, typer.Option(help="Piles that send.", min=1, max=1000)] = 100,
    rate: Annotated[float, typer.Option(help="Frames a second of all piles.", min=1, max=100_000)] = 2500.0,
    kept: Annotated[
        float,
        typer.Option(
            help="Seconds a pile keeps a frame that the broker took; 0 shows what a killed broker costs.",
            min=0,
            max=3600,
        ),
    ] = 15.0,
    seed: Annotated[int, typer.Option(help="The same seed kills the same parts at the same frames.")] = 1,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Kill gateways, broker and database while piles send; then compare what is stored with what was sent."""
    with _measuring(home) as settings:
        from pileway.bench import survive as bench_module

        bench_module.run(
            settings,
            frames=frames,
            kills=kills,
            pile_count=piles,
            per_s=rate,
            kept_s=kept,
            seed=seed,
            as_json=as_json,
        )


@bench.command("backlog")
def bench_backlog(
    piles: Annotated[int, typer.Option(help="Piles that come back.", min=1, max=5000)] = 1000,
    ports: Annotated[int, typer.Option(help="Charging ports of each.", min=2, max=20)] = 2,
    hours: Annotated[
        float, typer.Option(help="Hours without a link, all of them charging.", min=0.001, max=300)
    ] = 24.0,
    every: Annotated[
        int, typer.Option(help="Seconds between two frames of a pile, then and now.", min=1, max=3600)
    ] = 60,
    calm: Annotated[
        float, typer.Option(help="Seconds of live frames alone, before.", min=0, max=3600)
    ] = 60.0,
    outage_s: Annotated[
        float, typer.Option(help="Seconds the database is away in the middle of it.", min=0, max=86_400)
    ] = 0.0,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Many piles replay a day's frames at once, beside their frames of now; then compare what is stored."""
    with _measuring(home) as settings:
        from pileway.bench import backlog as bench_module

        bench_module.run(
            settings,
            pile_count=piles,
            port_count=ports,
            hours=hours,
            every_s=every,
            calm_s=calm,
            outage_s=outage_s,
            as_json=as_json,
        )


@bench.command("live")
def bench_live(
    sessions: Annotated[
        int, typer.Option(help="Watched sessions, in tens, each by a page of its own.", min=10, max=2000)
    ] = 1000,
    rounds: Annotated[int, typer.Option(help="Samples of each session.", min=1, max=1000)] = 10,
    every: Annotated[
        float, typer.Option(help="Seconds between the samples of a session.", min=1.5, max=3600)
    ] = 5.0,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """From a sample leaving its pile to the page that shows it, at many watched sessions."""
    if sessions % 10:
        raise typer.BadParameter("--sessions must be a multiple of 10")
    with _measuring(home) as settings:
        from pileway.bench import live as bench_module

        bench_module.run(settings, session_count=sessions, rounds=rounds, every_s=every, as_json=as_json)


@bench.command("growth")
def bench_growth(
    samples: Annotated[
        int, typer.Option(help="Samples the table is to hold, about.", min=1_000, max=10_000_000_000)
    ] = 100_000_000,
    database_url: Annotated[
        str | None,
        typer.Option(
            help="A server to measure on, in databases of its own that are dropped in the end.",
            show_default="a PostgreSQL of its own",
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Grow a database of this name there and keep it; one that was grown is only measured again.",
        ),
    ] = None,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """What a large table costs: writing into it beside an empty one, a session's curve, a site's day, its size."""
    if database_url is not None:
        _check_address(database_url)
    elif keep is not None:
        raise typer.BadParameter("--keep needs the server that keeps it: --database-url")
    with _measuring(home) as settings:
        from pileway.bench import growth as bench_module

        bench_module.run(settings, samples=samples, server_dsn=database_url, keep=keep, as_json=as_json)


@contextmanager
def _measuring(home: Path | None) -> Generator["Settings"]:
    """The settings, with few logs. Raises PilewayError for what may well happen outside of us."""
    settings = load_settings(home=home)
    set_up_logs("bench", quiet=True)
    with expected_failures():
        yield settings


def _check_address(database_url: str) -> None:
    """Raises typer.BadParameter, which does not repeat what may hold a password."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        conninfo_to_dict(database_url)
    except psycopg.ProgrammingError:
        raise typer.BadParameter("--database-url must be like postgresql://user@host:5432/name") from None
