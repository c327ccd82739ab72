"""`pileway conformance ...`: judge a pile or a platform by the protocol, and tell what came of it.

What a command needs is imported when it runs, as in `pileway.cli`.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from conformance.case import Case
    from conformance.report import Report, Result

conformance = typer.Typer(
    name="conformance",
    help="Hold a pile or a platform to the protocol, case by case. Exit code 1 when a case fails.",
    no_args_is_help=True,
)

CaseOption = Annotated[
    list[str] | None,
    typer.Option("--case", help="Only cases like this (boot.*); may be given again.", show_default="all"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="The report as one JSON object on the last line.")]
HtmlOption = Annotated[Path | None, typer.Option("--html", help="Write the report to this file, too.")]
ListOption = Annotated[bool, typer.Option("--list", help="Only list the cases.")]
OperatorOption = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=COMMAND for what an operator does or sees: revoke, quarantine, release, rotate_key, configure,"
        " locate, extend, code, card, clear, firmware, update, child; may be given again."
    ),
]
WithoutOption = Annotated[
    list[str] | None,
    typer.Option(
        help="What the other platform is without by its make: codes, cards, firmware, hosts; may be given again.",
        show_default="nothing",
    ),
]


@conformance.command("pile")
def pile(
    case: CaseOption = None,
    as_json: JsonOption = False,
    html: HtmlOption = None,
    only_list: ListOption = False,
    outside: Annotated[
        str | None,
        typer.Option(help="Id of a pile of yours that will connect.", show_default="simulated piles"),
    ] = None,
    host: Annotated[str, typer.Option(help="Address of this machine that your pile reaches.")] = "127.0.0.1",
    child: Annotated[
        list[str] | None,
        typer.Option("--child", help="Id of a pile behind yours; give two or more.", show_default="not told"),
    ] = None,
    no_children: Annotated[
        bool, typer.Option("--no-children", help="Your pile is not made to carry others; it is held to that.")
    ] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for your pile.", min=1, max=86_400)] = 600.0,
    longest: Annotated[
        float, typer.Option(help="Skip cases that take your pile longer, in seconds.", min=0, max=86_400)
    ] = 900.0,
    unattended: Annotated[
        bool, typer.Option("--unattended", help="Nobody is there: skip what needs a hand.")
    ] = False,
) -> None:
    """Judge a pile: simulated ones, made for each case, or one of yours that connects from outside."""
    from pileway import conformance_pile, logs
    from protocol.topics import is_pile_id

    logs.set_up("conformance", level=logging.CRITICAL)
    chosen = conformance_pile.every_case(case or ())
    if not chosen:
        raise typer.BadParameter("no case has such an id (see --list)", param_hint="--case")
    if only_list:
        list_cases(chosen)
        return
    if outside is None:
        report = conformance_pile.judge_simulator(chosen, progress=say_result)
    elif not all(is_pile_id(pile_id) for pile_id in (outside, *(child or ()))):
        raise typer.BadParameter("not the name of a pile", param_hint="--outside, --child")
    elif len(child or ()) == 1 or (child and no_children):
        raise typer.BadParameter("it has two children or more, or none", param_hint="--child, --no-children")
    else:
        yours = conformance_pile.Outside(
            pile_id=outside,
            host=host,
            wait_s=wait,
            longest_s=longest,
            attended=not unattended,
            children=None if no_children else tuple(child or ()),
        )
        report = conformance_pile.judge_outside(yours, chosen, progress=say_result, say=typer.echo)
    raise typer.Exit(tell(report, as_json=as_json, html=html))


@conformance.command("platform")
def platform(
    case: CaseOption = None,
    as_json: JsonOption = False,
    html: HtmlOption = None,
    only_list: ListOption = False,
    enrol_at: Annotated[
        str | None,
        typer.Option(help="Where piles of another platform enrol.", show_default="our own platform"),
    ] = None,
    claim_codes: Annotated[
        Path | None, typer.Option(help="File of its piles: id, claim code, number of ports a line.")
    ] = None,
    trust: Annotated[Path | None, typer.Option(help="CA of its enrolment server (PEM).")] = None,
    clock_speed: Annotated[
        float,
        typer.Option(help="How many times faster than real time its clock runs.", min=0.001, max=10_000),
    ] = 1.0,
    start_command: Annotated[
        str | None,
        typer.Option(
            help="Orders and pays a charge on {pile} and {port}; may print its session id; ends with 3 if refused."
        ),
    ] = None,
    stop_command: Annotated[str | None, typer.Option(help="Stops the charge {session} as its rider.")] = None,
    session_command: Annotated[
        str | None,
        typer.Option(
            help="Prints what became of {session}: JSON of failed, charging, over, energy_dwh, *_fen."
        ),
    ] = None,
    online_command: Annotated[str | None, typer.Option(help="Prints true or false for {pile}.")] = None,
    claim_command: Annotated[str | None, typer.Option(help="Prints another claim code for {pile}.")] = None,
    operator_command: OperatorOption = None,
    without: WithoutOption = None,
    crash_command: Annotated[
        str | None, typer.Option(help="Kills what listens to piles; it comes back by itself.")
    ] = None,
) -> None:
    """Judge a platform: our own on parts of its own, or another one by its address and its operator's commands."""
    from conformance.platform.outside import Hooks
    from pileway import conformance_platform, logs

    logs.set_up("conformance", level=logging.CRITICAL)
    chosen = conformance_platform.every_case(case or ())
    if not chosen:
        raise typer.BadParameter("no case has such an id (see --list)", param_hint="--case")
    if only_list:
        list_cases(chosen)
        return
    if enrol_at is None:
        report = conformance_platform.judge_own(chosen, progress=say_result)
    else:
        hooks = Hooks(
            start=start_command,
            stop=stop_command,
            session=session_command,
            online=online_command,
            claim=claim_command,
            crash=crash_command,
        )
        hooks = conformance_platform.with_operator(hooks, operator_command or ())
        bench = conformance_platform.outside(
            enrol_at, claim_codes=claim_codes, trust=trust, hooks=hooks, speed=clock_speed
        )
        report = conformance_platform.judge(bench, chosen, progress=say_result, without=without or ())
    raise typer.Exit(tell(report, as_json=as_json, html=html))


def list_cases(cases: "Sequence[Case[Any]]") -> None:
    """One line a case."""
    for case in cases:
        typer.echo(f"{case.case_id:<44} {case.kind:<11} {case.clause}")


def say_result(result: "Result") -> None:
    """One case has ended."""
    typer.echo(result.line())


def tell(report: "Report", *, as_json: bool, html: Path | None) -> int:
    """Print the report, write its page, and give the exit code."""
    typer.echo(report.summary())
    if html is not None:
        html.write_text(report.as_html(), encoding="utf-8")
    if as_json:
        typer.echo(report.as_json())
    return report.exit_code
