"""Somebody else's platform: its claim codes from a file, and what the wire cannot do by commands of its operator.

A command is run without a shell, `{pile}`, `{port}` and `{session}` replaced; exit code 0 is success. A command that
orders ends with 3 where the platform does not take the order.
"""

import json
import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from threading import Lock
from typing import Any, Final, cast
from uuid import UUID

from conformance.case import ConformanceError, NotPossible
from conformance.platform.bench import (
    Capability,
    Claim,
    FirmwareRelease,
    OrderRefused,
    SessionFacts,
    UpdateFacts,
)

COMMAND_LIMIT_S: Final = 60.0
FAST: Final = 1_000.0
USUAL_PORTS: Final = 2
OPERATOR_HOOKS: Final = frozenset(
    {
        "revoke",
        "quarantine",
        "release",
        "rotate_key",
        "configure",
        "locate",
        "extend",
        "code",
        "card",
        "clear",
        "firmware",
        "update",
        "child",
    }
)
"""Hooks that stand for what an operator does or sees."""
ORDER_REFUSED: Final = 3
"""What a command that orders ends with when the platform does not take the order."""


class HookFailed(ConformanceError):
    """A command of the operator's did not do what it is for; the text holds the end of what it said.

    `exit_code` is None where it did not come to its end.
    """

    def __init__(self, told: str, *, exit_code: int | None = None) -> None:
        super().__init__(told)
        self.exit_code = exit_code


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Commands; a capability whose command is missing is not there.

    ``start`` orders and pays a charge, and may print its session id. ``stop`` stops it as its rider. ``session`` prints
    what became of it as a JSON object with the fields of `SessionFacts`. ``online`` prints `true` or `false`.
    ``claim`` prints another claim code. ``crash`` kills what listens to piles, which has to come back by itself.
    ``configure`` is given its settings as `{settings}`, a JSON object.

    ``code`` sells a charge on a pile that is offline and prints the ten digits. ``card`` lets the card `{card}` start
    charges at a pile. ``clear`` is a person who has looked: it clears whatever keeps a pile or a port of it from
    starting. ``child`` registers a pile behind the host `{pile}`, and prints it as a line of the list of claim codes.

    ``firmware`` brings the file `{image}` to a pile, not by force, with the maker's word in the file `{manifest}`: JSON
    of model (the pile's, `KIT-` and its number of ports), version, minimum_version, size_bytes, sha256 and signature in
    hex. The maker's key is that of the test vectors. ``update`` prints what became of a pile's newest update, a JSON
    object with the fields of `UpdateFacts`.
    """

    start: str | None = None
    stop: str | None = None
    session: str | None = None
    online: str | None = None
    claim: str | None = None
    crash: str | None = None
    revoke: str | None = None
    quarantine: str | None = None
    release: str | None = None
    rotate_key: str | None = None
    configure: str | None = None
    locate: str | None = None
    extend: str | None = None
    code: str | None = None
    card: str | None = None
    clear: str | None = None
    firmware: str | None = None
    update: str | None = None
    child: str | None = None


class OutsidePlatform:
    """A bench on a platform we only know from outside; `PlatformBench` says what each method is for."""

    def __init__(
        self,
        *,
        enrolment_url: str,
        enrolment_ca_pem: str | None,
        claims: Sequence[Claim],
        hooks: Hooks,
        speed: float = 1.0,
    ) -> None:
        self.name = enrolment_url
        self.enrolment_url = enrolment_url
        self.enrolment_ca_pem = enrolment_ca_pem
        self.speed = speed
        self._claims = list(claims)
        self._hooks = hooks
        self._lock = Lock()

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Those whose command was given."""
        given = {
            Capability.ORDERS: self._hooks.start,
            Capability.STOPS: self._hooks.stop,
            Capability.SESSIONS: self._hooks.session,
            Capability.PRESENCE: self._hooks.online,
            Capability.CLAIMS: self._hooks.claim,
            Capability.GATEWAY_CRASH: self._hooks.crash,
            Capability.FAST_CLOCK: self.speed >= FAST,
            Capability.REVOCATION: self._hooks.revoke,
            Capability.QUARANTINE: self._hooks.quarantine and self._hooks.release,
            Capability.KEY_ROTATION: self._hooks.rotate_key,
            Capability.CONFIGURATION: self._hooks.configure,
            Capability.SERVICE: self._hooks.locate,
            Capability.EXTENSION: self._hooks.extend,
            Capability.CODES: self._hooks.code,
            Capability.CARDS: self._hooks.card,
            Capability.CLEARING: self._hooks.clear,
            Capability.FIRMWARE: self._hooks.firmware,
            Capability.UPDATES: self._hooks.update,
            Capability.HOSTS: self._hooks.child,
        }
        return frozenset(capability for capability, hook in given.items() if hook)

    def new_pile(self) -> Claim:
        """The next of the file. Raises NotPossible when all are used."""
        with self._lock:
            if not self._claims:
                raise NotPossible("every pile of the list of claim codes is used")
            return self._claims.pop(0)

    def new_claim(self, pile_id: str) -> str:
        """What the command prints."""
        return _run(self._hooks.claim, pile=pile_id)

    def order(self, pile_id: str, port: int) -> UUID | None:
        """The session the command prints, if it prints one."""
        printed = _ordered(self._hooks.start, pile=pile_id, port=port)
        try:
            return UUID(printed) if printed else None
        except ValueError:
            raise HookFailed(f"the start command prints {printed[:80]!r}, which is no session id") from None

    def stop(self, session_id: UUID) -> None:
        """Run the command."""
        _run(self._hooks.stop, session=session_id)

    def session(self, session_id: UUID) -> SessionFacts:
        """What the command prints."""
        told = _object("session", _run(self._hooks.session, session=session_id))
        return SessionFacts(**{field.name: told.get(field.name) for field in fields(SessionFacts)})  # pyright: ignore[reportArgumentType]  # the operator's word

    def online(self, pile_id: str) -> bool:
        """Whether the command prints `true`."""
        return _run(self._hooks.online, pile=pile_id) == "true"

    def refused(self) -> Mapping[str, int]:
        """There is no command for it."""
        raise NotPossible("an outside platform's counts are not asked for")

    def crash_gateway(self) -> None:
        """Run the command."""
        _run(self._hooks.crash)

    def revoke(self, pile_id: str) -> None:
        """Run the command."""
        _run(self._hooks.revoke, pile=pile_id)

    def quarantine(self, pile_id: str) -> None:
        """Run the command."""
        _run(self._hooks.quarantine, pile=pile_id)

    def release(self, pile_id: str) -> None:
        """Run the command."""
        _run(self._hooks.release, pile=pile_id)

    def rotate_key(self, pile_id: str) -> None:
        """Run the command."""
        _run(self._hooks.rotate_key, pile=pile_id)

    def configure(self, pile_id: str, settings: Mapping[str, int]) -> None:
        """Run the command."""
        _run(self._hooks.configure, pile=pile_id, settings=json.dumps(dict(settings)))

    def locate(self, pile_id: str, port: int) -> None:
        """Run the command."""
        _run(self._hooks.locate, pile=pile_id, port=port)

    def extend(self, session_id: UUID) -> None:
        """Run the command."""
        _run(self._hooks.extend, session=session_id)

    def sell_code(self, pile_id: str, port: int) -> str:
        """The digits the command prints."""
        return _ordered(self._hooks.code, pile=pile_id, port=port)

    def register_card(self, pile_id: str, number: str) -> None:
        """Run the command."""
        _run(self._hooks.card, pile=pile_id, card=number)

    def clear_faults(self, pile_id: str) -> None:
        """Run the command."""
        _run(self._hooks.clear, pile=pile_id)

    def update_firmware(self, pile_id: str, release: FirmwareRelease) -> None:
        """Run the command beside the two files it is given."""
        manifest = release.manifest
        signed = manifest._asdict() | {
            "sha256": manifest.sha256.hex(),
            "signature": release.signature.hex(),
        }
        with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
            image_path, manifest_path = Path(folder) / "image.bin", Path(folder) / "manifest.json"
            image_path.write_bytes(release.image)
            manifest_path.write_text(json.dumps(signed))
            _run(self._hooks.firmware, pile=pile_id, image=image_path, manifest=manifest_path)

    def update(self, pile_id: str) -> UpdateFacts:
        """What the command prints."""
        told = _object("update", _run(self._hooks.update, pile=pile_id))
        return UpdateFacts(**{field.name: told.get(field.name) for field in fields(UpdateFacts)})  # pyright: ignore[reportArgumentType]  # the operator's word

    def new_child(self, host_id: str) -> Claim:
        """The pile the command prints."""
        printed = _run(self._hooks.child, pile=host_id)
        claim = _claim(printed)
        if claim is None:
            raise HookFailed(f"the child command prints {printed[:80]!r}, which is no pile and its code")
        return claim


def read_claims(path: Path) -> list[Claim]:
    """Claims from a file: pile id, code and number of ports a line, by comma or space; `#` begins a comment.

    Raises ValueError naming the line, OSError.
    """
    found: list[Claim] = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        told = line.partition("#")[0]
        if not told.strip():
            continue
        claim = _claim(told)
        if claim is None:
            raise ValueError(f"{path}, line {number}: not a pile id, a code and perhaps a number of ports")
        found.append(claim)
    return found


def _claim(line: str) -> Claim | None:
    words = line.replace(",", " ").split()
    if len(words) not in (2, 3) or not (words[-1].isdigit() or len(words) == 2):
        return None
    return Claim(words[0], words[1], int(words[2]) if len(words) == 3 else USUAL_PORTS)


def _ordered(command: str | None, **values: object) -> str:
    try:
        return _run(command, **values)
    except HookFailed as failed:
        if failed.exit_code == ORDER_REFUSED:
            raise OrderRefused(str(failed)) from None
        raise


def _object(name: str, printed: str) -> dict[str, Any]:
    try:
        told = json.loads(printed)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise HookFailed(f"the {name} command prints {printed[:80]!r}, which is no JSON object")
    return cast("dict[str, Any]", told)


def _run(command: str | None, **values: object) -> str:
    assert command is not None, "a missing command is a missing capability"
    words = [word.format(**values) for word in shlex.split(command)]
    try:
        ended = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HookFailed(f"{words[0]}: {error}") from error
    if ended.returncode:
        told = f"{words[0]} ended with {ended.returncode}: {ended.stderr.strip()[-300:]}"
        raise HookFailed(told, exit_code=ended.returncode)
    return ended.stdout.strip()
