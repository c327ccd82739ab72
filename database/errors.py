"""Errors of the database package; all of them stop a start, none is raised on a request's path.

DatabaseError
├── MigrationRefused
│   ├── MigrationMisnamed
│   ├── MigrationChanged
│   ├── MigrationMissing
│   ├── MigrationOutOfOrder
│   ├── DatabaseNewer
│   └── TimescaleGone
├── MigrationFailed
└── MigrationLockTimeout
"""


class DatabaseError(Exception):
    """Base class of the package's errors."""


class MigrationRefused(DatabaseError):
    """The database and the migration files do not belong together; nothing was changed."""


class MigrationMisnamed(MigrationRefused):
    """A file in the migrations folder has no number, or one that another file has."""

    def __init__(self, name: str) -> None:
        super().__init__(f"migration file {name} must be named NNNN_words.sql with a number of its own")
        self.name = name


class MigrationChanged(MigrationRefused):
    """An applied migration's file no longer has the content that was applied."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"migration {name} was changed after this database applied it; restore the file and add a new one"
        )
        self.name = name


class MigrationMissing(MigrationRefused):
    """An applied migration's file is gone."""

    def __init__(self, name: str) -> None:
        super().__init__(f"migration {name} was applied to this database but its file is missing")
        self.name = name


class MigrationOutOfOrder(MigrationRefused):
    """A file is new but its number lies below one already applied."""

    def __init__(self, name: str, *, newest: str) -> None:
        super().__init__(f"migration {name} is new but comes before {newest}, which is already applied")
        self.name = name
        self.newest = newest


class DatabaseNewer(MigrationRefused):
    """The database has migrations that come after the newest file of this code."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(f"this database is newer than this version of Pileway: it has {', '.join(names)}")
        self.names = names


class TimescaleGone(MigrationRefused):
    """The database was made with TimescaleDB, which the server no longer offers."""

    def __init__(self, found: str) -> None:
        super().__init__(f"this database needs TimescaleDB, but there is {found}")


class MigrationFailed(DatabaseError):
    """The server refused a migration; its transaction was rolled back and earlier ones stand."""

    def __init__(self, name: str, *, reason: str) -> None:
        super().__init__(f"migration {name} failed and was rolled back: {reason}")
        self.name = name
        self.reason = reason


class MigrationLockTimeout(DatabaseError):
    """Another process held the migration lock for the whole wait."""

    def __init__(self, waited_s: float) -> None:
        super().__init__(f"another process has been migrating this database for {waited_s:.0f} s")
        self.waited_s = waited_s
