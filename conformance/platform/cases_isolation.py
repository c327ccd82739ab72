"""Nobody reads or writes another's topics, and nobody is let in without a certificate of the platform's."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from conformance import clauses
from conformance.case import Catalogue, Failed, Kind, check
from conformance.platform.enrolling import key_pem_of, new_key
from conformance.platform.puppet import Frame, Puppet
from conformance.platform.scene import Scene
from conformance.platform.wire import Arrived, Door, NotLetIn, Wire, trust_of
from protocol import messages
from protocol.words import SettlementResult

cases: Final = Catalogue[Scene]()

TOO_LARGE_BYTES: Final = 70_000
ACCESS: Final = clauses.CONNECTION


async def _expect_shut(door: Door, who: str) -> None:
    wire = Wire(door, _nobody)
    try:
        await wire.open()
    except NotLetIn:
        return
    await wire.close()
    raise Failed(f"the broker lets {who} in")


def _nobody(_arrived: Arrived) -> None:
    """Whoever is not let in hears nothing."""


def _self_signed(folder: Path, pile_id: str) -> tuple[str, str]:
    """Certificate and key files of a pile that vouches for itself."""
    key = new_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, pile_id)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = folder / "own.pem", folder / "own.key"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(key_pem_of(key))
    return str(certificate_path), str(key_path)


@cases.case("access.no-certificate-no-entry", clause=ACCESS, kind=Kind.REFUSAL)
async def no_certificate_no_entry(scene: Scene) -> None:
    """A client without a certificate is not let in, whoever it says to be."""
    pile = await scene.enrol(await scene.claim())
    trust = trust_of(pile.identity.broker_ca_pem, certificate_path=None, key_path=None)
    door = Door(pile.identity.broker_host, pile.identity.broker_port, trust, pile.pile_id)
    await _expect_shut(door, "a client without a certificate")


@cases.case("access.foreign-certificate-no-entry", clause=ACCESS, kind=Kind.REFUSAL)
async def foreign_certificate_no_entry(scene: Scene) -> None:
    """A certificate with the pile's name, signed by somebody else, opens nothing."""
    pile = await scene.enrol(await scene.claim())
    certificate, key = _self_signed(pile.folder, pile.pile_id)
    trust = trust_of(pile.identity.broker_ca_pem, certificate_path=certificate, key_path=key)
    door = Door(pile.identity.broker_host, pile.identity.broker_port, trust, pile.pile_id)
    await _expect_shut(door, "a self-signed certificate")


@cases.case("access.newer-connection-ends-the-older", clause=ACCESS, kind=Kind.NORMAL)
async def newer_connection_ends_the_older(scene: Scene) -> None:
    """A second connection with the same certificate ends the first, and works."""
    pile = await scene.pile()
    first = pile.live
    pile.wire = None
    await pile.connect()
    check(await first.wait_lost(), "the first connection lives on")
    await first.close()
    await pile.say(pile.heartbeat_message())
    await pile.fence()


@cases.case("access.client-id-comes-from-the-certificate", clause=ACCESS, kind=Kind.REFUSAL)
async def client_id_comes_from_the_certificate(scene: Scene) -> None:
    """A pile that says its neighbour's client id does not take the neighbour's place."""
    victim, thief = await scene.pile(), await scene.pile()
    stolen = await scene.connect_as(thief, client_id=victim.pile_id)
    check(not await victim.live.wait_lost(within_s=1.0), "the neighbour lost its connection")
    await victim.fence()
    await stolen.close()


@cases.case("isolation.cannot-write-elsewhere", clause=clauses.CONNECTION, kind=Kind.REFUSAL)
async def cannot_write_elsewhere(scene: Scene) -> None:
    """What a pile publishes to its neighbour's topics, or to its own ones down, reaches nobody."""
    pile, neighbour = await scene.pile(), await scene.pile()
    for reader in (pile, neighbour):
        shard, pile_id = reader.identity.shard, reader.pile_id
        await _publish_forbidden(pile, f"v1/{shard}/{pile_id}/down/time", b"forged")
    await neighbour.fence()
    await pile.is_back()
    await pile.fence()


@cases.case("isolation.cannot-speak-for-another", clause=clauses.CONNECTION, kind=Kind.REFUSAL)
async def cannot_speak_for_another(scene: Scene) -> None:
    """Even the neighbour's own sealed frame is not taken from another pile's connection."""
    thief, victim = await scene.pile(), await scene.pile()
    record = victim.stray_settlement()
    stolen = victim.seal(record)
    await _publish_forbidden(thief, stolen.topic, stolen.payload)
    await victim.fence()
    await victim.hears_no(messages.SettlementAck)
    await victim.expect_settled(record, SettlementResult.UNKNOWN_SESSION_KEPT)


@cases.case("isolation.cannot-read-elsewhere", clause=clauses.CONNECTION, kind=Kind.REFUSAL)
async def cannot_read_elsewhere(scene: Scene) -> None:
    """Whatever a pile subscribes to, it hears nothing of what its neighbour says or is told."""
    spy, victim = await scene.pile(), await scene.pile()
    shard, pile_id = victim.identity.shard, victim.pile_id
    for wish in (
        f"v1/{shard}/{pile_id}/down/+",
        f"v1/{shard}/{pile_id}/up/+",
        "v1/+/+/up/+",
        "v1/#",
        "#",
        "$SYS/#",
    ):
        await spy.live.subscribe(wish)
        await spy.is_back()
    await victim.expect_settled(victim.stray_settlement(), SettlementResult.UNKNOWN_SESSION_KEPT)
    await victim.fence()
    await spy.fence()
    foreign = [told for told in spy.violations if "is not the pile's" in told]
    check(not foreign, "; ".join(foreign[:3]))


@cases.case("isolation.nothing-is-retained", clause=clauses.CONNECTION, kind=Kind.REFUSAL)
async def nothing_is_retained(scene: Scene) -> None:
    """A retained message is not taken: the broker refuses it or ends the connection."""
    pile = await scene.pile()
    taken = await pile.publish(pile.seal(pile.heartbeat_message()), retain=True)
    check(not taken, "the broker takes a retained message")
    await pile.is_back()
    await pile.fence()


@cases.case("isolation.too-large-a-packet-is-not-taken", clause=clauses.CONNECTION, kind=Kind.REFUSAL)
async def too_large_a_packet(scene: Scene) -> None:
    """A packet of more than 65536 bytes is not taken, and the pile may come back."""
    pile = await scene.pile()
    taken = await pile.publish(Frame(pile.topic("settlement"), bytes(TOO_LARGE_BYTES)))
    check(not taken, f"the broker takes {TOO_LARGE_BYTES} bytes")
    await pile.connect()
    await pile.say(pile.heartbeat_message())
    await pile.fence()


@cases.case("isolation.foreign-shard-is-refused", clause=clauses.TOPICS, kind=Kind.REFUSAL)
async def foreign_shard_is_refused(scene: Scene) -> None:
    """A frame well sealed for another shard's topic is not answered."""
    pile = await scene.pile()
    record = pile.stray_settlement()
    right = pile.topic("settlement")
    recipe = pile.recipe("settlement")
    wrong = right.replace(f"v1/{pile.identity.shard}/", f"v1/{(pile.identity.shard + 1) % 64}/")
    await pile.publish(Frame(wrong, pile.reseal(recipe, topic=wrong, message=record)))
    await pile.is_back()
    await pile.expect_settled(record, SettlementResult.UNKNOWN_SESSION_KEPT)
    await pile.hears_no(messages.SettlementAck)


async def _publish_forbidden(pile: Puppet, topic: str, payload: bytes) -> None:
    """Publish where it is not allowed; the broker may refuse, swallow, or end the connection."""
    await pile.live.publish(topic, payload)
    await pile.is_back()
