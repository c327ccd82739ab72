"""`pileway conformance ...`: judge a pile or a platform by the protocol, and tell what came of it.

What a command needs is imported when it runs, as in `pileway.cli`.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
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


@conformance.command("pile")
def pile(
    case: CaseOption = None,
    as_json: JsonOption = False,
    html: HtmlOption = None,
    only_list: ListOption = False,
) -> None:
    """Judge a pile: simulated ones, made for each case."""
    from pileway import conformance_pile, logs

    logs.set_up("conformance", level=logging.CRITICAL)
    chosen = conformance_pile.every_case(case or ())
    if not chosen:
        raise typer.BadParameter("no case has such an id (see --list)", param_hint="--case")
    if only_list:
        for each in chosen:
            typer.echo(f"{each.case_id:<44} {each.kind:<11} {each.clause}")
        return
    report = conformance_pile.judge_simulator(chosen, progress=say_result)
    raise typer.Exit(tell(report, as_json=as_json, html=html))


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
