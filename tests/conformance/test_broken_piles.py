"""The kit can fail: piles broken on purpose fail the case whose rule they break, and no case beside it."""

import asyncio
import itertools
from collections.abc import Callable, Generator
from dataclasses import replace

import pytest

from conformance.pile.fresh_stage import pile_id_of
from conformance.report import Outcome, Report
from device_sim import https, renewal, sample_queue
from device_sim.enrolment import Identity
from device_sim.host import Receiver
from device_sim.runner import SimulatedPile
from pileway import conformance_pile
from pileway.simulated_bench import SimulatedWorkshop
from protocol import frames, topics
from protocol.envelope import Counter
from protocol.fields import Message
from protocol.frames import Frame
from protocol.messages import RelayUp, Settlement, StartAck, TimeRequest

Break = Callable[[SimulatedPile], None]

UNHARMED = "enrolment.request-is-well-formed"
IMPATIENT_S = 0.2


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


def relays_for_a_stranger(pile: SimulatedPile) -> None:
    """A pile that carries nobody hands on a frame all the same, on each connection."""
    honest = pile.connected

    def connected() -> None:
        honest()
        pile.pile.outbox.put(RelayUp(STRANGER, "boot", b"a frame"))

    pile.connected = connected


def takes_itself_for_acknowledged(pile: SimulatedPile) -> None:
    """A host is in service as soon as it is connected."""
    honest = pile.connected

    def connected() -> None:
        honest()
        pile.pile.outbox.open = True
        pile.give_up()

    pile.connected = connected


def broadcasts(pile: SimulatedPile) -> None:
    """A host hands each frame to every child, on the topic of that child."""
    honest = pile.adopt
    ears: dict[str, Receiver] = {}

    def shout(topic: str, payload: bytes) -> None:
        for child, ear in ears.items():
            ear(str(topics.parse(topic)._replace(shard=topics.shard_of(child), pile_id=child)), payload)

    def adopt(child: str, receiver: Receiver) -> None:
        ears[child] = receiver
        honest(child, shout)

    pile.adopt = adopt


def keeps_lost_radios_quiet(pile: SimulatedPile) -> None:
    """A host drops the `gone` of its children."""
    honest = pile.carry
    pile.carry = lambda frame: asyncio.Event() if frame.topic.endswith("/gone") else honest(frame)


def dies_with_its_host(pile: SimulatedPile) -> None:
    """A child starts anew whenever its host is lost."""
    honest = pile.disconnected

    def disconnected() -> None:
        honest()
        pile.disconnected = honest
        pile.cut_power(0.1)

    if pile.config.host is not None:
        pile.disconnected = disconnected


def takes_sent_for_settled(pile: SimulatedPile) -> None:
    """A settlement is forgotten once it was handed over."""
    honest = pile.said

    def said(message: Message) -> None:
        honest(message)
        if isinstance(message, Settlement):
            pile.pile.records.told(Settlement.message, message.session_id)

    pile.said = said


def seals_for_its_hosts_topic(pile: SimulatedPile) -> None:
    """A child asks for the time in a frame bound to a topic of its host's."""
    honest = pile.sealed
    host = pile.config.host

    def sealed(message: Message) -> Frame:
        if host is None or not isinstance(message, TimeRequest):
            return honest(message)
        sealer = pile.pile.keys.sealer
        theirs = frames.seal(message, sealer=sealer, pile_id=host, counter=pile.pile.next_counter())
        return Frame(honest(message).topic, theirs.payload)

    pile.sealed = sealed


def hands_nested_relays_on(pile: SimulatedPile) -> None:
    """Children carry each other, as if there were two levels."""
    host = pile.config.host
    if host is not None:
        families.setdefault(host, []).append(pile)
        for one, other in itertools.permutations(families[host], 2):
            one.adopt(other.config.pile_id, other.received)


def starts_anew_to_renew(pile: SimulatedPile) -> None:
    """A new certificate is put to use by a power cut."""
    honest = pile.renewed

    def renewed(identity: Identity) -> None:
        honest(identity)
        pile.cut_power(0.1)

    pile.renewed = renewed


def keeps_its_old_certificate(pile: SimulatedPile) -> None:
    """A new certificate is stored and never shown."""

    def renewed(identity: Identity) -> None:
        del identity

    pile.renewed = renewed


def as_it_is(pile: SimulatedPile) -> None:
    """What is wrong is wrong with every pile of the run, but shows only here; see the fixture."""
    del pile


STRANGER = "NOBODYS-CHILD"
BROKEN: dict[str, Break] = {
    "envelope.counter-grows": repeats_a_partial_iv,
    "settlement.adds-up": tells_wrong_energy,
    "envelope.counter-never-repeats-over-power-cuts": counts_a_boot_twice,
    "start.same-command-same-answer": answers_each_delivery_anew,
    "start.no-such-port": never_answers,
    "stop.already-ended": relays_for_a_stranger,
    "host.nothing-before-its-own-boot-ack": takes_itself_for_acknowledged,
    "relay.for-the-other-child": broadcasts,
    "host.tells-a-lost-radio": keeps_lost_radios_quiet,
    "host.session-outlives-its-reconnect": dies_with_its_host,
    "host.settlement-until-the-childs-own-ack": takes_sent_for_settled,
    "host.children-seal-for-their-own-topics": seals_for_its_hosts_topic,
    "relay.nested": hands_nested_relays_on,
    "renewal.goes-on-charging": starts_anew_to_renew,
    "renewal.connects-anew-with-it": keeps_its_old_certificate,
    "renewal.waits-as-it-is-told": as_it_is,
    "renewal.certificate-for-another-key": as_it_is,
    "receipt.kept-frames-wait-for-it": as_it_is,
}
families: dict[str, list[SimulatedPile]] = {}


class BrokenWorkshop(SimulatedWorkshop):
    """A workshop whose piles are each broken in the way of the case they are made for."""

    def prepare(self, pile: SimulatedPile) -> None:
        """Break it; the children of a host by the same case."""
        by_pile = {pile_id_of(case_id): broken for case_id, broken in BROKEN.items()}
        broken = by_pile.get(pile.config.host or pile.config.pile_id)
        if broken is not None:
            broken(pile)


def impatient(failed: int, response: object) -> float:
    """Asks again at once, whatever the server says."""
    del failed, response
    return IMPATIENT_S


def trusting(certificate: object, key: object) -> bool:
    """Takes a certificate for any key."""
    del certificate, key
    return True


@pytest.fixture(scope="module")
def report() -> Generator[Report]:
    """What became of the broken piles.

    They also wait for nothing when refused, take any certificate, and say one kept frame too many at once.
    """
    with pytest.MonkeyPatch.context() as wrong:
        wrong.setattr(https, "retry_s", impatient)
        wrong.setattr(renewal, "fits", trusting)
        wrong.setattr(sample_queue, "BURST", sample_queue.BURST + 1)
        chosen = conformance_pile.every_case([*BROKEN, UNHARMED])
        yield conformance_pile.judge_simulator(chosen, progress=lambda _result: None, workshop=BrokenWorkshop)


@pytest.mark.parametrize("case_id", BROKEN)
def test_broken_pile_fails_the_case_of_the_rule_it_breaks(case_id: str, report: Report) -> None:
    (result,) = (result for result in report.results if result.id == case_id)
    assert result.result is Outcome.FAILED
    assert result.reason


def test_pile_that_breaks_nothing_passes_beside_them(report: Report) -> None:
    passed = [result.id for result in report.results if result.result is Outcome.PASSED]
    assert passed == [UNHARMED]
    assert report.exit_code == 1
