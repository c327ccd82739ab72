"""How a case is declared: its id, what it holds, which clause says so, and what it needs of its subject.

A module of cases makes a ``Catalogue`` and decorates coroutines with ``case``; the docstring is the title::

    cases: Final = Catalogue[Pile]()

    @cases.case("boot.repeats-until-acked", clause=clauses.CHARGE.on("Boot"), kind=Kind.NORMAL)
    async def boot_repeats_until_acked(pile: Pile) -> None:
        \"\"\"A pile whose boot is not acknowledged says it again after 5 s.\"\"\"

A case that finds its subject wrong raises ``Failed`` (or calls ``check``); one that cannot be tried on this subject
raises ``NotPossible``; whatever else it raises counts as a failure, too.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, NoReturn, TypeVar

from conformance.clauses import Clause

CASE_LIMIT_S: Final = 30.0
"""How long a case may wait for its subject, in real seconds, unless it asks for more."""

_ID: Final = re.compile(r"[a-z][a-z0-9_]*\.[a-z0-9]+(-[a-z0-9]+)*")

S = TypeVar("S")


class ConformanceError(Exception):
    """Base of what a case says by raising."""


class Failed(ConformanceError):
    """The subject does not do what the clause demands; the text says what was seen instead."""


class NotPossible(ConformanceError):
    """The case cannot be tried on this subject; the text says why."""


class Kind(StrEnum):
    """Which of the street's paths a case goes."""

    NORMAL = "normal"
    OFFLINE = "offline"
    POWER_FAIL = "power_fail"
    REFUSAL = "refusal"


@dataclass(frozen=True)
class Case(Generic[S]):
    """One named case.

    ``needs`` are abilities of the stage, by name: a case whose needs are not met is skipped. ``limit_s`` is for
    waits on the subject, in real seconds; ``physical_s`` is how long it takes by the subject's clock on top of that,
    which a stage with an accelerated clock divides by its speed.
    """

    case_id: str
    title: str
    clause: Clause
    kind: Kind
    needs: frozenset[str]
    limit_s: float
    physical_s: float
    run: Callable[[S], Awaitable[None]]


class Catalogue(Generic[S]):
    """The cases of one module, in the order of their declaration."""

    def __init__(self) -> None:
        self._cases: dict[str, Case[S]] = {}

    def __iter__(self) -> Iterator[Case[S]]:
        return iter(self._cases.values())

    def case(
        self,
        case_id: str,
        *,
        clause: Clause,
        kind: Kind,
        needs: Iterable[str] = (),
        limit_s: float = CASE_LIMIT_S,
        physical_s: float = 0.0,
    ) -> Callable[[Callable[[S], Awaitable[None]]], Case[S]]:
        """Declare the decorated coroutine as a case; the first line of its docstring is the title.

        Raises ValueError for an id that is taken or not like ``topic.what-holds``, or without a docstring.
        """

        def declare(run: Callable[[S], Awaitable[None]]) -> Case[S]:
            title = (run.__doc__ or "").strip().partition("\n")[0].rstrip(".")
            if not title or _ID.fullmatch(case_id) is None or case_id in self._cases:
                raise ValueError(
                    f"{case_id}: a case has an id of its own, like topic.what-holds, and a title"
                )
            declared = Case(case_id, title, clause, kind, frozenset(needs), limit_s, physical_s, run)
            self._cases[case_id] = declared
            return declared

        return declare


def check(holds: object, otherwise: str) -> None:
    """Raises Failed with these words unless it holds."""
    if not holds:
        raise Failed(otherwise)


def check_equal(what: str, found: object, wanted: object) -> None:
    """Raises Failed, naming both, unless found is wanted."""
    if found != wanted:
        raise Failed(f"{what} is {_shown(found)}, not {_shown(wanted)}")


def fail(reason: str) -> NoReturn:
    """Raises Failed with these words."""
    raise Failed(reason)


def _shown(value: object) -> str:
    """Vocabularies by their word, octets as hex, the rest as Python writes it."""
    word = getattr(value, "name", None)
    if isinstance(word, str):
        return word.lower()
    return value.hex() if isinstance(value, bytes) else repr(value)
