"""What came of a run: a line a case while it runs, and the whole as text, JSON or one HTML page."""

import html
import json
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from conformance.case import Kind

CONFORMS: Final = 0
FAILS: Final = 1
NOTHING_JUDGED: Final = 2


class Outcome(StrEnum):
    """How a case ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_APPLICABLE = "not_applicable"

    @property
    def words(self) -> str:
        """As a sentence has it."""
        return self.value.replace("_", " ")


@dataclass(frozen=True)
class Result:
    """One case's end; ``reason`` says why it failed or was not judged, ``seconds`` are real ones."""

    id: str
    title: str
    clause: str
    kind: Kind
    result: Outcome
    reason: str
    seconds: float

    def line(self) -> str:
        """The result in one line, with its reason below where it has one."""
        told = f"{_MARKS[self.result]} {self.id:<44} {self.seconds:6.1f} s  [{self.clause}]"
        return f"{told}\n     {self.reason}" if self.reason else told


@dataclass(frozen=True)
class Report:
    """A whole run; ``side`` is what was judged, ``pile`` or ``platform``.

    ``profile`` is what the subject is stated to be without, so that cases do not apply to it.
    """

    side: str
    began_at: datetime
    seconds: float
    results: tuple[Result, ...]
    profile: tuple[str, ...] = ()

    def count(self, outcome: Outcome) -> int:
        """How many cases ended so."""
        return sum(result.result is outcome for result in self.results)

    @property
    def exit_code(self) -> int:
        """0 when nothing failed, 1 when something did, 2 when no case could be judged at all."""
        if self.count(Outcome.FAILED):
            return FAILS
        return CONFORMS if self.count(Outcome.PASSED) else NOTHING_JUDGED

    def summary(self) -> str:
        """The run in one line, and the failed cases below it."""
        counts = ", ".join(f"{self.count(outcome)} {outcome.words}" for outcome in Outcome)
        told = f"{self._subject()}: {len(self.results)} cases, {counts}, in {self.seconds:.1f} s"
        failed = [result.line() for result in self.results if result.result is Outcome.FAILED]
        return "\n".join([told, *failed])

    def as_object(self) -> dict[str, Any]:
        """The report as JSON values: the counts, and one entry a case under ``results``."""
        return {
            "side": self.side,
            "began_at": self.began_at.isoformat(),
            "seconds": round(self.seconds, 3),
            "profile": list(self.profile),
            "cases": len(self.results),
            **{str(outcome): self.count(outcome) for outcome in Outcome},
            "results": [asdict(result) for result in self.results],
        }

    def as_json(self) -> str:
        """The report as one line of JSON."""
        return json.dumps(self.as_object(), ensure_ascii=False)

    def as_html(self) -> str:
        """The report as one page that needs no other file."""
        rows = "\n".join(_row(result) for result in self.results)
        kinds = Counter(result.kind for result in self.results)
        return _PAGE.format(
            title=f"Pileway Link conformance: {html.escape(self._subject())}",
            verdict="conforms" if self.exit_code == CONFORMS else "does not conform",
            verdict_class="passed" if self.exit_code == CONFORMS else "failed",
            began_at=self.began_at.isoformat(timespec="seconds"),
            seconds=f"{self.seconds:.1f}",
            counts=", ".join(f"{self.count(outcome)} {outcome.words}" for outcome in Outcome),
            cases=len(self.results),
            kinds=", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())),
            rows=rows,
        )

    def _subject(self) -> str:
        """What was judged, with what it is stated to be without."""
        return ", ".join((self.side, *self.profile))


def _row(result: Result) -> str:
    title = html.escape(result.title)
    reason = f'<div class="reason">{html.escape(result.reason)}</div>' if result.reason else ""
    return (
        f'<tr class="{result.result}"><td class="result">{result.result.words}</td>'
        f"<td><code>{html.escape(result.id)}</code><div>{title}</div>{reason}</td>"
        f"<td>{html.escape(result.clause)}</td><td>{result.kind}</td>"
        f'<td class="seconds">{result.seconds:.1f}</td></tr>'
    )


_MARKS: Final = {
    Outcome.PASSED: "ok  ",
    Outcome.FAILED: "FAIL",
    Outcome.SKIPPED: "skip",
    Outcome.NOT_APPLICABLE: "n/a ",
}
_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ border-bottom: 1px solid #8884; padding: .5rem .6rem; text-align: left; vertical-align: top; }}
.result {{ font-weight: 600; white-space: nowrap; }}
.passed .result, .verdict.passed {{ color: #17803d; }}
.failed .result, .verdict.failed, .failed .reason {{ color: #c22; }}
.skipped, .not_applicable {{ color: #777; }}
.seconds {{ font-variant-numeric: tabular-nums; text-align: right; }}
.reason {{ font-size: .9rem; overflow-wrap: anywhere; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p class="verdict {verdict_class}"><strong>{verdict}</strong>: {cases} cases, {counts}.</p>
<p>Began {began_at}, took {seconds} s. Paths: {kinds}.</p>
<table>
<thead><tr><th>Result</th><th>Case</th><th>Clause</th><th>Path</th><th>Seconds</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""
