"""Reports: counts, exit codes, JSON and the page."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime

from conformance.case import Kind
from conformance.report import Outcome, Report, Result


def result(case_id: str, outcome: Outcome, reason: str = "") -> Result:
    return Result(case_id, "What it holds", "5 Envelope", Kind.NORMAL, outcome, reason, 1.25)


def report(*results: Result) -> Report:
    return Report("pile", datetime(2026, 6, 1, tzinfo=UTC), 2.5, results)


PASSED = result("a.passes", Outcome.PASSED)
FAILED = result("b.fails", Outcome.FAILED, 'says <nothing> & "more"')
SKIPPED = result("c.is-skipped", Outcome.SKIPPED, "needs hands")
FOREIGN = result("d.does-not-apply", Outcome.NOT_APPLICABLE, "stated: carries no other piles")


def test_json_counts_and_has_one_entry_a_case() -> None:
    told = json.loads(report(PASSED, FAILED, SKIPPED).as_json())
    assert (told["cases"], told["passed"], told["failed"], told["skipped"]) == (3, 1, 1, 1)
    assert [entry["id"] for entry in told["results"]] == ["a.passes", "b.fails", "c.is-skipped"]
    assert told["results"][1] == {
        "id": "b.fails",
        "title": "What it holds",
        "clause": "5 Envelope",
        "kind": "normal",
        "result": "failed",
        "reason": 'says <nothing> & "more"',
        "seconds": 1.25,
    }


def test_exit_code_tells_conforming_failing_and_unjudged_apart() -> None:
    assert report(PASSED, SKIPPED).exit_code == 0
    assert report(PASSED, FAILED).exit_code == 1
    assert report(SKIPPED).exit_code == 2
    assert report().exit_code == 2


def test_page_needs_no_other_file_and_escapes_what_subjects_say() -> None:
    page = report(PASSED, FAILED, SKIPPED).as_html()
    assert "says &lt;nothing&gt; &amp; &quot;more&quot;" in page
    assert "<nothing>" not in page
    assert re.search(r"(?:src|href)=|@import|url\(", page) is None
    assert "does not conform" in page


def test_page_of_a_run_without_a_verdict_does_not_claim_conformance() -> None:
    assert "does not conform" in report(SKIPPED).as_html()


def test_text_names_the_failed_cases_with_their_reason() -> None:
    told = report(PASSED, FAILED).summary()
    assert "2 cases, 1 passed, 1 failed, 0 skipped" in told
    assert "b.fails" in told
    assert "says <nothing>" in told
    assert "a.passes" not in told


def test_what_does_not_apply_is_told_apart_in_every_form_and_judges_nothing() -> None:
    told = replace(report(PASSED, FOREIGN), profile=("carries no other piles",))
    assert told.as_object()["profile"] == ["carries no other piles"]
    assert (told.as_object()["skipped"], told.as_object()["not_applicable"]) == (0, 1)
    assert "pile, carries no other piles: 2 cases, 1 passed" in told.summary()
    assert "1 not applicable" in told.summary()
    assert "n/a  d.does-not-apply" in FOREIGN.line()
    assert "carries no other piles" in told.as_html()
    assert '<tr class="not_applicable"><td class="result">not applicable</td>' in told.as_html()
    assert told.exit_code == 0
    assert report(FAILED, FOREIGN).exit_code == 1
    assert report(FOREIGN).exit_code == 2
