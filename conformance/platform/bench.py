"""What the kit needs of a platform beyond the wire: piles to play, paid charges, and a look at what it says of them.

A bench offers what it can; a case that needs more is skipped with the capability's name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from conformance.case import ConformanceError
from protocol.firmware import Manifest


class Capability(StrEnum):
    """What a bench may be able to do; the value is what a report says when it is missing."""

    ORDERS = "paid charges"
    STOPS = "a rider who stops"
    SESSIONS = "word of what became of a charge"
    PRESENCE = "word of whether a pile is online"
    CLAIMS = "a second claim code"
    REFUSALS = "counts of refused frames"
    GATEWAY_CRASH = "a gateway to kill"
    FAST_CLOCK = "a clock a thousand times faster"
    REVOCATION = "an operator who revokes"
    QUARANTINE = "an operator who quarantines"
    KEY_ROTATION = "an operator who rotates keys"
    CONFIGURATION = "an operator who configures"
    SERVICE = "an operator who looks for a pile"
    EXTENSION = "charges that are extended"
    CODES = "charges sold by start code"
    CARDS = "an operator who registers cards"
    CLEARING = "an operator who clears faults"
    FIRMWARE = "an operator who updates firmware"
    UPDATES = "word of what became of an update"
    HOSTS = "piles behind a host"


class OrderRefused(ConformanceError):
    """The platform does not take an order; the text says why, as far as it told."""


@dataclass(frozen=True)
class Claim:
    """A registered pile nobody has enrolled yet."""

    pile_id: str
    code: str
    port_count: int


@dataclass(frozen=True)
class SessionFacts:
    """What the platform says of a charge; energy in 0.1 Wh, money in fen, None where it has nothing to say yet.

    `over` is set once nothing more will happen: charged and settled, or failed and everything given back.
    """

    failed: bool
    charging: bool
    over: bool
    energy_dwh: int | None
    prepaid_fen: int
    charged_fen: int | None
    refund_fen: int | None


@dataclass(frozen=True)
class FirmwareRelease:
    """An image, and what its maker signed about it."""

    manifest: Manifest
    signature: bytes
    image: bytes


@dataclass(frozen=True)
class UpdateFacts:
    """What the platform says of a pile's newest update; `error` is the contract's word, None where there is none."""

    done: bool
    failed: bool
    error: str | None


class PlatformBench(Protocol):
    """A platform under test. Methods of a capability it lacks are never called."""

    @property
    def name(self) -> str:
        """What the report calls it."""
        ...

    @property
    def enrolment_url(self) -> str:
        """Where piles enrol."""
        ...

    @property
    def enrolment_ca_pem(self) -> str | None:
        """The authority of the enrolment server; None for a public one."""
        ...

    @property
    def speed(self) -> float:
        """How many seconds the platform's clock shows in a real one."""
        ...

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can do."""
        ...

    def new_pile(self) -> Claim:
        """A pile that is registered and not enrolled. Raises ConformanceError when there is none left."""
        ...

    def new_claim(self, pile_id: str) -> str:
        """CLAIMS: another claim code for a pile."""
        ...

    def order(self, pile_id: str, port: int) -> UUID | None:
        """ORDERS: pay a charge, so that `start` goes out; its session, None if only the pile will learn it.

        Raises OrderRefused for one the platform does not take.
        """
        ...

    def stop(self, session_id: UUID) -> None:
        """STOPS: the rider has had enough."""
        ...

    def session(self, session_id: UUID) -> SessionFacts:
        """SESSIONS: what became of a charge."""
        ...

    def online(self, pile_id: str) -> bool:
        """PRESENCE: whether the platform holds a pile to be online."""
        ...

    def refused(self) -> Mapping[str, int]:
        """REFUSALS: frames refused so far, by the reasons of the contract."""
        ...

    def crash_gateway(self) -> None:
        """GATEWAY_CRASH: kill whatever listens to piles, as a power cut would; it comes back by itself."""
        ...

    def revoke(self, pile_id: str) -> None:
        """REVOCATION: shut a pile out for good."""
        ...

    def quarantine(self, pile_id: str) -> None:
        """QUARANTINE: shut a pile out."""
        ...

    def release(self, pile_id: str) -> None:
        """QUARANTINE: let it back."""
        ...

    def rotate_key(self, pile_id: str) -> None:
        """KEY_ROTATION: offer a pile its next secret."""
        ...

    def configure(self, pile_id: str, settings: Mapping[str, int]) -> None:
        """CONFIGURATION: want these settings in force."""
        ...

    def locate(self, pile_id: str, port: int) -> None:
        """SERVICE: have a port of a pile blink and beep."""
        ...

    def extend(self, session_id: UUID) -> None:
        """EXTENSION: give a running charge more."""
        ...

    def sell_code(self, pile_id: str, port: int) -> str:
        """CODES: pay a charge on a pile that is offline; the ten digits for its rider. Raises OrderRefused."""
        ...

    def register_card(self, pile_id: str, number: str) -> None:
        """CARDS: let a card start charges at a pile."""
        ...

    def clear_faults(self, pile_id: str) -> None:
        """CLEARING: a person has looked at a pile, and clears whatever keeps it or a port of it from starting."""
        ...

    def update_firmware(self, pile_id: str, release: FirmwareRelease) -> None:
        """FIRMWARE: bring a release to a pile, now, and without ending sessions for it."""
        ...

    def update(self, pile_id: str) -> UpdateFacts:
        """UPDATES: what became of a pile's newest update."""
        ...

    def new_child(self, host_id: str) -> Claim:
        """HOSTS: a pile registered behind this host and not enrolled."""
        ...
