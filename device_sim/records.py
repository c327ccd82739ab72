"""What a pile must not forget to say: records told until they are acknowledged, and answers said again when asked.

A record is keyed by its message's name and what it is about (``Telling``); it is written down before it is told, told
at once, repeated on the schedule of ``repeats``, and kept over power cuts until ``told``. ``boot`` goes the same way,
but is made anew each time and needs no memory.
"""

from collections.abc import Callable
from uuid import UUID

from device_sim.nvm import Memory
from device_sim.outbox import Outbox
from device_sim.repeats import BOOT, Repeats, Telling
from protocol import codec
from protocol.fields import Message
from protocol.topics import Direction


class Records:
    """The records and answers of one power-up. ``boot`` makes the message that is told first of all."""

    def __init__(
        self, memory: Memory, outbox: Outbox, *, boot: Callable[[], Message], save: Callable[[], None]
    ) -> None:
        self.on_news: Callable[[], None] = lambda: None
        self._memory = memory
        self._outbox = outbox
        self._boot = boot
        self._save = save
        self._repeats = Repeats()
        self._repeats.add(BOOT)

    def keep(self, about: UUID, message: Message, *, save: bool = True) -> None:
        """Tell this at once and again until ``told``. What was kept of the same name about the same is replaced.

        Without ``save`` the caller writes the memory down, before anything else happens.
        """
        self._memory.records()[message.message][about] = codec.encode(message)
        if save:
            self._save()
        if self._outbox.open:
            self._repeats.add(Telling(message.message, about))
        self.on_news()

    def told(self, name: str, about: UUID) -> bytes | None:
        """The platform has acknowledged a record: forget it. Gives back its body, None if it was not kept."""
        body = self._memory.records()[name].pop(about, None)
        self._repeats.acknowledged(Telling(name, about))
        self._save()
        self.on_news()
        return body

    def untold(self, name: str, about: UUID) -> Message | None:
        """A record that is not acknowledged; None if there is none."""
        body = self._memory.records()[name].get(about)
        return None if body is None else _decoded(name, body)

    def boot_told(self) -> None:
        """The platform has acknowledged the boot and listens: everything kept is told."""
        self._repeats.acknowledged(BOOT)
        for name, records in self._memory.records().items():
            for about in records:
                self._repeats.add(Telling(name, about))
        self.on_news()

    def link_is_new(self) -> None:
        """Everything not acknowledged is told at once, on a fresh schedule."""
        self._repeats.all_again()

    def repeat(self, real_s: float) -> None:
        """Say what is due by a real clock, if there is a link."""
        if not self._outbox.linked:
            return
        for telling in self._repeats.take_due(now_s=real_s):
            if telling == BOOT:
                self._outbox.put(self._boot())
            elif telling.about is not None and (message := self.untold(telling.name, telling.about)):
                self._outbox.put(message)

    def next_s(self) -> float | None:
        """When something comes due by the real clock; None if nothing will."""
        return self._repeats.next_s() if self._outbox.linked else None

    def answer(self, command_id: UUID, answer: Message, *, first: bool = False) -> None:
        """Answer a command, and remember that for its repetitions; ``first``: before all else that waits."""
        self._memory.remember_answer(command_id, answer.message, codec.encode(answer))
        self._save()
        if first:
            self._outbox.put_first(answer)
        else:
            self._outbox.put(answer)

    def answer_again(self, command_id: UUID) -> bool:
        """Answer a repeated command as before; False for one that is not remembered."""
        known = self._memory.answered.get(command_id)
        if known is not None:
            self._outbox.put(_decoded(*known))
        return known is not None

    @property
    def count(self) -> int:
        """How many records wait for their acknowledgement."""
        return sum(len(records) for records in self._memory.records().values())


def _decoded(name: str, body: bytes) -> Message:
    message = codec.decode(Direction.UP, name, body)
    assert isinstance(message, Message), "the memory holds messages of this version"
    return message
