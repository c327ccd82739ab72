"""`pileway migrate` and `pileway audit`: what an operator of the platform runs against the database by hand."""

import psycopg
from rich.console import Console

from billing import ledger_audit
from database import migrations
from pileway import embedded
from pileway.settings import Settings, required


def migrate(settings: Settings) -> None:
    """Bring the database (embedded or named by the settings) to the newest schema and print what was found."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    with embedded.database(settings) as complete:
        report = migrations.migrate(
            required(complete.database_url, "PILEWAY_DATABASE_URL").get_secret_value()
        )
    for name in report.applied:
        console.print(f"applied {name}")
    console.print(
        f"{report.already_applied} migrations stood before, {len(report.applied)} applied now",
        highlight=False,
    )
    console.print(report.time_series.words)
    console.print(f"job queue: procrastinate {report.job_queue_version}")


def audit(settings: Settings) -> bool:
    """Recompute the ledger, print what was found and say whether it is clean."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    with embedded.database(settings) as complete:
        dsn = required(complete.database_url, "PILEWAY_DATABASE_URL").get_secret_value()
        with psycopg.connect(dsn, connect_timeout=10) as conn:
            report = ledger_audit.audit(conn)
    for finding in report.findings:
        console.print(
            f"{finding.check}: {finding.subject} should be {finding.expected_fen} fen, is {finding.found_fen} fen"
        )
    verdict = "the ledger balances" if report.clean else f"{len(report.findings)} findings"
    console.print(f"{report.entries} entries of {report.sessions} sessions: {verdict}")
    return report.clean
