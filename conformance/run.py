"""Running cases: several subjects at once, a limit for each case and one for all, every end with its reason."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeVar

from conformance.case import Case, Failed, NotPossible
from conformance.report import Outcome, Report, Result

STOP_LIMIT_S: Final = 20.0
"""How long a subject may take to be put away once its case has ended."""

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)

Progress = Callable[[Result], None]


class Stage(Protocol[S_co]):
    """Where cases are played. It makes a subject for each case and knows what may be done to it."""

    @property
    def abilities(self) -> frozenset[str]:
        """What the stage can do beyond the wire, by the names cases use in ``needs``."""
        ...

    @property
    def at_once(self) -> int:
        """How many subjects may be in use at the same time."""
        ...

    def speed(self, case: Case[Any]) -> float:
        """How many times faster than real time the subject's clock runs in this case."""
        ...

    def subject(self, case: Case[Any]) -> AbstractAsyncContextManager[S_co]:
        """A subject for one case, put away afterwards. Entering may raise Failed or NotPossible."""
        ...


def chosen(cases: Iterable[Case[S]], patterns: Sequence[str]) -> list[Case[S]]:
    """The cases whose id matches one of the patterns (``boot.*``); all of them without patterns."""
    return [
        case
        for case in cases
        if not patterns or any(fnmatchcase(case.case_id, pattern) for pattern in patterns)
    ]


async def run(
    cases: Sequence[Case[S]],
    stage: Stage[S],
    *,
    side: str,
    total_limit_s: float,
    progress: Progress,
    slack_s: float = 0.0,
    without: Mapping[str, str] = NOTHING,
) -> Report:
    """Play every case, the longest first, and tell each result as it comes; the report is in the order given.

    ``slack_s`` is added to the limit of every case, for subjects that are slow to get ready. ``without`` holds
    abilities the subject is stated not to have by its make, each with the words for the report: cases that need one
    do not apply. It is for the stage to fail a subject that shows such an ability all the same.
    What has not begun within ``total_limit_s`` (real seconds) is failed unplayed.
    """
    began_at, began_s = datetime.now(UTC), time.monotonic()
    results: dict[str, Result] = {}
    slots = asyncio.Semaphore(stage.at_once)

    async def play(case: Case[S]) -> None:
        async with slots:
            left_s = began_s + total_limit_s - time.monotonic()
            foreign = sorted(without[need] for need in case.needs - stage.abilities if need in without)
            if foreign:
                result = _result(case, Outcome.NOT_APPLICABLE, f"stated: {', '.join(foreign)}", 0.0)
            else:
                result = await _played(case, stage, left_s=left_s, slack_s=slack_s)
        results[case.case_id] = result
        progress(result)

    longest_first = sorted(cases, key=lambda case: -_limit_s(case, stage))
    async with asyncio.TaskGroup() as tasks:
        for case in longest_first:
            tasks.create_task(play(case))
    return Report(
        side=side,
        began_at=began_at,
        seconds=time.monotonic() - began_s,
        results=tuple(results[case.case_id] for case in cases),
        profile=tuple(sorted(without.values())),
    )


async def _played(case: Case[S], stage: Stage[S], *, left_s: float, slack_s: float) -> Result:
    missing = case.needs - stage.abilities
    if missing:
        return _result(case, Outcome.SKIPPED, f"needs {', '.join(sorted(missing))}", 0.0)
    if left_s <= 0:
        return _result(case, Outcome.FAILED, "not played: the time for the whole run is over", 0.0)
    began_s = time.monotonic()
    limit_s = min(_limit_s(case, stage) + slack_s, left_s)
    outcome, reason = Outcome.PASSED, ""
    try:
        async with asyncio.timeout(limit_s + slack_s + STOP_LIMIT_S), stage.subject(case) as subject:
            outcome, reason = await _judged(case, subject, limit_s)
    except NotPossible as why:
        outcome, reason = Outcome.SKIPPED, str(why)
    except Failed as why:
        outcome, reason = Outcome.FAILED, reason or str(why)
    except TimeoutError:
        outcome, reason = Outcome.FAILED, reason or f"not done within {limit_s:.0f} s"
    except Exception as error:  # noqa: BLE001 - one broken subject must not end the run of the others
        outcome, reason = Outcome.FAILED, reason or _stumbled(error)
    return _result(case, outcome, reason, time.monotonic() - began_s)


async def _judged(case: Case[S], subject: S, limit_s: float) -> tuple[Outcome, str]:
    try:
        async with asyncio.timeout(limit_s):
            await case.run(subject)
    except NotPossible as why:
        return Outcome.SKIPPED, str(why)
    except Failed as why:
        return Outcome.FAILED, str(why)
    except TimeoutError:
        return Outcome.FAILED, f"not done within {limit_s:.0f} s"
    except Exception as error:  # noqa: BLE001 - a subject may answer with anything; the run goes on
        return Outcome.FAILED, _stumbled(error)
    return Outcome.PASSED, ""


def _limit_s(case: Case[Any], stage: Stage[Any]) -> float:
    return case.limit_s + case.physical_s / stage.speed(case)


def _stumbled(error: BaseException) -> str:
    """The error by type and words; of several at once the first."""
    inner: tuple[BaseException, ...] = getattr(error, "exceptions", ())
    return _stumbled(inner[0]) if inner else f"{type(error).__name__}: {error}"


def _result(case: Case[Any], outcome: Outcome, reason: str, seconds: float) -> Result:
    return Result(
        id=case.case_id,
        title=case.title,
        clause=str(case.clause),
        kind=case.kind,
        result=outcome,
        reason=reason,
        seconds=round(seconds, 3),
    )
