"""How long the platform waits for others. Network waits are real seconds: an accelerated clock stretches them."""

from dataclasses import dataclass, fields
from datetime import timedelta


@dataclass(frozen=True, kw_only=True)
class Waits:
    """Waits as the platform's clock counts them; `scaled` fits them to a clock that runs faster than real time."""

    payment: timedelta = timedelta(minutes=5)
    """From the order to its expiry at the rail."""
    start: timedelta = timedelta(seconds=30)
    """From the payment to the pile's answer; then the rider gets everything back."""
    stop: timedelta = timedelta(hours=24)
    """How long a stop stays worth sending."""
    service: timedelta = timedelta(seconds=30)
    """How long a technician's command stays worth doing: somebody stands there or looks at the answer."""
    care: timedelta = timedelta(hours=24)
    """How long a configuration, a tariff or a port's service state is sent; then it is looked at again."""
    clock_jump: timedelta = timedelta(seconds=60)
    """A pile's clock may be off by so much when it asks for the time before the operator is told."""
    identity_episode: timedelta = timedelta(minutes=10)
    """So long without another sign of two devices under one identity, and the next one begins a new episode."""
    resend: timedelta = timedelta(seconds=5)
    """Between two sendings of one command."""
    silence: timedelta = timedelta(seconds=15)
    """Grace beyond three missed heartbeats before a pile counts as offline."""
    settlement: timedelta = timedelta(minutes=30)
    """After a session's longest possible end before its settlement counts as overdue."""

    def scaled(self, speed: float) -> "Waits":
        """The same real waits on a clock that runs `speed` times as fast."""
        return Waits(**{field.name: getattr(self, field.name) * speed for field in fields(self)})
