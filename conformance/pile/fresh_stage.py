"""A stage with a new pile for each case, from a workshop that makes them to order."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from conformance.case import Case
from conformance.pile.bench import Ability, Order, Workshop
from conformance.pile.platform import Platform
from conformance.pile.subject import Pile, SubjectClock

PORT_COUNT: Final = 10
CHILD_PORT_COUNT: Final = 4
CHILDREN: Final = ("A", "B")
SLOWEST: Final = 20.0
FASTEST: Final = 10_000.0
PHYSICAL_LIMIT_S: Final = 5.0
"""What a case takes by the pile's clock should pass in about so many real seconds."""

_CLAIM_BYTES: Final = 10
_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class FreshStage:
    """Every case has a pile of its own, on a clock as fast as the case allows."""

    def __init__(self, platform: Platform, workshop: Workshop, *, at_once: int) -> None:
        self._platform = platform
        self._workshop = workshop
        self.at_once = at_once

    @property
    def abilities(self) -> frozenset[str]:
        """What the workshop's benches can do."""
        return frozenset(str(ability) for ability in self._workshop.abilities)

    def speed(self, case: Case[Any]) -> float:
        """As fast as the case's physical time asks for, within bounds."""
        return min(FASTEST, max(SLOWEST, case.physical_s / PHYSICAL_LIMIT_S))

    @asynccontextmanager
    async def subject(self, case: Case[Any]) -> AsyncGenerator[Pile]:
        """A pile on the bench, not powered yet."""
        pile_id = pile_id_of(case.case_id)
        clock = SubjectClock(self.speed(case))
        order = self._order(pile_id, case, clock)
        async with AsyncExitStack() as stack:
            wire = await stack.enter_async_context(
                self._platform.expecting(pile_id, order.claim_code, now_ms=clock.now_ms)
            )
            wires = [
                await stack.enter_async_context(
                    self._platform.expecting(child.pile_id, child.claim_code, now_ms=clock.now_ms, host=wire)
                )
                for child in order.children
            ]
            bench = await stack.enter_async_context(self._workshop.bench(order))
            children = [
                Pile(*behind, clock, port_count=CHILD_PORT_COUNT)
                for behind in zip(wires, bench.children, strict=True)
            ]
            pile = Pile(wire, bench, clock, port_count=PORT_COUNT, children=children)
            yield pile
            pile.held_to_its_profile()

    def _order(self, pile_id: str, case: Case[Any], clock: SubjectClock) -> Order:
        order = Order(
            pile_id=pile_id,
            claim_code=claim_code(),
            enrolment_url=self._platform.enrolment_url,
            ca_path=self._platform.ca_path,
            port_count=PORT_COUNT,
            has_clock=Ability.NO_CLOCK not in case.needs,
            clock=clock.now,
            speed=clock.speed,
        )
        if Ability.CHILDREN not in case.needs:
            return order
        behind = [
            replace(order, pile_id=f"{pile_id}-{name}", claim_code=claim_code(), port_count=CHILD_PORT_COUNT)
            for name in CHILDREN
        ]
        return replace(order, children=tuple(behind))


def pile_id_of(case_id: str) -> str:
    """The name of the pile a case is played on."""
    return case_id.replace(".", "_")


def claim_code() -> str:
    """A new claim code of 80 random bits, as an operator is shown it."""
    number = int.from_bytes(secrets.token_bytes(_CLAIM_BYTES), "big")
    signs = "".join(_CROCKFORD[number >> shift & 31] for shift in range(75, -1, -5))
    return "-".join(signs[start : start + 4] for start in range(0, 16, 4))
