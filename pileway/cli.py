"""The command line: one command to see everything run, and one for each process.

Expected failures are one clear line on stderr and exit code 1; a wrong argument or setting is exit code 2. What
a command needs is imported when it runs, so that `pileway --help` answers at once.
"""

import logging
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from pileway.cli_conformance import conformance
from pileway.errors import PilewayError, SettingsInvalid

if TYPE_CHECKING:
    from pileway.settings import Settings

FAILED = 1
MISUSED = 2
_INTERRUPTED = 130
_TERMINATED = 143

app = typer.Typer(
    name="pileway",
    help="Open platform for community e-bike charging.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="Folder of data, secrets and logs.", show_default=".pileway")
]
PortOption = Annotated[
    int | None, typer.Option(help="Port of the web server.", min=1, max=65_535, show_default="8080")
]
SpeedOption = Annotated[
    float | None,
    typer.Option(help="How many times faster than real time the clock runs.", min=0.1, max=10_000),
]


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGHUP, _terminate)
    try:
        code = app(standalone_mode=False)
    except typer.TyperException as error:
        _say(f"{_usage_message(error)} (see: pileway --help)")
        sys.exit(MISUSED)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(_INTERRUPTED)
    except SettingsInvalid as error:
        _say(str(error))
        sys.exit(MISUSED)
    except PilewayError as error:
        _say(str(error))
        sys.exit(FAILED)
    sys.exit(code if isinstance(code, int) else 0)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pileway {version('pileway')}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    _show_version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Open platform for community e-bike charging."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(MISUSED)


@app.command()
def demo(
    once: Annotated[
        bool, typer.Option("--once", help="One paid charge, its story to the fen, then exit.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --once: the result as one JSON object on the last line.")
    ] = False,
    speed: SpeedOption = None,
    home: HomeOption = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Address to listen on, this machine's own in the LAN to pay with a real phone.",
            show_default="127.0.0.1",
        ),
    ] = None,
    port: PortOption = None,
    payment_sim_port: Annotated[
        int | None,
        typer.Option(help="Port of the simulated payment rail.", min=1, max=65_535, show_default="8081"),
    ] = None,
    device_port: Annotated[
        int | None,
        typer.Option(help="Port of the broker for piles.", min=1, max=65_535, show_default="a free one"),
    ] = None,
) -> None:
    """Run the whole platform with a simulated street, until Ctrl-C."""
    if as_json and not once:
        raise typer.BadParameter("--json needs --once")
    settings = _settings(
        home=home,
        host=host,
        port=port,
        payment_sim_port=payment_sim_port,
        device_port=device_port,
        clock_speed=speed,
    )
    from pileway import demo as demo_module

    _set_up_logs("demo", to=settings.home / "log" / "demo.log")
    with _expected_failures():
        raise typer.Exit(demo_module.run(settings, once=once, as_json=as_json, speed=speed))


@app.command()
def migrate(home: HomeOption = None) -> None:
    """Bring the database to this version's schema and say what was found."""
    settings = _settings(home=home)
    from pileway import database_commands

    _set_up_logs("migrate", quiet=True)
    with _expected_failures():
        database_commands.migrate(settings)


@app.command()
def audit(home: HomeOption = None) -> None:
    """Recompute the whole ledger and say whether it balances; exit code 1 when it does not."""
    settings = _settings(home=home)
    from pileway import database_commands

    _set_up_logs("audit", quiet=True)
    with _expected_failures():
        raise typer.Exit(0 if database_commands.audit(settings) else FAILED)


@app.command()
def gateway() -> None:
    """The process between broker and database."""
    settings = _settings()
    from pileway import gateway_process

    _set_up_logs("gateway")
    with _expected_failures():
        gateway_process.run(settings)


@app.command()
def api(port: PortOption = None) -> None:
    """The web server: riders' pages, the operator's API, enrolment of piles."""
    settings = _settings(port=port)
    from pileway import api as api_process

    _set_up_logs("api")
    with _expected_failures():
        api_process.run(settings)


@app.command()
def worker() -> None:
    """The process for jobs and deadlines: refunds, queries, sweeps."""
    settings = _settings()
    from pileway import worker_process

    _set_up_logs("worker")
    with _expected_failures():
        worker_process.run(settings)


@app.command("payment-sim")
def payment_sim() -> None:
    """Simulated payment rails that speak the documented wire formats."""
    settings = _settings()
    from pileway import payment_sim_process

    _set_up_logs("payment-sim")
    payment_sim_process.run(settings)


@app.command()
def sim(
    fleet: Annotated[Path | None, typer.Option(help="File that describes the piles (JSON).")] = None,
    pile: Annotated[str | None, typer.Option(help="Instead of a file: one registered pile, by id.")] = None,
    claim_code: Annotated[
        str | None, typer.Option(help="Its one-time code; not needed once it is enrolled.")
    ] = None,
    ports: Annotated[int, typer.Option(help="How many ports it has, as registered.", min=2, max=20)] = 10,
    model: Annotated[str, typer.Option(help="Its model, as registered.")] = "PW-10",
    enrolment_url: Annotated[
        str | None, typer.Option(help="Where it enrols.", show_default="this installation")
    ] = None,
    enrolment_ca: Annotated[
        Path | None,
        typer.Option(help="Authority of that server (PEM).", show_default="this installation's"),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="Let this happen, to the first pile or the one named: NAME[@PILE][:parameter,...]; may be repeated."
        ),
    ] = None,
    faults_listed: Annotated[
        bool, typer.Option("--list-faults", help="Print the faults and what must come of them, and exit.")
    ] = False,
    speed: SpeedOption = None,
    home: HomeOption = None,
) -> None:
    """Simulated piles that charge simulated batteries, and what the street does to them; until Ctrl-C."""
    from pileway import sim_process

    if faults_listed:
        sim_process.list_faults()
        raise typer.Exit
    if (fleet is None) == (pile is None):
        raise typer.BadParameter("give either --fleet FILE or --pile ID")
    try:
        orders = sim_process.read_faults(fault or [])
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    settings = _settings(home=home, clock_speed=speed)
    _set_up_logs("sim", quiet=pile is not None)
    if fleet is not None:
        piles = sim_process.read_fleet(fleet)
    else:
        assert pile is not None, "one of the two was given"
        piles = sim_process.one_pile(
            settings,
            pile_id=pile,
            claim_code=claim_code,
            port_count=ports,
            model=model,
            enrolment_url=enrolment_url,
            enrolment_ca=enrolment_ca,
        )
    sim_process.run(settings, piles, orders, tells=pile is not None or bool(orders))


bench = typer.Typer(
    name="bench", help="Measure the platform on this machine, with parts of its own.", no_args_is_help=True
)
app.add_typer(bench)
app.add_typer(conformance)


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
    as_json: Annotated[
        bool, typer.Option("--json", help="The figures as one JSON object on the last line.")
    ] = False,
    home: HomeOption = None,
) -> None:
    """From a command's durable request to its committed answer, beside a bare MQTT round trip."""
    if 64 % lanes:
        raise typer.BadParameter("--lanes must divide the 64 shards")
    settings = _settings(home=home)
    from pileway import bench_commands as bench_module

    _set_up_logs("bench", quiet=True)
    with _expected_failures():
        bench_module.run(
            settings,
            rates=rate or (100, 1000),
            seconds=seconds,
            pile_count=piles,
            lane_count=lanes,
            as_json=as_json,
        )


@bench.command("frames")
def bench_frames(
    repeats: Annotated[int, typer.Option(help="Times each frame is read.", min=10, max=1_000_000)] = 1000,
    as_json: Annotated[
        bool, typer.Option("--json", help="The figures as one JSON object on the last line.")
    ] = False,
) -> None:
    """What one frame costs to open, decode and check, genuine or hostile, beside its bare floor."""
    from pileway import bench_frames as bench_module

    bench_module.run(repeats=repeats, as_json=as_json)


firmware = typer.Typer(name="firmware", help="Sign firmware for piles, as its maker.", no_args_is_help=True)
app.add_typer(firmware)

SigningKeyOption = Annotated[Path, typer.Option("--key", help="The maker's private key (Ed25519, PEM).")]


@firmware.command("keygen")
def firmware_keygen(key: SigningKeyOption) -> None:
    """Make a signing key, and beside it the public key for piles and platform."""
    from pileway import firmware_commands

    firmware_commands.keygen(key)


@firmware.command("sign")
def firmware_sign(
    image: Annotated[Path, typer.Argument(help="The file piles will install.")],
    model: Annotated[str, typer.Option(help="The model it is for.")],
    version: Annotated[str, typer.Option(help="Its version, such as 1.10.2.")],
    minimum_version: Annotated[str, typer.Option(help="The oldest version it may be installed over.")],
    key: SigningKeyOption,
    out: Annotated[
        Path | None, typer.Option(help="Where the manifest goes.", show_default="IMAGE.manifest.json")
    ] = None,
) -> None:
    """Write an image's manifest with its signature, ready to be uploaded beside it."""
    from pileway import firmware_commands

    firmware_commands.sign(
        image, model=model, version=version, minimum_version=minimum_version, key_path=key, out=out
    )


@contextmanager
def _expected_failures() -> Generator[None]:
    """Turn what may well happen outside of us into one line; everything else is a bug and shows its trace."""
    import psycopg
    from psycopg_pool import PoolTimeout

    from database.errors import DatabaseError
    from pileway.logs import clean_text

    try:
        yield
    except DatabaseError as error:
        raise PilewayError(str(error)) from None
    except psycopg.errors.UndefinedTable:
        raise PilewayError("the database has no tables yet; run: pileway migrate") from None
    except (psycopg.OperationalError, PoolTimeout) as error:
        first = clean_text(str(error)).strip().splitlines()[0]
        raise PilewayError(f"the database cannot be reached: {first}") from None


def _settings(**options: Any) -> "Settings":
    from pileway import settings

    return settings.load(**options)


def _set_up_logs(process: str, *, to: Path | None = None, quiet: bool = False) -> None:
    from pileway import logs

    logs.set_up(process, to=to, level=logging.WARNING if quiet else logging.INFO)


def _say(text: str) -> None:
    """One failure, one block of text on stderr."""
    typer.secho(f"pileway: {text}", err=True, fg=typer.colors.RED if sys.stderr.isatty() else None)


def _usage_message(error: typer.TyperException) -> str:
    """Typer's own words with the option's name, which the public class does not promise."""
    words = getattr(error, "format_message", error.__str__)()
    return str(words).rstrip(".").replace("\n", " ")


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(_TERMINATED)
