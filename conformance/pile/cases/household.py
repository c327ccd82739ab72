"""A host and two of its children in service: how most cases of hosts and of relayed frames begin."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import wraps

from conformance import clauses
from conformance.case import CASE_LIMIT_S, Case, Catalogue, Kind
from conformance.clauses import Clause
from conformance.pile.bench import Ability
from conformance.pile.subject import Pile

Run = Callable[[Pile, Pile, Pile], Awaitable[None]]
"""A case of a host and two of its children."""


async def in_service(host: Pile) -> tuple[Pile, Pile]:
    """Power a host up, then what is behind it; gives two of its children."""
    await host.in_service()
    await asyncio.gather(*(child.in_service() for child in host.children))
    return host.children[0], host.children[1]


def case(
    cases: Catalogue[Pile],
    case_id: str,
    *,
    kind: Kind,
    clause: Clause = clauses.HOSTS,
    needs: Iterable[Ability] = (),
    limit_s: float = CASE_LIMIT_S,
    physical_s: float = 0.0,
) -> Callable[[Run], Case[Pile]]:
    """Declare a case that begins with all of them in service; it needs children beside its other needs."""

    def declare(run: Run) -> Case[Pile]:
        @wraps(run)
        async def begun(host: Pile) -> None:
            await run(host, *(await in_service(host)))

        return cases.case(
            case_id,
            clause=clause,
            kind=kind,
            needs=(Ability.CHILDREN, *needs),
            limit_s=limit_s,
            physical_s=physical_s,
        )(begun)

    return declare
