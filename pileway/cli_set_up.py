"""What every command of the command line begins with: options, settings, logs, and failures that are one line."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pileway.errors import PilewayError

if TYPE_CHECKING:
    from pileway.settings import Settings

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="Folder of data, secrets and logs.", show_default=".pileway")
]
PortOption = Annotated[
    int | None, typer.Option(help="Port of the web server.", min=1, max=65_535, show_default="8080")
]
SpeedOption = Annotated[
    float | None,
    typer.Option(help="How many times faster than real time the clock runs.", min=0.1, max=10_000),
]


@contextmanager
def expected_failures() -> Generator[None]:
    """Turn what may well happen outside of us into one line; everything else is a bug and shows its trace."""
    import psycopg
    from psycopg_pool import PoolTimeout

    from database.errors import DatabaseError

    try:
        yield
    except DatabaseError as error:
        raise PilewayError(str(error)) from None
    except psycopg.errors.UndefinedTable:
        raise PilewayError("the database has no tables yet; run: pileway migrate") from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise PilewayError(f"the database does not let us: {_first_line(error)}") from None
    except (psycopg.OperationalError, PoolTimeout) as error:
        raise PilewayError(f"the database cannot be reached: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    from pileway.logs import clean_text

    return next(iter(clean_text(str(error)).strip().splitlines()), type(error).__name__)


def load_settings(**options: Any) -> "Settings":
    """The settings with these options on top. Raises SettingsInvalid."""
    from pileway import settings

    return settings.load(**options)


def set_up_logs(
    process: str, *, settings: "Settings | None" = None, to: Path | None = None, quiet: bool = False
) -> None:
    """Log for this process, in the form the settings ask for; `quiet` leaves what is no warning out."""
    from pileway import logs

    form = "auto" if settings is None else settings.log_format
    logs.set_up(
        process,
        to=to,
        level=logging.WARNING if quiet else logging.INFO,
        as_json=None if form == "auto" else form == "json",
    )
