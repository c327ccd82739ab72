"""A platform is judged from outside: by its enrolment address, a list of claim codes, and commands."""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from conformance.platform.bench import Claim
from conformance.platform.outside import HookFailed, Hooks, OutsidePlatform, read_claims
from conformance.report import Outcome
from pileway import conformance_own, conformance_platform
from pileway.conformance_own import OwnPlatform
from pileway.errors import PilewayError

HOOK = Path(__file__).with_name("operator_hook.py")
PILES = 8

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
        "presence.*",
    )
    arguments = {
        "--enrol-at": outside.bench.enrolment_url,
        "--trust": str(outside.trust),
        "--claim-codes": str(outside.claim_codes),
        "--clock-speed": str(outside.bench.speed),
        "--start-command": f"{outside.command} start {{pile}} {{port}}",
        "--stop-command": f"{outside.command} stop {{session}}",
        "--session-command": f"{outside.command} session {{session}}",
        "--html": str(page),
    }
    given = [word for pair in arguments.items() for word in pair] + [
        f"--case={case_id}" for case_id in wanted
    ]
    ended = subprocess.run(
        [sys.executable, "-m", "pileway", "conformance", "platform", "--json", *given],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    report = json.loads(ended.stdout.splitlines()[-1])
    assert (report["passed"], report["failed"]) == (3, 0)
    skipped = [result["reason"] for result in report["results"] if result["result"] == Outcome.SKIPPED]
    assert set(skipped) == {"needs word of whether a pile is online"}
    assert "settlement.is-stored-and-charged" in page.read_text()


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
    words = [sys.executable, "-c", "import sys; sys.exit('no such pile: ' + sys.argv[1])", "{pile}"]
    bench = OutsidePlatform(
        enrolment_url="https://x/",
        enrolment_ca_pem=None,
        claims=[],
        hooks=Hooks(start=shlex.join(words)),
    )
    with pytest.raises(HookFailed, match="no such pile: P-1"):
        bench.order("P-1", 1)
