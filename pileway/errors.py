"""Failures of the embedded parts and of a start; each message is meant for the person at the terminal.

PilewayError
├── SettingsInvalid
├── HomeInUse
└── PartFailed
    ├── PartMissing
    ├── PortTaken
    ├── AccessDenied
    ├── DiskFull
    └── NotReady
"""

from pathlib import Path


class PilewayError(Exception):
    """Base class: expected failures that the command line prints as one line."""


class SettingsInvalid(PilewayError):
    """A setting is missing or cannot be used; names the environment variable."""

    def __init__(self, variable: str, reason: str) -> None:
        super().__init__(f"{variable}: {reason}")
        self.variable = variable
        self.reason = reason


class HomeInUse(PilewayError):
    """Another pileway process works with the same folder."""

    def __init__(self, home: Path, pid: str) -> None:
        super().__init__(
            f"{home} is in use by another pileway process (pid {pid}); stop it or choose another --home"
        )
        self.home = home
        self.pid = pid


class PartFailed(PilewayError):
    """An embedded part did not start or did not stay up."""


class PartMissing(PartFailed):
    """A program we need is not installed."""


class PortTaken(PartFailed):
    """The chosen port belongs to somebody else."""


class AccessDenied(PartFailed):
    """The system refused a file or folder to us."""


class DiskFull(PartFailed):
    """No space is left where the part keeps its data."""


class NotReady(PartFailed):
    """The part started but did not answer within its limit."""
