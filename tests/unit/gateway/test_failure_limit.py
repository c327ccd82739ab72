"""Refused claim codes are counted per pile, for a while, and in bounded memory."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway import enrolment
from gateway.enrolment import FailureLimit
from gateway.errors import EnrolmentFault, EnrolmentRefused

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def _fail(limit: FailureLimit, pile_id: str, times: int) -> None:
    for _ in range(times):
        limit.count(pile_id, now=NOW)


def test_one_failure_less_than_the_limit_is_forgiven() -> None:
    limit = FailureLimit()
    _fail(limit, "p", enrolment.MAX_FAILURES - 1)
    limit.check("p", now=NOW)


def test_at_the_limit_the_pile_waits_until_the_window_has_passed() -> None:
    limit = FailureLimit()
    _fail(limit, "p", enrolment.MAX_FAILURES)
    with pytest.raises(EnrolmentRefused) as refused:
        limit.check("p", now=NOW + enrolment.FAILURE_WINDOW - timedelta(seconds=1))
    assert refused.value.fault is EnrolmentFault.TOO_MANY_ATTEMPTS
    limit.check("q", now=NOW)
    limit.check("p", now=NOW + enrolment.FAILURE_WINDOW)


def test_only_so_many_piles_are_watched() -> None:
    limit = FailureLimit()
    _fail(limit, "p", enrolment.MAX_FAILURES)
    for n in range(enrolment.MAX_WATCHED_PILES):
        limit.count(f"q{n}", now=NOW)
    limit.check("p", now=NOW)
