"""A platform is judged from outside: by its enrolment address, a list of claim codes, and commands."""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from conformance.platform.bench import Claim, OrderRefused, UpdateFacts
from conformance.platform.outside import HookFailed, Hooks, OutsidePlatform, read_claims
from conformance.report import Outcome
from pileway import conformance_own, conformance_platform
from pileway.conformance_own import OwnPlatform
from pileway.errors import PilewayError

HOOK = Path(__file__).with_name("operator_hook.py")
PILES = 20

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Outside:
    """What somebody outside is given of a platform."""

    bench: OwnPlatform
    trust: Path
    claim_codes: Path
    command: str


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    folder = tmp_path_factory.mktemp("outside")
    with conformance_own.own_platform() as bench:
        chosen = bench.platform.settings
        assert chosen.operator_token is not None
        claims = [bench.new_pile() for _ in range(PILES)]
        (folder / "claims.txt").write_text(
            "# pile, code, ports\n"
            + "".join(f"{claim.pile_id}, {claim.code}, {claim.port_count}\n" for claim in claims)
        )
        (folder / "ca.pem").write_text(bench.enrolment_ca_pem)
        words = [sys.executable, str(HOOK), chosen.web_url, chosen.operator_token.get_secret_value()]
        yield Outside(bench, folder / "ca.pem", folder / "claims.txt", shlex.join(words))


def test_a_platform_is_judged_by_commands_of_its_operator(outside: Outside, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    wanted = (
        "settlement.is-stored-and-charged",
        "stop.ends-the-charge",
        "start.refused-gives-*",
        "clear.refused-keeps-the-lock",
        "card.like-a-known-one-is-refused",
        "code.is-read-by-its-pile",
        "firmware.steps-in-any-order",
        "firmware.is-what-the-maker-signed",
        "host.carries-a-child-into-service",
        "rotation.survives-*",
    )
    operator = {
        "clear": "clear {pile}",
        "card": "card {pile} {card}",
        "code": "code {pile} {port}",
        "firmware": "firmware {pile} {image} {manifest}",
        "update": "update {pile}",
        "child": "child {pile}",
    }
    arguments = {
        "--enrol-at": outside.bench.enrolment_url,
        "--trust": str(outside.trust),
        "--claim-codes": str(outside.claim_codes),
        "--clock-speed": str(outside.bench.speed),
        "--start-command": f"{outside.command} start {{pile}} {{port}}",
        "--stop-command": f"{outside.command} stop {{session}}",
        "--session-command": f"{outside.command} session {{session}}",
        "--online-command": f"{outside.command} online {{pile}}",
        "--html": str(page),
    }
    given = [word for pair in arguments.items() for word in pair] + [
        f"--case={case_id}" for case_id in wanted
    ]
    given += [f"--operator-command={name}={outside.command} {words}" for name, words in operator.items()]
    ended = subprocess.run(
        [sys.executable, "-m", "pileway", "conformance", "platform", "--json", *given],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    report = json.loads(ended.stdout.splitlines()[-1])
    assert (report["passed"], report["failed"]) == (9, 0), report
    skipped = [result["reason"] for result in report["results"] if result["result"] == Outcome.SKIPPED]
    assert set(skipped) == {"needs an operator who rotates keys"}
    assert "settlement.is-stored-and-charged" in page.read_text()


def test_what_a_platform_is_without_does_not_apply_and_is_said(outside: Outside) -> None:
    bench = _bench(outside, Hooks(), claims=[outside.bench.new_pile() for _ in range(2)])
    cases = conformance_platform.every_case(["host.is-*", "host.without-*", "card.known-is-*"])
    report = conformance_platform.judge(bench, cases, progress=lambda _: None, without=["hosts"])
    found = {result.id: (result.result, result.reason) for result in report.results}
    assert found == {
        "host.is-given-the-commands-of-its-children": (
            Outcome.NOT_APPLICABLE,
            "stated: has no piles behind hosts",
        ),
        "host.without-children-relays-nothing": (Outcome.PASSED, ""),
        "card.known-is-taken-once": (
            Outcome.SKIPPED,
            "needs an operator who registers cards, word of what became of a charge",
        ),
    }
    assert report.profile == ("has no piles behind hosts",)


def test_nobody_is_without_what_they_offer_or_what_nobody_may_be_without() -> None:
    with pytest.raises(PilewayError, match="--without hosts"):
        conformance_platform.judge(
            _commanded(child="register {pile}"), [], progress=lambda _: None, without=["hosts"]
        )
    with pytest.raises(PilewayError, match="codes, cards, firmware, hosts"):
        conformance_platform.judge(_commanded(), [], progress=lambda _: None, without=["settlements"])


def test_a_list_of_claims_runs_out_and_says_so(outside: Outside) -> None:
    bench = conformance_platform.outside(
        outside.bench.enrolment_url,
        claim_codes=outside.claim_codes,
        trust=outside.trust,
        hooks=Hooks(),
        speed=outside.bench.speed,
    )
    for _ in range(PILES):
        bench.new_pile()
    report = conformance_platform.judge(
        bench, conformance_platform.every_case(["time.is-told"]), progress=lambda _: None
    )
    [result] = report.results
    assert result.result is Outcome.SKIPPED
    assert result.reason == "every pile of the list of claim codes is used"


def test_claims_are_read_with_comments_and_either_separator(tmp_path: Path) -> None:
    path = tmp_path / "claims"
    path.write_text("A-1,7Q4M-0ZVA,12\n\nB_2 99PD-W3KX # two ports, as none are named\n")
    assert read_claims(path) == [Claim("A-1", "7Q4M-0ZVA", 12), Claim("B_2", "99PD-W3KX", 2)]


@pytest.mark.parametrize("line", ["A-1", "A-1, code, twelve", "A-1 code 12 more"])
def test_a_bad_line_of_claims_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "claims"
    path.write_text(f"B-1 code 2\n{line}\n")
    with pytest.raises(ValueError, match="line 2"):
        read_claims(path)


def test_another_platform_needs_claim_codes() -> None:
    with pytest.raises(PilewayError, match="--claim-codes"):
        conformance_platform.outside("https://x/", claim_codes=None, trust=None, hooks=Hooks(), speed=1)


def test_an_operators_command_is_named() -> None:
    hooks = conformance_platform.with_operator(Hooks(), ["revoke=cut {pile}"])
    assert hooks.revoke == "cut {pile}"
    with pytest.raises(PilewayError, match="NAME=COMMAND"):
        conformance_platform.with_operator(Hooks(), ["explode={pile}"])


def test_a_command_that_fails_says_what_it_said() -> None:
    bench = _commanded(start="import sys; sys.exit('no such pile: ' + sys.argv[1])")
    with pytest.raises(HookFailed, match="no such pile: P-1"):
        bench.order("P-1", 1)


@pytest.mark.parametrize("name", ["start", "code"])
def test_an_order_is_refused_by_an_exit_code_of_its_own(name: str) -> None:
    bench = _commanded(**{name: "import sys; sys.exit(3)"})
    with pytest.raises(OrderRefused, match="ended with 3"):
        (bench.order if name == "start" else bench.sell_code)("P-1", 1)


def test_a_child_is_printed_like_a_line_of_the_list() -> None:
    assert _commanded(child="import sys; print(sys.argv[1] + '-A, 7Q4M-0ZVA, 4')").new_child("P-1") == Claim(
        "P-1-A", "7Q4M-0ZVA", 4
    )
    with pytest.raises(HookFailed, match="no pile and its code"):
        _commanded(child="print('P-1-A')").new_child("P-1")


def test_what_became_of_an_update_is_a_json_object() -> None:
    told = _commanded(update="""print('{"done": false, "failed": true, "error": "hash"}')""").update("P-1")
    assert told == UpdateFacts(done=False, failed=True, error="hash")
    for printed in ("[]", "done", ""):
        with pytest.raises(HookFailed, match="no JSON object"):
            _commanded(update=f"print({printed!r})").update("P-1")


def _bench(outside: Outside, hooks: Hooks, *, claims: list[Claim]) -> OutsidePlatform:
    return OutsidePlatform(
        enrolment_url=outside.bench.enrolment_url,
        enrolment_ca_pem=outside.trust.read_text(),
        claims=claims,
        hooks=hooks,
        speed=outside.bench.speed,
    )


def _commanded(**programs: str) -> OutsidePlatform:
    """A platform whose commands are small programs that are given the pile."""
    commands = {
        name: shlex.join([sys.executable, "-c", program.replace("{", "{{").replace("}", "}}"), "{pile}"])
        for name, program in programs.items()
    }
    return OutsidePlatform(
        enrolment_url="https://x/", enrolment_ca_pem=None, claims=[], hooks=Hooks(**commands)
    )
