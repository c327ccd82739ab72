"""The written contract says what the code does."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from charging import claim_attempts, energy_witnesses, sessions, timers
from charging.waits import Waits
from device_sim import link, repeats, runner
from device_sim.configuration import UNSENT_FRAMES_MAX, Thresholds
from device_sim.nvm import REMEMBERED_COMMANDS, REMEMBERED_SESSIONS
from gateway import device_routes, enrolment, outbox, renewal
from gateway.certificate_authority import CERTIFICATE_LIFETIME
from gateway.errors import EnrolmentFault, Refusal
from protocol import cddl, codec, envelope, errors, fields, glossary, messages, reference, topics, vectors
from protocol.errors import ProtocolError

TEXT = reference.DOCUMENT.read_text()
PROSE = " ".join(TEXT.split())


def test_the_tables_on_file_are_those_of_the_code() -> None:
    assert reference.rewritten(TEXT) == TEXT, "run python -m protocol.reference"
    assert sorted(reference.blocks_of(TEXT)) == sorted(reference.block_names())


def test_the_cddl_on_file_is_that_of_the_code() -> None:
    assert reference.CDDL.read_text() == cddl.as_text(), "run python -m protocol.reference"


def test_every_field_is_explained_and_nothing_else() -> None:
    used: set[str] = set()
    owners = [(cls, [field.name for field in cddl.schema_of(cls).fields]) for cls in fields.catalogue()]
    owners += [(row, [name for name, _ in fields.row_schema(row).columns]) for row in cddl.rows()]
    for owner, names in owners:
        assert all(glossary.field_meaning(owner, name) for name in names), owner
        own = glossary.FIELDS[owner]
        assert own.keys() <= set(names), owner
        used |= set(names) - own.keys()
    assert glossary.FIELDS.keys() == {owner for owner, _ in owners}
    assert used == glossary.COMMON_FIELDS.keys()


def test_every_word_is_explained_and_nothing_else() -> None:
    assert set(glossary.WORDS) == set(cddl.ENUMERATIONS)
    for choices, meanings in glossary.WORDS.items():
        assert list(meanings) == [member.name for member in choices], choices


def test_every_link_inside_the_document_leads_somewhere() -> None:
    titles = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors


def test_every_reason_to_refuse_a_frame_is_told() -> None:
    told = set(re.findall(r"`(\w+)`", TEXT.partition("## 11 ")[2].partition("## 12 ")[0]))
    protocol_errors = [error for error in vars(errors).values() if isinstance(error, type)]
    reasons = {
        error.reason
        for error in protocol_errors
        if issubclass(error, ProtocolError) and error is not ProtocolError
    }
    assert told - {"rejected"} == reasons | {refusal.value for refusal in Refusal}


def test_every_refusal_of_an_enrolment_is_told() -> None:
    section = TEXT.partition("## 2 ")[2].partition("## 3 ")[0]
    assert re.findall(r"^\| \d{3} \| `(\w+)`", section, re.MULTILINE) == [
        fault.value for fault in EnrolmentFault
    ]
    for model in (enrolment.EnrolmentRequest, enrolment.EnrolmentAnswer, renewal.RenewalAnswer):
        assert all(f"| `{name}` |" in section for name in model.model_fields)


def _pretty(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


@pytest.mark.parametrize(
    "words",
    [
        ", ".join(map(_pretty, repeats.BOOT_WAITS_S[:-1]))
        + f", then every {_pretty(repeats.BOOT_WAITS_S[-1])}",
        ", ".join(map(_pretty, repeats.RECORD_WAITS_S)) + ", then every 30 min",
        f"{outbox.REPLY_EXPIRY_S} s",
        f"{claim_attempts.MOST_PER_PILE} refused codes for this pile within 10 minutes",
        f"at most {device_routes.MAX_REQUEST_BYTES})",
        f"up to {CERTIFICATE_LIFETIME.days} days",
        f"session expiry interval {link.SESSION_EXPIRY_S} s, keep-alive {link.KEEPALIVE_S} s",
        f"receive maximum {link.RECEIVE_MAXIMUM}, maximum packet size at least {envelope.MAX_FRAME_BYTES + 1024}",
        f"At most {codec.MAX_BODY_BYTES} bytes",
        f"nesting of at most {codec.MAX_DEPTH}",
        f"at most {topics.MAX_TOPIC_CHARS} characters",
        f"modulo {topics.SHARD_COUNT}",
        f"commands ({REMEMBERED_COMMANDS} at least), ids of ended sessions ({REMEMBERED_SESSIONS} at least)",
        f"{UNSENT_FRAMES_MAX} of them at least",
        f"under {Thresholds().full_w:.0f} W for {Thresholds().full_s} s",
        f"plug out for {Thresholds().unplug_s} s",
        f"more than `max_power_w` for {Thresholds().overload_s} s",
        f"still for {Thresholds().debounce_s} s",
        f"power over {Thresholds().start_w:.0f} W",
        f"difference under {runner.CLOCK_TOLERANCE_S:.0f} s",
        f"longest `limit_s` | {messages.LONGEST_SESSION_S // 86_400} days",
        f"none longer than {messages.HALF_HOUR_S} s",
        f"every {_pretty(Waits().resend.total_seconds())} with the same id",
        f"deadline of `start` | {_pretty(Waits().start.total_seconds())} after the payment",
        f"deadline of `stop` | {Waits().stop // timedelta(hours=1)} h",
        f"three missed heartbeats and {_pretty(Waits().silence.total_seconds())}",
        f"more than {sessions.CLOCK_TOLERANCE // timedelta(minutes=1)} minutes from what",
        f"more than {energy_witnesses.TOLERANCE_DWH // 10} Wh between",
        f"{timers.SETTLEMENT_GIVEN_UP_AFTER.days} days after its longest possible end",
    ],
)
def test_numbers_in_the_prose_are_those_of_the_code(words: str) -> None:
    assert words in PROSE


def test_the_worked_example_is_a_frame_of_the_code() -> None:
    example = TEXT.partition("<!-- example begins -->")[2].partition("<!-- example ends -->")[0]
    frame = bytes.fromhex("".join(example.partition("\nframe")[2].partition("```")[0].split()))
    opener = envelope.Opener({vectors.EPOCH: vectors.SECRET}, direction=topics.Direction.UP)
    opened = opener.open("v1/11/PW-000001/up/gone", frame)
    assert (opened.epoch, opened.counter) == (1, (3, 4))
    assert codec.decode(topics.Direction.UP, "gone", opened.body) == messages.Gone(connection=1)


def test_the_document_names_files_that_exist() -> None:
    root = Path(reference.__file__).parents[1]
    named = re.findall(r"`((?:docs|protocol)/[\w./]+)`", TEXT)
    assert named
    assert all((root / name).is_file() for name in named)
