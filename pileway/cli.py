"""The command line: one command to see everything run, and one for each process.

Expected failures are one clear line on stderr and exit code 1; a wrong argument or setting is exit code 2. What
a command needs is imported when it runs, so that `pileway --help` answers at once.
"""

import signal
import sys
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from pileway.cli_bench import bench
from pileway.cli_conformance import conformance
from pileway.cli_firmware import firmware
from pileway.cli_set_up import (
    HomeOption,
    PortOption,
    SpeedOption,
    expected_failures,
    load_settings,
    set_up_logs,
)
from pileway.errors import PilewayError, SettingsInvalid

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

app.add_typer(bench)
app.add_typer(conformance)
app.add_typer(firmware)


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
    settings = load_settings(
        home=home,
        host=host,
        port=port,
        payment_sim_port=payment_sim_port,
        device_port=device_port,
        clock_speed=speed,
    )
    from pileway import demo as demo_module

    set_up_logs("demo", settings=settings, to=settings.home / "log" / "demo.log")
    with expected_failures():
        raise typer.Exit(demo_module.run(settings, once=once, as_json=as_json, speed=speed))


@app.command()
def migrate(home: HomeOption = None) -> None:
    """Bring the database to this version's schema and say what was found."""
    settings = load_settings(home=home)
    from pileway import database_commands

    set_up_logs("migrate", quiet=True)
    with expected_failures():
        database_commands.migrate(settings)


@app.command()
def audit(home: HomeOption = None) -> None:
    """Recompute the whole ledger and say whether it balances; exit code 1 when it does not."""
    settings = load_settings(home=home)
    from pileway import database_commands

    set_up_logs("audit", quiet=True)
    with expected_failures():
        raise typer.Exit(0 if database_commands.audit(settings) else FAILED)


@app.command()
def gateway() -> None:
    """The process between broker and database."""
    settings = load_settings()
    from pileway import gateway_process

    set_up_logs("gateway", settings=settings)
    with expected_failures():
        gateway_process.run(settings)


@app.command()
def api(port: PortOption = None) -> None:
    """The web server: riders' pages, the operator's API, enrolment of piles."""
    settings = load_settings(port=port)
    from pileway import api as api_process

    set_up_logs("api", settings=settings)
    with expected_failures():
        api_process.run(settings)


@app.command()
def worker() -> None:
    """The process for jobs and deadlines: refunds, queries, sweeps."""
    settings = load_settings()
    from pileway import worker_process

    set_up_logs("worker", settings=settings)
    with expected_failures():
        worker_process.run(settings)


@app.command("payment-sim")
def payment_sim() -> None:
    """Simulated payment rails that speak the documented wire formats."""
    settings = load_settings()
    from pileway import payment_sim_process

    set_up_logs("payment-sim", settings=settings)
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
    settings = load_settings(home=home, clock_speed=speed)
    set_up_logs("sim", settings=settings, quiet=pile is not None)
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


def _say(text: str) -> None:
    """One failure, one block of text on stderr."""
    typer.secho(f"pileway: {text}", err=True, fg=typer.colors.RED if sys.stderr.isatty() else None)


def _usage_message(error: typer.TyperException) -> str:
    """Typer's own words with the option's name, which the public class does not promise."""
    words = getattr(error, "format_message", error.__str__)()
    return str(words).rstrip(".").replace("\n", " ")


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(_TERMINATED)
