"""Our platform passes every case of the conformance kit, and the kit has what it promises."""

from collections import Counter

import pytest

from conformance.case import Kind
from conformance.platform.catalogue import CASES
from conformance.report import Outcome
from pileway import conformance_platform

LEAST_CASES = 180
LEAST_OF_A_KIND = 10


@pytest.mark.timeout(400)
def test_our_platform_passes_every_case() -> None:
    report = conformance_platform.judge_own(CASES, progress=lambda _: None)
    assert [result.line() for result in report.results if result.result is not Outcome.PASSED] == []
    assert report.exit_code == 0


def test_every_case_has_an_id_of_its_own() -> None:
    assert [case_id for case_id, times in Counter(case.case_id for case in CASES).items() if times > 1] == []


def test_cases_go_all_paths_of_the_street() -> None:
    kinds = Counter(case.kind for case in CASES)
    assert sum(kinds.values()) >= LEAST_CASES
    assert {kind for kind in Kind if kinds[kind] >= LEAST_OF_A_KIND} == set(Kind)


def test_cases_are_chosen_by_pattern() -> None:
    chosen = conformance_platform.every_case(["stop.*", "time.is-told"])
    assert {case.case_id.partition(".")[0] for case in chosen} == {"stop", "time"}
