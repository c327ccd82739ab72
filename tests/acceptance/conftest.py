"""One platform a module: starting it takes longer than most stories."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.stage import Stage, open_stage


@pytest.fixture(scope="module")
def stage(work_folder: Path) -> Iterator[Stage]:
    """The platform on embedded parts."""
    with open_stage(home=Path(tempfile.mkdtemp(prefix="stage-", dir=work_folder))) as stage:
        yield stage
