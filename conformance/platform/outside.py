"""Somebody else's platform: its claim codes from a file, and what the wire cannot do by commands of its operator.

A command is run without a shell, `{pile}`, `{port}` and `{session}` replaced; exit code 0 is success.
"""

import json
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from threading import Lock
from typing import Any, Final
from uuid import UUID

from conformance.case import ConformanceError, NotPossible
from conformance.platform.bench import Capability, Claim, SessionFacts

COMMAND_LIMIT_S: Final = 60.0
FAST: Final = 1_000.0
USUAL_PORTS: Final = 2
OPERATOR_HOOKS: Final = frozenset(
    {"revoke", "quarantine", "release", "rotate_key", "configure", "locate", "extend"}
)
"""Hooks that stand for what an operator does."""


class HookFailed(ConformanceError):
    """A command of the operator's did not do what it is for; the text holds the end of what it said."""


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Commands; a capability whose command is missing is not there.

    ``start`` orders and pays a charge, and may print its session id. ``stop`` stops it as its rider. ``session`` prints
    what became of it as a JSON object with the fields of `SessionFacts`. ``online`` prints `true` or `false`.
    ``claim`` prints another claim code. ``crash`` kills what listens to piles, which has to come back by itself.
    ``configure`` is given its settings as `{settings}`, a JSON object.
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
        printed = _run(self._hooks.start, pile=pile_id, port=port)
        try:
            return UUID(printed) if printed else None
        except ValueError:
            raise HookFailed(f"the start command prints {printed[:80]!r}, which is no session id") from None

    def stop(self, session_id: UUID) -> None:
        """Run the command."""
        _run(self._hooks.stop, session=session_id)

    def session(self, session_id: UUID) -> SessionFacts:
        """What the command prints."""
        printed = _run(self._hooks.session, session=session_id)
        try:
            told: dict[str, Any] = json.loads(printed)
            return SessionFacts(**{field.name: told.get(field.name) for field in fields(SessionFacts)})  # pyright: ignore[reportArgumentType]  # the operator's word
        except (ValueError, AttributeError):
            raise HookFailed(
                f"the session command prints {printed[:80]!r}, which is no JSON object"
            ) from None

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


def read_claims(path: Path) -> list[Claim]:
    """Claims from a file: pile id, code and number of ports a line, by comma or space; `#` begins a comment.

    Raises ValueError naming the line, OSError.
    """
    found: list[Claim] = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        if len(words) not in (2, 3) or not (words[-1].isdigit() or len(words) == 2):
            raise ValueError(f"{path}, line {number}: not a pile id, a code and perhaps a number of ports")
        found.append(Claim(words[0], words[1], int(words[2]) if len(words) == 3 else USUAL_PORTS))
    return found


def _run(command: str | None, **values: object) -> str:
    assert command is not None, "a missing command is a missing capability"
    words = [word.format(**values) for word in shlex.split(command)]
    try:
        ended = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HookFailed(f"{words[0]}: {error}") from error
    if ended.returncode:
        raise HookFailed(f"{words[0]} ended with {ended.returncode}: {ended.stderr.strip()[-300:]}")
    return ended.stdout.strip()
