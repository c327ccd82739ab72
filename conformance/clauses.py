"""The clauses of the protocol document that cases hold: its sections, and the paragraphs inside them."""

from typing import Final, NamedTuple


class Clause(NamedTuple):
    """A section by number and title; ``paragraph`` is the bold word that opens the rule, where there is one."""

    number: int
    title: str
    paragraph: str | None = None

    def __str__(self) -> str:
        where = f"{self.number} {self.title}"
        return where if self.paragraph is None else f"{where}: {self.paragraph}"

    def on(self, paragraph: str) -> "Clause":
        """The same section, at one of its paragraphs."""
        return self._replace(paragraph=paragraph)


IDENTITY: Final = Clause(1, "Identity")
ENROLMENT: Final = Clause(2, "Enrolment")
CONNECTION: Final = Clause(3, "Connection")
TOPICS: Final = Clause(4, "Topics")
ENVELOPE: Final = Clause(5, "Envelope")
BODY: Final = Clause(6, "Body")
ORDER: Final = Clause(7, "Order, repetition and replay")
CHARGE: Final = Clause(8, "From boot to settlement")
STATES: Final = Clause(9, "State machines")
TIMERS: Final = Clause(10, "Timers and limits")
REFUSED: Final = Clause(11, "Refused frames")
SAFETY: Final = Clause(12, "Safety")
SETTINGS: Final = Clause(13, "Configuration and tariff")
SERVICE: Final = Clause(14, "Service and firmware")
LOCAL: Final = Clause(15, "Sessions begun at the pile")
KEYS: Final = Clause(16, "New keys and certificates")
HOSTS: Final = Clause(17, "Piles behind a host")
MESSAGES: Final = Clause(18, "Messages")
