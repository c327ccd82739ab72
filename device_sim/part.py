"""What a pile is made of: parts that hear messages, obey commands, and act by themselves at an instant."""

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from device_sim.port import NEVER_MS, Port
from protocol.fields import Message
from protocol.words import CommandCause, CommandResult, StartCause, StopReason

if TYPE_CHECKING:
    from device_sim.pile import Pile


class Moment(Enum):
    """The turns of a session, as the pile's parts and the people around it see them."""

    ACCEPTED = auto()
    STARTED = auto()
    ENDED = auto()


class Turn(NamedTuple):
    """A session on a port has taken a turn."""

    port: Port
    moment: Moment
    at_ms: int


class Verdict(NamedTuple):
    """What becomes of a command that ``command_ack`` answers."""

    result: CommandResult
    cause: CommandCause | None = None


DONE: Final = Verdict(CommandResult.DONE)
ACCEPTED: Final = Verdict(CommandResult.ACCEPTED)
EXPIRED: Final = Verdict(CommandResult.EXPIRED)

Hears = Mapping[type[Message], Callable[[Any], None]]
Obeys = Mapping[type[Message], Callable[[Any], Verdict]]


def refused(cause: CommandCause) -> Verdict:
    """The command is not carried out."""
    return Verdict(CommandResult.REFUSED, cause)


class Part:
    """One trade of the pile, made anew at each power-up. What it does not care for it leaves as it is here."""

    def __init__(self, pile: "Pile") -> None:
        self.pile = pile

    def hears(self) -> Hears:
        """The messages it acts on; a command among them is answered with ``pile.records.answer``."""
        return {}

    def obeys(self) -> Obeys:
        """The commands it carries out, in time and once each; the pile answers them with ``command_ack``."""
        return {}

    def start_obstacle(self, port: Port) -> StartCause | None:
        """Why a port may not start now; None if this part has nothing against it."""

    def boot_acknowledged(self, at_ms: int) -> None:
        """The platform has heard the boot; also later, when it says so again."""

    def turn(self, turn: Turn) -> None:
        """A session has taken a turn."""

    def ending(self, port: Port, reason: StopReason, at_ms: int) -> None:
        """A session is about to end; its port still draws what it draws."""

    def sampled(self, at_ms: int) -> None:
        """The meters have just been read."""

    def retuned(self, at_ms: int) -> None:
        """Other settings are in force."""

    def link_changed(self, up: bool, at_ms: int) -> None:
        """The link came up, or was lost."""

    def next_ms(self) -> int:
        """When it has something to do by itself."""
        return NEVER_MS

    def happen(self, at_ms: int) -> None:
        """Do what is due; ``next_ms`` is later than ``at_ms`` afterwards."""
