"""The kit can fail: piles broken on purpose fail the case whose rule they break, and no case beside it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from conformance.report import Outcome
from device_sim.runner import SimulatedPile
from pileway import conformance_pile
from pileway.simulated_bench import SimulatedWorkshop
from protocol.envelope import Counter
from protocol.fields import Message
from protocol.frames import Frame
from protocol.messages import Settlement, StartAck

Break = Callable[[SimulatedPile], None]

UNHARMED = "enrolment.request-is-well-formed"


def repeats_a_partial_iv(pile: SimulatedPile) -> None:
    """Every tenth frame is sealed under the counter of the one before."""
    honest = pile.sealed
    count = 0

    def sealed(message: Message) -> Frame:
        nonlocal count
        count += 1
        if count % 10 == 0:
            machine = pile.pile
            proper = machine.next_counter
            last = proper()
            machine.next_counter = lambda: Counter(last.boot, last.seq - 1)
            try:
                return honest(message)
            finally:
                machine.next_counter = proper
        return honest(message)

    pile.sealed = sealed


def tells_wrong_energy(pile: SimulatedPile) -> None:
    """Settlements claim 1 Wh more than the registers show."""
    honest = pile.sealed

    def sealed(message: Message) -> Frame:
        if isinstance(message, Settlement) and message.energy_dwh:
            message = replace(message, energy_dwh=message.energy_dwh + 10)
        return honest(message)

    pile.sealed = sealed


def counts_a_boot_twice(pile: SimulatedPile) -> None:
    """The boot counter is worn: what a power cut leaves is the number of the boot before."""
    honest = pile.cut_power

    def cut_power(for_s: float) -> None:
        pile.pile.memory.boot -= 1
        pile.pile.save()
        honest(for_s)

    pile.cut_power = cut_power


def answers_each_delivery_anew(pile: SimulatedPile) -> None:
    """Answers to commands are forgotten before each frame, so that a repeated start is judged again."""
    honest = pile.received

    def received(topic: str, payload: bytes) -> None:
        pile.pile.memory.answered.clear()
        honest(topic, payload)

    pile.received = received


def never_answers(pile: SimulatedPile) -> None:
    """Answers to `start` are lost inside the pile: another message goes out in their place."""
    honest = pile.sealed

    def sealed(message: Message) -> Frame:
        return honest(pile.pile.heartbeat_message() if isinstance(message, StartAck) else message)

    pile.sealed = sealed


def workshop(broken: Break) -> type[SimulatedWorkshop]:
    """A workshop whose piles are all broken in one way."""

    class Broken(SimulatedWorkshop):
        def prepare(self, pile: SimulatedPile) -> None:
            broken(pile)

    return Broken


@pytest.mark.parametrize(
    ("broken", "case_id"),
    [
        (repeats_a_partial_iv, "envelope.counter-grows"),
        (tells_wrong_energy, "settlement.adds-up"),
        (counts_a_boot_twice, "envelope.counter-never-repeats-over-power-cuts"),
        (answers_each_delivery_anew, "start.same-command-same-answer"),
        (never_answers, "start.no-such-port"),
    ],
)
def test_broken_pile_fails_the_case_of_the_rule_it_breaks(broken: Break, case_id: str) -> None:
    chosen = conformance_pile.every_case([case_id, UNHARMED])
    report = conformance_pile.judge_simulator(
        chosen, progress=lambda _result: None, workshop=workshop(broken)
    )
    outcomes = {result.id: result.result for result in report.results}
    assert outcomes == {case_id: Outcome.FAILED, UNHARMED: Outcome.PASSED}
    assert all(result.reason for result in report.results if result.result is Outcome.FAILED)
    assert report.exit_code == 1
