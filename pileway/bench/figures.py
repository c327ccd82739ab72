"""How every benchmark counts and shows that it works."""

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn


def percentile_ms(durations_ns: Sequence[int], percent: int) -> float:
    """The nearest-rank percentile of durations, in ms; 0 of none."""
    if not durations_ns:
        return 0.0
    rank = -(-len(durations_ns) * percent // 100)
    return round(sorted(durations_ns)[rank - 1] / 1e6, 3)


def progress_bar(*columns: ProgressColumn) -> Progress:
    """A bar that goes when it is done, and shows nothing where no terminal is; `columns` stand before the time."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
