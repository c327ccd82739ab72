"""The runner: every case ends with a result, whatever its subject does."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from conformance import clauses, run
from conformance.case import Case, Catalogue, Failed, Kind, NotPossible
from conformance.report import Outcome, Report, Result

Play = Callable[[str], Awaitable[None]]


class Table:
    """A stage whose subjects are only names."""

    abilities = frozenset({"hands"})
    at_once = 2

    def __init__(self, *, refuses: Exception | None = None) -> None:
        self.refuses = refuses
        self.in_use = self.most_in_use = 0

    def speed(self, case: Case[Any]) -> float:
        return 100.0 if case.physical_s else 1.0

    @asynccontextmanager
    async def subject(self, case: Case[Any]) -> AsyncGenerator[str]:
        if self.refuses is not None:
            raise self.refuses
        self.in_use += 1
        self.most_in_use = max(self.most_in_use, self.in_use)
        try:
            yield case.case_id
        finally:
            self.in_use -= 1


def case(play: Play, number: int = 1, **terms: Any) -> Case[str]:
    """A case that plays so."""
    catalogue = Catalogue[str]()

    async def titled(subject: str) -> None:
        """What it holds."""
        await play(subject)

    return catalogue.case(f"test.case-{number}", clause=clauses.BODY, kind=Kind.NORMAL, **terms)(titled)


def played(*chosen: Case[str], stage: Table | None = None, total_limit_s: float = 30.0) -> Report:
    heard: list[Result] = []
    report = asyncio.run(
        run.run(chosen, stage or Table(), side="test", total_limit_s=total_limit_s, progress=heard.append)
    )
    assert {result.id for result in heard} == {each.case_id for each in chosen}
    return report


async def nothing(_subject: str) -> None:
    """Passes."""


def raising(error: Exception) -> Play:
    async def play(_subject: str) -> None:
        raise error

    return play


async def for_ever(_subject: str) -> None:
    """Waits for what never comes."""
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("play", "outcome", "reason"),
    [
        (nothing, Outcome.PASSED, ""),
        (raising(Failed("it lies")), Outcome.FAILED, "it lies"),
        (raising(NotPossible("it has no hands")), Outcome.SKIPPED, "it has no hands"),
        (raising(ValueError("odd")), Outcome.FAILED, "ValueError: odd"),
        (raising(ExceptionGroup("several", [KeyError("k")])), Outcome.FAILED, "KeyError: 'k'"),
    ],
)
def test_whatever_a_case_does_becomes_a_result(play: Play, outcome: Outcome, reason: str) -> None:
    (result,) = played(case(play)).results
    assert (result.result, result.reason) == (outcome, reason)
    assert (result.title, result.clause) == ("What it holds", "6 Body")


def test_case_that_never_ends_is_failed_at_its_limit() -> None:
    (result,) = played(case(for_ever, limit_s=0.05, physical_s=1.0)).results
    assert result.result is Outcome.FAILED
    assert result.reason.startswith("not done within")


def test_case_whose_needs_are_not_met_is_skipped_with_the_reason() -> None:
    (result,) = played(case(raising(AssertionError()), needs=("hands", "hazard"))).results
    assert (result.result, result.reason) == (Outcome.SKIPPED, "needs hazard")


def test_case_that_needs_what_the_subject_is_stated_not_to_have_does_not_apply() -> None:
    chosen = [case(raising(AssertionError()), 1, needs=("children",)), case(nothing, 2, needs=("hands",))]
    stated = {"children": "carries no other piles", "hands": "has no hands"}
    report = asyncio.run(
        run.run(
            chosen, Table(), side="test", total_limit_s=30.0, progress=lambda _result: None, without=stated
        )
    )
    assert [result.result for result in report.results] == [Outcome.NOT_APPLICABLE, Outcome.PASSED]
    assert report.results[0].reason == "stated: carries no other piles"
    assert report.profile == ("carries no other piles", "has no hands")


def test_case_without_a_subject_is_failed_with_the_reason() -> None:
    (result,) = played(case(nothing), stage=Table(refuses=Failed("no pile came"))).results
    assert (result.result, result.reason) == (Outcome.FAILED, "no pile came")


def test_what_does_not_begin_in_time_is_failed_unplayed() -> None:
    results = played(*(case(for_ever, number, limit_s=5.0) for number in range(4)), total_limit_s=0.2).results
    assert {result.result for result in results} == {Outcome.FAILED}
    assert sum("not played" in result.reason for result in results) == 2


def test_only_so_many_subjects_are_in_use_at_once() -> None:
    stage = Table()

    async def turn(_subject: str) -> None:
        await asyncio.sleep(0)

    played(*(case(turn, number) for number in range(6)), stage=stage)
    assert stage.most_in_use == 2


def test_report_keeps_the_order_of_the_cases_though_the_longest_go_first() -> None:
    report = played(case(nothing, 1, limit_s=1.0), case(nothing, 2, limit_s=9.0), case(nothing, 3))
    assert [result.id for result in report.results] == ["test.case-1", "test.case-2", "test.case-3"]


def test_patterns_choose_cases() -> None:
    cases = [case(nothing, number) for number in (1, 2)]
    assert run.chosen(cases, []) == cases
    assert [each.case_id for each in run.chosen(cases, ["*-2"])] == ["test.case-2"]


def test_case_needs_a_proper_id_a_title_and_a_name_of_its_own() -> None:
    catalogue = Catalogue[str]()
    declare = catalogue.case("boot.repeats", clause=clauses.BODY, kind=Kind.NORMAL)
    declare(for_ever)
    with pytest.raises(ValueError, match=r"boot\.repeats"):
        declare(nothing)
    with pytest.raises(ValueError, match="Not an id"):
        catalogue.case("Not an id", clause=clauses.BODY, kind=Kind.NORMAL)(nothing)
    with pytest.raises(ValueError, match=r"a\.b"):
        catalogue.case("a.b", clause=clauses.BODY, kind=Kind.NORMAL)(raising(ValueError()))
