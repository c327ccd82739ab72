"""What may be done to a pile beyond the wire: by the simulator's adapter, or by a person who is asked to."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from protocol.firmware import Manifest
from protocol.words import AlarmKind


class Ability(StrEnum):
    """What a bench can do; the names cases use in ``needs``."""

    FRESH = "fresh"
    """a new pile for each case, not enrolled yet"""
    HANDS = "hands"
    """plug a load in and pull it"""
    QUICK = "quick-hands"
    """do so within a second"""
    POWER = "power"
    """take the pile's mains away"""
    NO_CLOCK = "no-clock"
    """a pile that wakes up without a date"""
    HAZARD = "hazard"
    """let the pile measure a danger"""
    CARD = "card"
    """swipe a card"""
    KEYPAD = "keypad"
    """type a code in"""
    FIRMWARE = "firmware"
    """make and sign firmware as the pile's maker"""
    CHILDREN = "children"
    """a pile with others behind it that have only a radio"""
    RADIO = "radio"
    """jam the radio of a pile behind another"""


@dataclass(frozen=True)
class Load:
    """What hangs in a socket: so many watts; after ``full_after_s`` of charging only ``rest_w``, if it is a battery."""

    power_w: float
    full_after_s: float | None = None
    rest_w: float = 4.0


@dataclass(frozen=True)
class Order:
    """The pile a case wants: who it is, where it enrols, by which clock it lives, and the piles behind it."""

    pile_id: str
    claim_code: str
    enrolment_url: str
    ca_path: Path
    port_count: int
    has_clock: bool
    clock: Callable[[], datetime]
    speed: float
    children: tuple["Order", ...] = ()


class Maker(Protocol):
    """Who made the pile: makes firmware for it, and signs."""

    @property
    def model(self) -> str:
        """The model its firmware is for."""
        ...

    def image(self, version: str, *, boots: bool = True) -> bytes:
        """Firmware of this version; one that does not boot on request."""
        ...

    def sign(self, manifest: Manifest) -> bytes:
        """The signature that the pile's built-in key accepts."""
        ...


class Bench(Protocol):
    """One pile on the table. Seconds are real ones. What a bench lacks the ability for raises NotPossible."""

    @property
    def maker(self) -> Maker:
        """The pile's maker."""
        ...

    @property
    def children(self) -> Sequence["Bench"]:
        """The piles behind it, in the order they were asked for; each is powered on by itself, after its host."""
        ...

    async def power_on(self) -> None:
        """Let the pile start for the first time."""
        ...

    async def cut_power(self, for_s: float) -> None:
        """Take the mains away; returns when the pile is without power."""
        ...

    async def jam_radio(self, for_s: float) -> None:
        """Let a pile and its host lose each other; returns at once."""
        ...

    async def plug(self, port: int, load: Load) -> None:
        """Put a plug in."""
        ...

    async def unplug(self, port: int) -> None:
        """Pull the plug."""
        ...

    async def inflict(self, kind: AlarmKind, port: int | None = None, value: int | None = None) -> None:
        """Let the pile measure a danger, at a port or all over; without a value so much that it surely trips."""
        ...

    async def relieve(self, kind: AlarmKind, port: int | None = None) -> None:
        """The danger is over."""
        ...

    async def swipe(self, port: int, card: str) -> None:
        """Hold a card to the reader of a port."""
        ...

    async def type_code(self, port: int, digits: str) -> None:
        """Type a start code in at a port."""
        ...


class Workshop(Protocol):
    """Makes piles to order."""

    @property
    def abilities(self) -> frozenset[Ability]:
        """What its benches can do."""
        ...

    def bench(self, order: Order) -> AbstractAsyncContextManager[Bench]:
        """A new pile, not powered yet; gone afterwards."""
        ...
