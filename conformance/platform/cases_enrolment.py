"""How piles get their identity, and who does not get one."""

import base64
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from conformance import clauses
from conformance.case import Catalogue, Failed, Kind, check, check_equal
from conformance.platform.bench import Capability, Claim
from conformance.platform.enrolling import badly_signed_pem, new_key, request_pem
from conformance.platform.scene import Scene
from protocol import topics
from protocol.envelope import SECRET_BYTES
from protocol.words import SettlementResult

cases: Final = Catalogue[Scene]()

LONGEST_LIFE: Final = timedelta(days=365, hours=1)
MAX_REQUEST_BYTES: Final = 16_384
MAX_REFUSED: Final = 10
WRONG_CODE: Final = "0000-0000-0000-0000"


async def _post(scene: Scene, claim: Claim, csr: str, **changes: object) -> httpx.Response:
    return await scene.ask(
        lambda: scene.desk.ask(
            str(changes.pop("pile_id", claim.pile_id)), str(changes.pop("code", claim.code)), csr, **changes
        )
    )


def _check_refused(answer: httpx.Response, status: int, code: str) -> None:
    """The contract's refusal: status, code, a message, and nothing that helps."""
    check_equal("the status", answer.status_code, status)
    try:
        error: dict[str, Any] = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        raise Failed(f"the refusal is not the contract's JSON: {answer.text[:200]}") from None
    check_equal("the code", error.get("code"), code)
    check(isinstance(error.get("message"), str), "the refusal has no message")


async def _check_code_still_works(scene: Scene, claim: Claim) -> None:
    await scene.enrol(claim)


@cases.case("enrolment.gives-an-identity", clause=clauses.ENROLMENT, kind=Kind.NORMAL)
async def gives_an_identity(scene: Scene) -> None:
    """A good request is answered with certificate, broker, secret, epoch, shard and time."""
    claim, key = await scene.claim(), new_key()
    answer = await _post(scene, claim, request_pem(claim.pile_id, key=key))
    check_equal("the status", answer.status_code, 200)
    check_equal("Cache-Control", answer.headers.get("Cache-Control"), "no-store")
    told = answer.json()
    check_equal("the shard", told["shard"], topics.shard_of(claim.pile_id))
    check(str(told["broker_url"]).startswith("mqtts://"), f"broker_url is {told['broker_url']}")
    x509.load_pem_x509_certificates(str(told["broker_ca_pem"]).encode())
    secret = base64.b64decode(told["device_secret"], validate=True)
    check_equal("the length of the secret", len(secret), SECRET_BYTES)
    check(isinstance(told["key_epoch"], int) and told["key_epoch"] >= 1, f"the epoch is {told['key_epoch']}")
    check(isinstance(told["time_ms"], int) and told["time_ms"] > 0, f"the time is {told['time_ms']}")


@cases.case("enrolment.certificate-is-the-piles", clause=clauses.ENROLMENT, kind=Kind.NORMAL)
async def certificate_is_the_piles(scene: Scene) -> None:
    """The certificate names the pile alone, holds its key, lives a year at most and comes with its issuer."""
    claim, key = await scene.claim(), new_key()
    answer = await _post(scene, claim, request_pem(claim.pile_id, key=key))
    check_equal("the status", answer.status_code, 200)
    chain = x509.load_pem_x509_certificates(answer.json()["certificate_chain_pem"].encode())
    check(len(chain) >= 2, "the issuer does not come with the certificate")
    leaf, issuer = chain[0], chain[1]
    leaf.verify_directly_issued_by(issuer)
    check(leaf.public_key() == key.public_key(), "the certificate holds another key")
    names = [name.value for name in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    check_equal("the common name", names, [claim.pile_id])
    left = leaf.not_valid_after_utc - datetime.now(UTC)
    check(timedelta() < left <= LONGEST_LIFE, f"the certificate is valid for {left}")


@cases.case("enrolment.other-wishes-are-ignored", clause=clauses.ENROLMENT, kind=Kind.NORMAL)
async def other_wishes_are_ignored(scene: Scene) -> None:
    """A request that asks to be an authority, for other names and an organisation gets none of it."""
    claim, key = await scene.claim(), new_key()
    wishes = (
        x509.BasicConstraints(ca=True, path_length=None),
        x509.SubjectAlternativeName([x509.DNSName("broker.example")]),
    )
    csr = request_pem(claim.pile_id, key=key, extensions=wishes, organisation="Somebody Else")
    answer = await _post(scene, claim, csr)
    check_equal("the status", answer.status_code, 200)
    leaf = x509.load_pem_x509_certificate(answer.json()["certificate_chain_pem"].encode())
    check_equal("the subject", leaf.subject.rfc4514_string(), f"CN={claim.pile_id}")
    for extension in leaf.extensions:
        value = extension.value
        check(not isinstance(value, x509.BasicConstraints) or not value.ca, "the pile became an authority")
        check(not isinstance(value, x509.SubjectAlternativeName), "the pile was given another name")


@cases.case("enrolment.code-is-read-kindly", clause=clauses.ENROLMENT, kind=Kind.NORMAL)
async def code_is_read_kindly(scene: Scene) -> None:
    """Case, spaces and hyphens of a claim code do not matter."""
    claim = await scene.claim()
    typed = claim.code.replace("-", " ").lower()
    answer = await _post(scene, claim, request_pem(claim.pile_id, key=new_key()), code=typed)
    check_equal("the status", answer.status_code, 200)


@cases.case("enrolment.wrong-code-is-refused", clause=clauses.ENROLMENT, kind=Kind.REFUSAL)
async def wrong_code_is_refused(scene: Scene) -> None:
    """A wrong code is refused, and uses the right one up as little as any refusal does."""
    claim = await scene.claim()
    csr = request_pem(claim.pile_id, key=new_key())
    _check_refused(await _post(scene, claim, csr, code=WRONG_CODE), 403, "claim_refused")
    await _check_code_still_works(scene, claim)


@cases.case("enrolment.code-is-for-one-pile", clause=clauses.ENROLMENT, kind=Kind.REFUSAL)
async def code_is_for_one_pile(scene: Scene) -> None:
    """A code works for no other pile."""
    mine, other = await scene.claim(), await scene.claim()
    csr = request_pem(mine.pile_id, key=new_key())
    _check_refused(await _post(scene, mine, csr, code=other.code), 403, "claim_refused")
    await _check_code_still_works(scene, other)


@cases.case("enrolment.does-not-tell-who-exists", clause=clauses.ENROLMENT, kind=Kind.REFUSAL)
async def does_not_tell_who_exists(scene: Scene) -> None:
    """An unknown pile is refused word for word as a wrong code is."""
    claim = await scene.claim()
    unknown = "nobody-" + claim.pile_id[:50]
    csr = request_pem(unknown, key=new_key())
    strange = await _post(scene, claim, csr, pile_id=unknown)
    _check_refused(strange, 403, "claim_refused")
    csr = request_pem(claim.pile_id, key=new_key())
    wrong = await _post(scene, claim, csr, code=WRONG_CODE)
    check(strange.json() == wrong.json(), "the refusal tells which piles exist")


@cases.case("enrolment.code-works-once", clause=clauses.ENROLMENT, kind=Kind.REFUSAL)
async def code_works_once(scene: Scene) -> None:
    """A used code is refused to another key, and the pile that used it goes on."""
    claim = await scene.claim()
    pile = await scene.enrol(claim)
    csr = request_pem(claim.pile_id, key=new_key())
    _check_refused(await _post(scene, claim, csr), 403, "claim_refused")
    await pile.connect()
    await pile.boots()


@cases.case(
    "enrolment.lost-answer-is-asked-for-again",
    clause=clauses.ENROLMENT.on("If the answer is lost"),
    kind=Kind.OFFLINE,
)
async def lost_answer_is_asked_for_again(scene: Scene) -> None:
    """The same key may use the code again, and gets a new secret under the next epoch."""
    claim, key = await scene.claim(), new_key()
    first = await scene.enrol(claim, key=key)
    second = await scene.enrol(claim, key=key)
    check_equal("the epoch of the second answer", second.epoch, first.epoch + 1)
    check(second.identity.secret != first.identity.secret, "the secret is the same as before")
    await second.connect()
    await second.boots()


@cases.case(
    "enrolment.last-answer-counts-as-a-whole",
    clause=clauses.ENROLMENT.on("If the answer is lost"),
    kind=Kind.REFUSAL,
)
async def last_answer_counts_as_a_whole(scene: Scene) -> None:
    """After a second answer, a frame under the first one's secret changes nothing."""
    claim, key = await scene.claim(), new_key()
    first = await scene.enrol(claim, key=key)
    second = await scene.enrol(claim, key=key)
    await second.connect()
    await second.boots()
    record = second.stray_settlement()
    old = first.seal(record)
    await second.publish(old)
    await second.expect_settled(record, SettlementResult.UNKNOWN_SESSION_KEPT)


@cases.case(
    "enrolment.new-board-begins-at-boot-one",
    clause=clauses.ENROLMENT,
    kind=Kind.POWER_FAIL,
    needs=[Capability.CLAIMS],
)
async def new_board_begins_at_boot_one(scene: Scene) -> None:
    """A pile that enrols anew with a new code may count its boots from 1 again."""
    claim = await scene.claim()
    worn = await scene.enrol(claim, boot=7)
    await worn.comes_into_service()
    await worn.leave()
    code = await scene.ask(scene.bench.new_claim, claim.pile_id)
    fresh = await scene.enrol(Claim(claim.pile_id, code, claim.port_count))
    check(fresh.epoch > worn.epoch, "the new board got the old epoch")
    await fresh.comes_into_service()
    await fresh.fence()


def _bad_requests(pile_id: str) -> dict[str, str]:
    return {
        "rubbish": "-----BEGIN CERTIFICATE REQUEST-----\nbm90aGluZw==\n-----END CERTIFICATE REQUEST-----\n",
        "no PEM at all": "please",
        "another common name": request_pem("somebody-else", key=new_key()),
        "two common names": request_pem(pile_id, "somebody-else", key=new_key()),
        "no common name": request_pem(key=new_key(), organisation="Nobody"),
        "a key on P-384": request_pem(pile_id, key=ec.generate_private_key(ec.SECP384R1())),
        "an RSA key": request_pem(pile_id, key=rsa.generate_private_key(65_537, 2048)),
        "a signature by another key": badly_signed_pem(pile_id),
        "a certificate in its place": new_key()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode(),
    }


@cases.case("enrolment.bad-csr-is-refused", clause=clauses.ENROLMENT, kind=Kind.REFUSAL)
async def bad_csr_is_refused(scene: Scene) -> None:
    """Rubbish, foreign names, other curves and forged signatures are `csr_invalid`, and use no code up."""
    claim = await scene.claim()
    for what, csr in (await scene.ask(_bad_requests, claim.pile_id)).items():
        try:
            _check_refused(await _post(scene, claim, csr), 400, "csr_invalid")
        except Failed as why:
            raise Failed(f"{what}: {why}") from why
    await _check_code_still_works(scene, claim)


@cases.case("enrolment.bad-request-is-refused", clause=clauses.ENROLMENT, kind=Kind.REFUSAL)
async def bad_request_is_refused(scene: Scene) -> None:
    """Missing, long or mistyped fields, no JSON, no length and too many bytes are `request_invalid`."""
    claim = await scene.claim()
    good = {
        "pile_id": claim.pile_id,
        "claim_code": claim.code,
        "csr_pem": request_pem(claim.pile_id, key=new_key()),
    }
    bad: dict[str, dict[str, Any]] = {f"no {name}": {"json": {**good, name: None}} for name in good}
    bad |= {
        "a pile id of 65 characters": {"json": {**good, "pile_id": "x" * 65}},
        "a pile id with a slash": {"json": {**good, "pile_id": "v1/x"}},
        "a code of 65 characters": {"json": {**good, "claim_code": "0" * 65}},
        "a request of 8193 characters": {"json": {**good, "csr_pem": "x" * 8_193}},
        "no JSON": {"content": b"claim me", "headers": {"Content-Type": "application/json"}},
        "too many bytes": {"json": {**good, "more": "x" * MAX_REQUEST_BYTES}},
        "no length": {"content": iter([b"{", b"}"]), "headers": {"Content-Type": "application/json"}},
    }
    for what, content in bad.items():
        try:
            answer = await scene.ask(partial(scene.desk.post, **content))
            _check_refused(answer, 400, "request_invalid")
        except Failed as why:
            raise Failed(f"{what}: {why}") from why
    await _check_code_still_works(scene, claim)


@cases.case("enrolment.guessing-is-limited", clause=clauses.ENROLMENT, kind=Kind.REFUSAL)
async def guessing_is_limited(scene: Scene) -> None:
    """After ten refused codes a pile has to wait, and is told how long; other piles need not."""
    claim, neighbour = await scene.claim(), await scene.claim()
    csr = request_pem(claim.pile_id, key=new_key())
    for _ in range(MAX_REFUSED):
        _check_refused(await _post(scene, claim, csr, code=WRONG_CODE), 403, "claim_refused")
    answer = await _post(scene, claim, csr)
    _check_refused(answer, 429, "too_many_attempts")
    check(answer.headers.get("Retry-After", "").isdigit(), "Retry-After does not say how long to wait")
    await _check_code_still_works(scene, neighbour)


@cases.case("enrolment.lets-the-pile-in", clause=clauses.ENROLMENT, kind=Kind.NORMAL)
async def pile_is_let_in(scene: Scene) -> None:
    """The broker lets the enrolled pile in at once, and the platform opens its first frame."""
    pile = await scene.enrol(await scene.claim())
    await pile.connect()
    ack = await pile.boots()
    check(ack.time_ms > 0, "boot_ack has no time")
    check_equal("the epoch of the first frame down", set(pile.last_counters), {pile.epoch})
